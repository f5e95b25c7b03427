"""Rank-biased centroids (Bailey, Moffat, Scholer and Thomas, SIGIR 2017, doi:10.1145/3077136.3080839).

Values fall below every common unit at deep ranks, so this method cannot sum rounded ones as rrf does, which would leave
these ranks in the order of ties.
"""

from avs_cli.core.fusion.methods._summing import summed
from avs_cli.errors import SpecError
from avs_cli.types import Run


def fuse(runs: list[Run], phi: float = 0.98) -> Run:
    """Score each shot by the sum of (1 - phi) phi^(rank - 1) over the runs that return it.

    phi  the persistence of a user who reads a ranking, as in rank-biased precision
    """
    if not 0 < phi < 1:
        raise SpecError(f"rbc: phi must be between 0 and 1, not {phi}")
    return summed(runs, lambda _, scores: [(1 - phi) * phi**place for place in range(len(scores))])
