"""Borda count, and weighted Borda count (Aslam and Montague, SIGIR 2001, doi:10.1145/383952.384007).

In the paper and in ranx, the remaining points of a run, those below its last rank, are shared among the shots that it
does not return; here, these get no points from it.
"""

import math

from avs_cli.core.fusion.methods._combining import gathered
from avs_cli.core.fusion.weights import Weights, weights_of
from avs_cli.types import Run, ranked


def fuse(runs: list[Run], weights: Weights | None = None) -> Run:
    """Score each shot by its points: n at rank 1, n - 1 at rank 2 and so on, for n distinct shots in all runs.

    weights  of the points of each run; 1 unless given
    """
    known = weights_of("borda", runs, weights)
    fused: Run = {}
    for topic, places, _ in gathered(
        runs, lambda index, scores: {shot: (index, place) for place, shot in enumerate(ranked(scores))}
    ):
        most = len(places)
        fused[topic] = {
            shot: math.fsum(known[index] * (most - place) for index, place in found) for shot, found in places.items()
        }
    return fused
