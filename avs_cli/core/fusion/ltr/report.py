"""Reports of learning to rank: weight and ablation loss of each run, and the gain of each step."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.core.evaluation.significance import randomization
from avs_cli.core.fusion.ltr import learning, run_weights
from avs_cli.core.fusion.ltr.batched import BatchedMeasure, mean
from avs_cli.core.fusion.ltr.topic_matrix import TopicMatrix, best_first
from avs_cli.types import Fuser


@dataclass(frozen=True)
class Step:
    """A fusion step: its mean over the judged topics, its gain over the previous step, and the p of the gain.

    Rows with Step 2 are compared with Step 1.

    others  means of other measures, by name
    """

    name: str
    value: float
    gain: float | None = None
    p: float | None = None
    others: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A run: its mean weight over the folds, its own value, its ablation loss in Step 1, and the p of the loss."""

    run: str
    weight: float
    alone: float
    loss: float
    p: float


@dataclass(frozen=True)
class LearningReport:
    """Out-of-fold results: the value of each topic is that of a model fitted on the other folds.

    steps     the best run, RRF, Step 1, and Step 1 + 2 if a fold uses Step 2, or `TRIAL` if a fold does not
    fused     the step that was used
    verdicts  the reasons for using Step 2 or not, per fold
    """

    measure: str
    topics: int
    steps: list[Step]
    fused: str
    parts: list[Part]
    verdicts: list[str]


# Further measures in reports. In sampled pools, lower ranks are mostly unjudged.
WHOLE, SAMPLED = ("AP", "nDCG@20", "P@10"), ("xinfAP", "P@10")
STEP_1, BOTH, TRIAL = "Step 1", "Step 1 + 2", "Step 1 + 2 in every fold"


def report(
    blocks: Mapping[str, TopicMatrix], folds: Sequence[Sequence[str]], fusers: Sequence[Fuser], seed: int = 0
) -> LearningReport:
    """The report of `learning.cross_fit` on the same judged topics and folds."""
    runs, name = fusers[0].runs, fusers[0].measure
    topics = list(blocks)
    known = list(blocks.values())
    judge = BatchedMeasure(name, known)
    sampled = any(judgment.relevance < 0 for block in known for judgment in block.totals)
    others = [BatchedMeasure(other, known) for other in (SAMPLED if sampled else WHOLE) if other != name]
    fuser_of = {topic: fuser for fold, fuser in zip(folds, fusers, strict=True) for topic in fold}
    ways: dict[str, list[float]] = {"RRF": [], STEP_1: [], BOTH: [], TRIAL: []}
    alone, without = np.zeros((len(topics), len(runs))), np.zeros((len(topics), len(runs)))
    # Of each run and then of each step, for each topic.
    beside = np.zeros((len(others), len(runs) + len(ways), len(topics)))
    for place, topic in enumerate(topics):
        block, fuser = blocks[topic], fuser_of[topic]
        codes = judge.coded(block)
        step1, both = learning.steps(fuser, block)
        trial = learning.steps(learning.with_both(fuser), block)[1] if fuser.trial else both
        several = (block.evidence("reciprocal").sum(axis=0), step1, both, trial)
        orders = [np.flatnonzero(ranks)[np.argsort(ranks[ranks > 0])][:DEPTH] for ranks in block.ranks]
        alone[place] = [_value(judge, codes[order], place) for order in orders]
        for scores, values in zip(several, ways.values(), strict=True):
            orders.append(best_first(scores)[:DEPTH])
            values.append(_value(judge, codes[orders[-1]], place))
        for number, other in enumerate(others):
            theirs = other.coded(block)
            beside[number, :, place] = [_value(other, theirs[order], place) for order in orders]
        without[place] = _ablated(judge, codes, block, fuser, step1, place)
    rows = {way: len(runs) + number for number, way in enumerate(ways)}
    if not any(fuser.mix for fuser in fusers):
        del ways[BOTH]
    if not any(fuser.trial for fuser in fusers):
        del ways[TRIAL]
    lost = np.array(ways[STEP_1])[:, None] - without
    weights = np.mean([fuser.weights for fuser in fusers], axis=0)
    parts = [
        Part(run, float(weights[r]), mean(alone[:, r]), mean(lost[:, r]), randomization(lost[:, r].tolist(), seed))
        for r, run in enumerate(runs)
    ]
    parts.sort(key=lambda part: (-part.weight, part.run))
    best = max(parts, key=lambda part: part.alone)
    first = f"best run ({best.run})"
    rows[first] = runs.index(best.run)
    named = {first: alone[:, rows[first]].tolist(), **ways}
    steps = [
        replace(step, others={o.name: mean(beside[number, rows[step.name]]) for number, o in enumerate(others)})
        for step in _compared(named, seed)
    ]
    fused = BOTH if BOTH in ways else STEP_1
    return LearningReport(name, len(topics), steps, fused, parts, [f.verdict for f in fusers if f.verdict])


