"""Inverse square rank with a normalised logarithm (Mourão et al., doi:10.1016/j.compmedimag.2014.05.006).

Sigma keeps the score of a shot of one run above 0.
"""

import math

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.errors import SpecError
from avs_cli.types import Run


def fuse(runs: list[Run], sigma: float = 0.01) -> Run:
    """Score each shot by the sum of 1 / rank², times log(sigma + number of runs that return it)."""
    if not 0 < sigma <= 1:
        raise SpecError(f"logn-isr: sigma must be above 0 and at most 1, not {sigma}")
    return combine(runs, "power:p=2", lambda scores, _: math.fsum(scores) * math.log(len(scores) + sigma))
