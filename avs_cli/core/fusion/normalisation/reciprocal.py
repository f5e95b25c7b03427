"""Reciprocal ranks with an offset, as in RRF."""

from collections.abc import Mapping

from avs_cli.errors import SpecError
from avs_cli.types import ranked


def normalise(scores: Mapping[str, float], k: int = 60) -> dict[str, float]:
    """1 / (k + rank)."""
    if k < 0:
        raise SpecError(f"reciprocal: k must be at least 0, not {k}")
    return {shot: 1 / (k + rank) for rank, shot in enumerate(ranked(scores), start=1)}
