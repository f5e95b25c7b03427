"""num_ret: how many shots of a topic count, which is at most the first 1000."""

from collections.abc import Mapping, Sequence

from avs_cli.core.measures.xinfap import DEPTH
from avs_cli.types import Judgment


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """The length of the ranking, as far as NIST reads it."""
    return min(len(ranking), DEPTH)


def summary(values: Sequence[float]) -> float:
    return sum(values)
