"""Fusion methods that learn from judgments: fitted such that no topic is ranked by its own judgments."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from avs_cli.core.evaluation.evaluator import Evaluator
from avs_cli.core.fusion.methods import fits, methods
from avs_cli.core.fusion.methods._weights import MEASURE
from avs_cli.errors import SpecError
from avs_cli.types import Qrels, Run

Fused = Callable[[list[Run]], Run]
"""A fitted method: fuses the runs that it was fitted on, in the same order, on any topics."""


def learns(spec: str) -> bool:
    """Whether a method learns from judgments. Raises UnknownName and SpecError for an invalid spec."""
    return _has_fit(spec) or _weights(spec) == MEASURE


def accepts_weights(spec: str) -> bool:
    """Whether a method has weights of runs, which judgments may give."""
    return "weights" in inspect.signature(methods.load(spec)).parameters


def fitted(spec: str, runs: Sequence[Run], qrels: Qrels, values: Sequence[Mapping[str, float]]) -> Fused:
    """A method fitted on judged topics of the runs.

    values  of each run on judged topics, from `values_by_topic`; those of the topics of `qrels` are used
    """
    if _has_fit(spec):
        return partial(methods.module(spec).fuse, model=fits.load(spec)(runs, qrels))
    if _weights(spec) != MEASURE:
        return methods.load(spec)
    weights = [_mean([value for topic, value in own.items() if topic in qrels]) for own in values]
    return partial(methods.load(spec), weights=weights if any(weights) else None)


def cross_fitted(
    spec: str,
    runs: Sequence[Run],
    qrels: Qrels,
    parts: Sequence[Sequence[str]],
    values: Sequence[Mapping[str, float]],
) -> Run:
    """The fused topics: those of each part by the method fitted on the other parts, other topics by one fitted on all.

    parts  the topics of `qrels`, split into folds
    """
    fused: Run = {}
    held = {topic for part in parts for topic in part}
    for part in parts:
        training = {topic: judged for topic, judged in qrels.items() if topic not in part}
        fused |= fitted(spec, runs, training, values)(_only(runs, part))
    others = [topic for topic in dict.fromkeys(topic for run in runs for topic in run) if topic not in held]
    if others:
        fused |= fitted(spec, runs, qrels, values)(_only(runs, others))
    return {topic: fused[topic] for run in runs for topic in run}


def values_by_topic(runs: Sequence[Run], qrels: Qrels, measure: str) -> list[dict[str, float]]:
    """For each run, the value of a measure on each judged topic that it returns shots for.

    Raises SpecError for a measure of which less is better, which makes no weights.
    """
    evaluator = Evaluator(qrels, [measure])
    if evaluator.measures[0].ascending:
        raise SpecError(f"{measure} cannot weigh runs: less of it is better")
    found = []
    for run in runs:
        judged = {topic: scores for topic, scores in run.items() if scores and topic in qrels}
        found.append(evaluator.evaluate(judged).by_topic[evaluator.measures[0].name] if judged else {})
    return found


def _only(runs: Sequence[Run], topics: Sequence[str]) -> list[Run]:
    return [{topic: run[topic] for topic in topics if topic in run} for run in runs]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _has_fit(spec: str) -> bool:
    if not hasattr(methods.module(spec), "fit"):
        return False
    fits.load(spec)
    return True


def _weights(spec: str) -> object:
    """The weights of a spec: given, `MEASURE`, or None."""
    parameter = inspect.signature(methods.load(spec)).parameters.get("weights")
    return None if parameter is None else parameter.default
