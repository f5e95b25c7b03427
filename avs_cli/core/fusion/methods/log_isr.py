"""Inverse square rank with the logarithm of the number of runs (Mourão, Martins and Magalhães, ImageCLEF 2013).

As published, and as in ranx, a shot of one run has score 0, since log 1 = 0; such shots are in the order of ties. Where
only one run returns any shot, this would be all of them, and the factor is 1.
"""

import math

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.types import Run


def fuse(runs: list[Run]) -> Run:
    """Score each shot by the sum of 1 / rank², times the logarithm of the number of runs that return it."""
    return combine(
        runs, "power:p=2", lambda scores, count: math.fsum(scores) * (math.log(len(scores)) if count > 1 else 1.0)
    )
