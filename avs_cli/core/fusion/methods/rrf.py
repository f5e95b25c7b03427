"""Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009, doi:10.1145/1571941.1572114)."""

from avs_cli.errors import SpecError
from avs_cli.types import Run, ranked


def rank_scores(runs: int, longest: int, k: int = 60) -> list[float]:
    """The scores of ranks 1 to `longest`: 1 / (k + rank).

    The reciprocals are rounded to multiples of a power of two (2^-46 for 43 runs), so that sums are exact in floats and
    do not depend on the order of the runs.
    """
    if k < 0:
        raise SpecError(f"rrf: k must be at least 0, not {k}")
    parts = 1 << (52 - runs.bit_length())
    return [round(parts / (k + rank)) / parts for rank in range(1, longest + 1)]


def fuse(runs: list[Run], k: int = 60) -> Run:
    """Score each shot by the sum of 1 / (k + rank) over the runs that return it."""
    by_rank = rank_scores(len(runs), max((len(scores) for run in runs for scores in run.values()), default=0), k)
    fused: Run = {}
    for run in runs:
        for topic, scores in run.items():
            if topic not in fused:
                fused[topic] = dict(zip(ranked(scores), by_rank, strict=False))
                continue
            total = fused[topic]
            known = total.get
            for shot, share in zip(ranked(scores), by_rank, strict=False):
                total[shot] = known(shot, 0.0) + share
    return fused
