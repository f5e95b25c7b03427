"""Common part of methods that value each rank of each run: exact sums of these values."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from avs_cli.core.fusion.methods._combining import gathered
from avs_cli.types import Run, ranked


def summed(
    runs: Sequence[Run],
    by_rank: Callable[[int, Mapping[str, float]], Sequence[float] | np.ndarray],
    missing: float = 0.0,
) -> Run:
    """Score each shot by the sum of a value per run.

    by_rank  the values of ranks 1, 2, …, from the index of a run and its scores for a topic; 0 beyond them
    missing  the value in a run that returns shots for the topic, but not this one
    """

    def values(index: int, scores: Mapping[str, float]) -> dict[str, float]:
        found = by_rank(index, scores)
        some = found.tolist() if isinstance(found, np.ndarray) else list(found)
        return dict(zip(ranked(scores), some + [0.0] * (len(scores) - len(some)), strict=False))

    fused: Run = {}
    for topic, evidence, count in gathered(runs, values):
        rest = [missing] if missing else []
        fused[topic] = {shot: math.fsum(found + rest * (count - len(found))) for shot, found in evidence.items()}
    return fused
