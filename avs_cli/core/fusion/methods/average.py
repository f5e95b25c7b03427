"""Average fusion: the mean of raw scores, a common baseline of TRECVID teams."""

import math

from avs_cli.types import Run


def fuse(runs: list[Run]) -> Run:
    """Score each shot by the mean of its raw scores, 0 in runs that lack it; of the runs that have its topic.

    Suitable for runs with comparable, positive scores, such as cosines of similar heads; otherwise use combsum, which
    normalises scores.
    """
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        parts: dict[str, list[float]] = {}
        answering = sum(bool(run.get(topic)) for run in runs)
        for run in runs:
            for shot, score in run.get(topic, {}).items():
                parts.setdefault(shot, []).append(score / answering)  # a sum of huge scores might be infinite
        fused[topic] = {shot: math.fsum(scores) for shot, scores in parts.items()}
    return fused
