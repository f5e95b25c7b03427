"""inum_rel_ret: how many relevant shots the first 1000 ranks hold, estimated from the judged ones (see xinfap.py)."""

from collections.abc import Mapping, Sequence

from avs_cli.core.measures.xinfap import Inferred, infer
from avs_cli.types import Judgment


def part(inferred: Inferred) -> float:
    return float(inferred.seen[-1]) if len(inferred.seen) else 0.0


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """The estimated number of relevant shots in the ranking."""
    return part(infer(ranking, judgments))


def summary(values: Sequence[float]) -> float:
    return sum(values)
