"""CombSUM (Fox and Shaw, TREC-2, 1994)."""

import math

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.types import Run


def fuse(runs: list[Run], norm: str = "minmax") -> Run:
    """Score each shot by the sum of its normalised scores."""
    return combine(runs, norm, lambda scores, _: math.fsum(scores))
