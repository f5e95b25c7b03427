"""Average fusion: the mean of raw scores, the baseline that TRECVID teams report beside learned weights."""

import math

from avs_cli.types import Run


def fuse(runs: list[Run]) -> Run:
    """Score each shot by the mean of its scores as the runs give them, 0 in the runs that lack it.

    It suits runs whose scores have one scale and are positive where a shot matches, such as cosines of heads trained
    alike; where scales differ, combsum normalises them.
    """
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        parts: dict[str, list[float]] = {}
        for run in runs:
            for shot, score in run.get(topic, {}).items():
                parts.setdefault(shot, []).append(score / len(runs))  # a sum of huge scores might be infinite
        fused[topic] = {shot: math.fsum(scores) for shot, scores in parts.items()}
    return fused
