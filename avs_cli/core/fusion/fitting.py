"""Fusion methods that learn from judgments: fitted such that no topic is ranked by its own judgments."""

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from avs_cli.core.evaluation.evaluator import Evaluator
from avs_cli.core.fusion.judged import JudgedRankings, judged_rankings
from avs_cli.core.fusion.methods import fits, methods
from avs_cli.core.fusion.weights import MEASURE
from avs_cli.errors import SpecError
from avs_cli.types import Qrels, Run

Fused = Callable[[list[Run]], Run]
"""A fitted method: fuses the runs that it was fitted on, in the same order, on any topics."""


def learns(spec: str) -> bool:
    """Whether a method learns from judgments. Raises UnknownName and SpecError for an invalid spec."""
    return _has_fit(spec) or _weights(spec) == MEASURE


def accepts_weights(spec: str) -> bool:
    """Whether a method has weights of runs, which judgments may give."""
    return "weights" in inspect.signature(methods.load(spec.partition(":")[0])).parameters


@dataclass(frozen=True)
class JudgedRuns:
    """What methods learn from, for each run: its rankings of judged topics, and the values of a measure by topic."""

    rankings: Sequence[JudgedRankings]
    values: Sequence[Mapping[str, float]]

    def without(self, topics: Collection[str]) -> "JudgedRuns":
        """The other topics."""
        values = [{topic: value for topic, value in own.items() if topic not in topics} for own in self.values]
        return JudgedRuns([own.without(topics) for own in self.rankings], values)


def judged_runs(runs: Sequence[Run], qrels: Qrels, measure: str) -> JudgedRuns:
    """What methods learn from the judged topics of runs, with `measure` to weigh runs.

    Raises SpecError for a measure of which less is better.
    """
    evaluator = Evaluator(qrels, [measure])
    if evaluator.measures[0].ascending:
        raise SpecError(f"{measure} cannot weigh runs: less of it is better")
    values = []
    for run in runs:
        judged = {topic: scores for topic, scores in run.items() if scores and topic in qrels}
        values.append(evaluator.evaluate(judged).by_topic[evaluator.measures[0].name] if judged else {})
    return JudgedRuns(judged_rankings(runs, qrels), values)


def fitted(spec: str, known: JudgedRuns) -> Fused:
    """A method fitted on judged topics of the runs."""
    if _has_fit(spec):
        return partial(methods.module(spec).fuse, model=fits.load(spec)(known.rankings))
    if _weights(spec) != MEASURE:
        return methods.load(spec)
    weights = [math.fsum(own.values()) / max(1, len(own)) for own in known.values]
    return partial(methods.load(spec), weights=weights if any(weights) else None)


def cross_fitted(spec: str, runs: Sequence[Run], known: JudgedRuns, parts: Sequence[Sequence[str]]) -> Run:
    """The fused topics: those of each part by the method fitted on the other parts, other topics by one fitted on all.

    parts  the judged topics, split into folds
    """
    fused: Run = {}
    held = {topic for part in parts for topic in part}
    for part in parts:
        fused |= fitted(spec, known.without(part))(_only(runs, part))
    others = [topic for topic in dict.fromkeys(topic for run in runs for topic in run) if topic not in held]
    if others:
        fused |= fitted(spec, known)(_only(runs, others))
    return {topic: fused[topic] for run in runs for topic in run}


def _only(runs: Sequence[Run], topics: Sequence[str]) -> list[Run]:
    return [{topic: run[topic] for topic in topics if topic in run} for run in runs]


def _has_fit(spec: str) -> bool:
    if not hasattr(methods.module(spec), "fit"):
        return False
    fits.load(spec)
    return True


def _weights(spec: str) -> object:
    """The weights of a spec: given, `MEASURE`, or None."""
    parameter = inspect.signature(methods.load(spec)).parameters.get("weights")
    return None if parameter is None else parameter.default
