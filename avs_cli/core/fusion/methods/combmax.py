"""CombMAX (Fox and Shaw, TREC-2, 1994).

In ranx, a shot that a run lacks has the maximum of the others even where that is below 0.
"""

from avs_cli.core.fusion.methods._combining import combine
from avs_cli.types import Run


def fuse(runs: list[Run], norm: str = "minmax") -> Run:
    """Score each shot by the maximum of its normalised scores, 0 in runs that lack it."""
    return combine(runs, norm, lambda scores, count: max(scores) if len(scores) == count else max(0.0, *scores))
