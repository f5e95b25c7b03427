"""Average fusion: the mean of raw scores, a common baseline of TRECVID teams."""

import math

from avs_cli.core.fusion.methods._combining import gathered
from avs_cli.types import Run


def fuse(runs: list[Run]) -> Run:
    """Score each shot by the mean of its raw scores, 0 in runs that lack it; a run without any shot does not count.

    Suitable for runs with comparable, positive scores, such as cosines of similar heads; otherwise use combsum, which
    normalises scores.
    """
    return {
        # A sum of huge scores might be infinite.
        topic: {shot: math.fsum(score / count for score in scores) for shot, scores in evidence.items()}
        for topic, evidence, count in gathered(runs, lambda _, scores: scores)
    }
