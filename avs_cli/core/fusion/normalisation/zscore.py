"""Scores in standard deviations from the topic's mean."""

import math
from collections.abc import Mapping


def normalise(scores: Mapping[str, float]) -> dict[str, float]:
    """(score - mean) / σ over the shots of the run; 0 if all scores are equal.

    Shots below the mean have lower values than missing shots.
    """
    if not scores:
        return {}
    # Divide by the largest score, so that squares do not overflow or underflow.
    unit = max(map(abs, scores.values())) or 1.0
    mean = math.fsum(score / unit for score in scores.values()) / len(scores)
    sigma = math.sqrt(math.fsum((score / unit - mean) ** 2 for score in scores.values()) / len(scores))
    if sigma < 1e-15:
        return dict.fromkeys(scores, 0.0)
    return {shot: (score / unit - mean) / sigma for shot, score in scores.items()}
