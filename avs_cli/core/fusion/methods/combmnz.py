"""CombMNZ (Fox and Shaw, TREC-2, 1994)."""

import math

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.types import Run


def fuse(runs: list[Run], norm: str = "minmax") -> Run:
    """Score each shot by the sum of its normalised scores, times the number of runs that return it."""
    return combine(runs, norm, lambda scores, _: len(scores) * math.fsum(scores))
