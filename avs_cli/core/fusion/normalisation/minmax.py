"""Min-max normalisation to 0 … 1."""

from collections.abc import Mapping


def normalise(scores: Mapping[str, float]) -> dict[str, float]:
    """The best shot has 1, the last one 0; 1 for all when all scores are equal."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if low == high:
        return dict.fromkeys(scores, 1.0)
    # Halves, so that the difference of two huge numbers is still a number.
    width = high / 2 - low / 2
    return {shot: (score / 2 - low / 2) / width for shot, score in scores.items()}
