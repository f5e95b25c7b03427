"""Scores in standard deviations from the topic's mean."""

import math
from collections.abc import Mapping


def normalise(scores: Mapping[str, float]) -> dict[str, float]:
    """(score - mean) / σ over the shots that the run returns; 0 for all when all scores are equal.

    A shot worse than the average of its list has less than a shot that the list lacks.
    """
    if not scores:
        return {}
    # In units of the largest score, so that squares of huge or tiny numbers are still numbers.
    unit = max(map(abs, scores.values())) or 1.0
    mean = math.fsum(score / unit for score in scores.values()) / len(scores)
    sigma = math.sqrt(math.fsum((score / unit - mean) ** 2 for score in scores.values()) / len(scores))
    if sigma < 1e-15:
        return dict.fromkeys(scores, 0.0)
    return {shot: (score / unit - mean) / sigma for shot, score in scores.items()}
