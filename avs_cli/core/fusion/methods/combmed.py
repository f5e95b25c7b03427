"""CombMED (Fox and Shaw, TREC-2, 1994)."""

from statistics import median

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.types import Run


def fuse(runs: list[Run], norm: str = "minmax") -> Run:
    """Score each shot by the median of its normalised scores, 0 in runs that lack it."""
    return combine(runs, norm, lambda scores, runs: median(scores + [0.0] * (runs - len(scores))))
