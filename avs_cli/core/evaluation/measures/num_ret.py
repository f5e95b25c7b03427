"""Number of shots that a run returns."""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.types import Judgment

NAMES = ("num_ret",)


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """The length of the whole ranking."""
    return len(ranking)


def summary(values: Sequence[float]) -> float:
    """Sum over topics of at most 1000 shots each, as in NIST's script, which prints full lengths per topic."""
    return sum(min(value, DEPTH) for value in values)
