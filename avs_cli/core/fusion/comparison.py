"""Comparison of fusion methods on judged topics, where methods that learn are evaluated out of fold."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from avs_cli.core.evaluation import reports
from avs_cli.core.evaluation.evaluator import Measure, Scores
from avs_cli.core.fusion.fitting import accepts_weights, learns
from avs_cli.core.fusion.methods import methods
from avs_cli.core.fusion.normalisation import normalisations

# `merge` is for disjoint runs; `weighted` without weights is CombSUM, and by learned ones Step 1 of --ltr.
_LEFT_OUT = ("merge", "weighted")


@dataclass(frozen=True)
class ComparedMethod:
    """A fusion method, evaluated.

    method   as on the command line: a spec for --method, or the options of learning to rank
    learns   whether it needs judgments
    values   means of the measures, by name
    gap      difference from the best method by the first measure, at most 0
    p        of that difference, with Holm's correction; None for the best method
    seconds  of CPU time for all topics, fits included
    """

    method: str
    learns: bool
    values: dict[str, float]
    gap: float
    p: float | None
    seconds: float


@dataclass(frozen=True)
class MethodComparison:
    """Methods from best to worst by the first measure, and the best single run, which is among the rows."""

    measures: list[str]
    topics: int
    folds: int
    single: str
    rows: list[ComparedMethod]

    @property
    def best(self) -> ComparedMethod:
        """The best method."""
        return next(row for row in self.rows if row.method != self.single)

    @property
    def best_unlearned(self) -> ComparedMethod:
        """The best method that needs no judgments."""
        return next(row for row in self.rows if not row.learns and row.method != self.single)


def candidates() -> list[str]:
    """The specs to compare: all methods with their defaults, their weighted forms, CombSUM of every normalisation."""
    specs = [name for name in methods.names() if name not in _LEFT_OUT]
    specs += [f"combsum:norm={norm}" for norm in normalisations.names() if norm not in ("minmax", "reciprocal")]
    weighted = [f"{name}:weights=measure" for name in methods.names() if accepts_weights(name)]
    return specs + [spec for spec in weighted if not learns(spec.partition(":")[0])]


def compared(
    scores: Mapping[str, Scores],
    seconds: Mapping[str, float],
    learned: Mapping[str, bool],
    single: str,
    measures: list[Measure],
    folds: int,
    seed: int = 0,
) -> MethodComparison:
    """The comparison of methods, and of the single run called `single`, by their scores."""
    report = reports.compare(scores, measures, seed=seed)
    first = measures[0].name
    best = report.entries[0].scores.means[first]
    rows = [
        ComparedMethod(
            entry.run,
            learned[entry.run],
            entry.scores.means,
            entry.scores.means[first] - best,
            entry.p.get(first),
            seconds[entry.run],
        )
        for entry in report.entries
    ]
    topics = len(report.entries[0].scores.by_topic[first])
    return MethodComparison([measure.name for measure in measures], topics, folds, single, rows)


def rows(found: MethodComparison) -> tuple[list[str], list[list[str]]]:
    """Column names and one row per method, for a terminal."""
    first, *others = found.measures
    lines = [
        [
            row.method,
            "yes" if row.learns else "",
            f"{row.values[first]:.4f}",
            f"{row.gap:+.4f}" if row.p is not None else "",
            "" if row.p is None else "<0.0001" if row.p < 0.0001 else f"{row.p:.4f}",
            *(f"{row.values[name]:.4f}" for name in others),
            f"{row.seconds:.1f}",
        ]
        for row in found.rows
    ]
    return ["method", "learns", first, "gap", "p", *others, "seconds"], lines


def caption(found: MethodComparison) -> str:
    """A caption of `rows`."""
    return (
        f"{found.topics} judged topics; methods that learn are out of fold ({found.folds} folds); p of the gap to the "
        "best: randomization test, Holm's correction"
    )


def advice(found: MethodComparison) -> str:
    """One line: the method to use, and the one to use without judgments."""
    measure, best, plain = found.measures[0], found.best, found.best_unlearned
    line = f"best: {_option(best)} ({measure} {best.values[measure]:.4f})"
    if best is not plain and plain.p is not None:
        gap = plain.values[measure] - best.values[measure]
        verdict = "a significant difference" if plain.p < 0.05 else "no significant difference"
        line += f"; without judgments: {_option(plain)} ({gap:+.4f}, p {plain.p:.4f}: {verdict})"
    return line


def as_json(found: MethodComparison) -> str:
    """The comparison as JSON, in full precision."""
    return json.dumps(asdict(found) | {"advice": advice(found)}, indent=2, ensure_ascii=False) + "\n"


def _option(row: ComparedMethod) -> str:
    return row.method if row.method.startswith("--") else f"--method {row.method}"
