"""Power of the rank: between the slow decrease of log and the fast one of reciprocal."""

from collections.abc import Mapping

from avs_cli.errors import SpecError
from avs_cli.types import ranked


def normalise(scores: Mapping[str, float], p: float = 0.5) -> dict[str, float]:
    """1 / rank^p."""
    if not 0 < p < 100:
        raise SpecError(f"power: p must be between 0 and 100, not {p}")
    return {shot: rank**-p for rank, shot in enumerate(ranked(scores), start=1)}
