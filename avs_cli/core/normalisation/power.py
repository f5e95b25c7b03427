"""Ranks discounted by a power of themselves: between log's slow and reciprocal's fast descent."""

from collections.abc import Mapping

from avs_cli.errors import SpecError
from avs_cli.types import ranked


def normalise(scores: Mapping[str, float], p: float = 0.5) -> dict[str, float]:
    """1 / rank^p."""
    if not 0 < p < 100:
        raise SpecError(f"power: p is more than 0 and less than 100, not {p}")
    return {shot: rank**-p for rank, shot in enumerate(ranked(scores), start=1)}
