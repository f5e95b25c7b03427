"""CombMED (Fox and Shaw, TREC-2, 1994).

In ranx, the median is that of the runs that return the shot.
"""

from statistics import median

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.types import Run


def fuse(runs: list[Run], norm: str = "minmax") -> Run:
    """Score each shot by the median of its normalised scores, 0 in runs that lack it."""
    return combine(runs, norm, lambda scores, count: median(scores + [0.0] * (count - len(scores))))
