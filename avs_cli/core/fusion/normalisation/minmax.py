"""Min-max normalisation to 0 … 1."""

from collections.abc import Mapping


def normalise(scores: Mapping[str, float]) -> dict[str, float]:
    """From 1 for the best shot to 0 for the last one; 1 if all scores are equal."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if low == high:
        return dict.fromkeys(scores, 1.0)
    # Halves, so that the difference of two huge numbers does not overflow.
    width = high / 2 - low / 2
    return {shot: (score / 2 - low / 2) / width for shot, score in scores.items()}
