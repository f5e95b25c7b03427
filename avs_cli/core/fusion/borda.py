"""Borda count (Aslam and Montague, SIGIR 2001, doi:10.1145/383952.384007).

There a voter shares its remaining points among the candidates that it does not rank; here, as everywhere in this
package, a shot that a run does not return gets nothing from it.
"""

from avs_cli.types import Run, ranked


def fuse(runs: list[Run]) -> Run:
    """Score each shot by its points: n at rank 1 and one less at each rank below, of n shots in all runs together."""
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        pool = {shot for run in runs for shot in run.get(topic, {})}
        points = dict.fromkeys(pool, 0.0)
        for run in runs:
            for place, shot in enumerate(ranked(run.get(topic, {}))):
                points[shot] += len(pool) - place
        fused[topic] = points
    return fused
