"""CombMIN (Fox and Shaw, TREC-2, 1994).

As in ranx, the minimum is that of the runs that return the shot: with 0 for the others, it would be 0 for almost all.
"""

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.types import Run


def fuse(runs: list[Run], norm: str = "minmax") -> Run:
    """Score each shot by the minimum of its normalised scores over the runs that return it."""
    return combine(runs, norm, lambda scores, _: min(scores))
