"""Inverse square rank (Mourão, Martins and Magalhães, ImageCLEF 2013, and doi:10.1016/j.compmedimag.2014.05.006)."""

import math

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.types import Run


def fuse(runs: list[Run]) -> Run:
    """Score each shot by the sum of 1 / rank², times the number of runs that return it."""
    return combine(runs, "power:p=2", lambda scores, _: len(scores) * math.fsum(scores))
