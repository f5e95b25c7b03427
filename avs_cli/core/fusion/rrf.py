"""Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009, doi:10.1145/1571941.1572114)."""

from avs_cli.errors import SpecError
from avs_cli.types import Run, ranked

# Reciprocals as whole numbers of 2^-60: sums do not depend on the order, and cost less than exact sums of floats.
_UNIT = 1 << 60


def fuse(runs: list[Run], k: int = 60) -> Run:
    """Score each shot by the sum of 1 / (k + rank) over the runs that return it."""
    if k < 0:
        raise SpecError(f"rrf: k is 0 or more, not {k}")
    longest = max((len(scores) for run in runs for scores in run.values()), default=0)
    shares = [_UNIT // (k + rank) for rank in range(1, longest + 1)]
    sums: dict[str, dict[str, int]] = {}
    for run in runs:
        for topic, scores in run.items():
            total = sums.setdefault(topic, {})
            for shot, share in zip(ranked(scores), shares, strict=False):
                total[shot] = total.get(shot, 0) + share
    return {topic: {shot: share / _UNIT for shot, share in total.items()} for topic, total in sums.items()}
