"""Number of relevant shots in the first 1000 ranks, estimated from a sampled pool."""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.measures.xinfap import Inferred, infer
from avs_cli.types import Judgment

NAMES = ("inum_rel_ret",)


def part(inferred: Inferred) -> float:
    return float(inferred.seen[-1]) if len(inferred.seen) else 0.0


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """The estimated number of relevant shots in the ranking."""
    return part(infer(ranking, judgments))


def summary(values: Sequence[float]) -> float:
    return sum(values)
