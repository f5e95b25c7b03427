"""Borda count (Aslam and Montague, SIGIR 2001, doi:10.1145/383952.384007).

In the paper, the remaining points of a voter are shared among unranked candidates; here, a shot that a run does not
return gets no points from it.
"""

from avs_cli.types import Run, ranked


def fuse(runs: list[Run]) -> Run:
    """Score each shot by its points: n at rank 1, n - 1 at rank 2 and so on, for n distinct shots in all runs."""
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        pool = {shot for run in runs for shot in run.get(topic, {})}
        points = dict.fromkeys(pool, 0.0)
        for run in runs:
            for place, shot in enumerate(ranked(run.get(topic, {}))):
                points[shot] += len(pool) - place
        fused[topic] = points
    return fused