def step_rows(found: LearningReport) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of the steps, with their gains; the step that was used is marked."""
    others = list(found.steps[0].others)
    lines = [
        [
            step.name + " *" * (step.name == found.fused),
            f"{step.value:.4f}",
            "" if step.gain is None else f"{step.gain:+.4f}",
            _p(step.p),
            *(f"{step.others[name]:.4f}" for name in others),
        ]
        for step in found.steps
    ]
    return ["fusion", found.measure, "gain", "p", *others], lines


def part_rows(found: LearningReport) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of the runs, by descending weight."""
    lines = [[p.run, f"{p.weight:.4f}", f"{p.alone:.4f}", f"{p.loss:+.4f}", _p(p.p)] for p in found.parts]
    return ["run", "weight", found.measure, "ablation loss", "p"], lines


def as_json(found: LearningReport) -> str:
    """The report as JSON."""
    return json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n"


def as_text(found: LearningReport) -> str:
    """The report as text, in columns."""
    return f"{_columns(*step_rows(found))}{legend(found)}\n\n{_columns(*part_rows(found))}"


def legend(found: LearningReport) -> str:
    """A legend of `step_rows`."""
    text = f"{found.topics} judged topics, out of fold; * the fused run"
    trial = next((step for step in found.steps if step.name == TRIAL), None)
    if trial:
        left = "Step 2 not used" if found.fused == STEP_1 else "some folds do not use Step 2"
        text += f"; {left}, as cross-validation on the training topics showed no gain"
    return text


def figure(found: LearningReport) -> Any:
    """Left: weights of the runs. Middle: their ablation losses. Right: values of the steps."""
    from matplotlib.figure import Figure

    shown = found.parts[:60]
    places = range(len(shown))
    drawing = Figure(figsize=(12, max(3.0, 0.22 * len(shown) + 1.2)), layout="constrained")
    weights, losses, ways = drawing.subplots(1, 3)
    weights.barh(places, [part.weight for part in shown], color="#3b6ea5")
    weights.set_yticks(places, [part.run for part in shown], fontsize=8)
    weights.set_xlabel("weight")
    losses.barh(places, [part.loss for part in shown], color="#444444")
    losses.set_yticks(places, [""] * len(shown))
    losses.set_xlabel(f"{found.measure} ablation loss")
    ways.barh(range(len(found.steps)), [step.value for step in found.steps], color="#3b6ea5")
    ways.set_yticks(range(len(found.steps)), [step.name for step in found.steps], fontsize=8)
    ways.set_xlabel(f"{found.measure}, {found.topics} topics out of fold")
    for axes in (weights, losses, ways):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    return drawing


def _value(judge: BatchedMeasure, codes: np.ndarray, place: int) -> float:
    return float(judge.values(codes[None], np.array([place]))[0])


def _ablated(
    judge: BatchedMeasure, codes: np.ndarray, block: TopicMatrix, fuser: Fuser, step1: np.ndarray, place: int
) -> np.ndarray:
    """(R,) values of a topic by Step 1 without each run, over the top 2 × 1000 shots of Step 1."""
    best = best_first(step1)[: 2 * DEPTH]
    evidence = block.evidence(fuser.kind, best) * np.array(fuser.weights, np.float32)[:, None]
    scores = np.maximum(evidence.sum(axis=0) - evidence, 0)  # (R, 2000)
    ranking = run_weights.sorted_codes(scores, codes[best], 1.0)[:, :DEPTH]
    values = judge.values(ranking, np.full(len(scores), place))
    # Removing a run with weight 0 changes nothing; avoid rounding errors.
    return np.where(np.array(fuser.weights) > 0, values, _value(judge, codes[best[:DEPTH]], place))


def _compared(ways: Mapping[str, list[float]], seed: int) -> list[Step]:
    steps: list[Step] = []
    before: list[float] = []
    for name, values in ways.items():
        if before:
            gains = [value - old for value, old in zip(values, before, strict=True)]
            steps.append(Step(name, mean(np.array(values)), mean(np.array(gains)), randomization(gains, seed)))
        else:
            steps.append(Step(name, mean(np.array(values))))
        if name not in (BOTH, TRIAL):
            before = values
    return steps


def _p(value: float | None) -> str:
    return "" if value is None else "<0.0001" if value < 0.00005 else f"{value:.4f}"


def _columns(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in (names, *lines)
    )
