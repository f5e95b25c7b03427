"""Average fusion: the mean of raw scores, a common baseline of TRECVID teams."""

import math

from avs_cli.types import Run


def fuse(runs: list[Run]) -> Run:
    """Score each shot by the mean of its raw scores, 0 in runs that lack it.

    Suitable for runs with comparable, positive scores, such as cosines of similar heads; otherwise use combsum, which
    normalises scores.
    """
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        parts: dict[str, list[float]] = {}
        for run in runs:
            for shot, score in run.get(topic, {}).items():
                parts.setdefault(shot, []).append(score / len(runs))  # a sum of huge scores might be infinite
        fused[topic] = {shot: math.fsum(scores) for shot, scores in parts.items()}
    return fused
