"""CombGMNZ (Lee, SIGIR 1997, doi:10.1145/258525.258587): CombSUM with gamma = 0, CombMNZ with gamma = 1."""

import math

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.errors import SpecError
from avs_cli.types import Run


def fuse(runs: list[Run], gamma: float = 0.5, norm: str = "minmax") -> Run:
    """Score each shot by the sum of its normalised scores, times (number of runs that return it)^gamma."""
    if not -10 <= gamma <= 10:
        raise SpecError(f"combgmnz: gamma must be between -10 and 10, not {gamma}")
    return combine(runs, norm, lambda scores, _: math.fsum(scores) * len(scores) ** gamma)
