"""Number of shots that a run returns."""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.types import Judgment

NAMES = ("num_ret",)


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """The length of the whole ranking."""
    return len(ranking)


def summary(values: Sequence[float]) -> float:
    """All topics' shots that count: NIST prints the whole length of a topic, but adds up to 1000 of it."""
    return sum(min(value, DEPTH) for value in values)
