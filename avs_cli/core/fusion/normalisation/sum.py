"""Scores as shares of the topic's total."""

import math
from collections.abc import Mapping


def normalise(scores: Mapping[str, float]) -> dict[str, float]:
    """(score - min) / sum of these; equal values if all scores are equal."""
    if not scores:
        return {}
    unit = max(map(abs, scores.values())) or 1.0
    low = min(scores.values()) / unit
    total = math.fsum(score / unit - low for score in scores.values())
    if not total:
        return dict.fromkeys(scores, 1 / len(scores))
    return {shot: (score / unit - low) / total for shot, score in scores.items()}
