"""Ranks discounted by their logarithm, as nDCG does."""

import math
from collections.abc import Mapping

from avs_cli.types import ranked


def normalise(scores: Mapping[str, float]) -> dict[str, float]:
    """1 / log2(rank + 1)."""
    return {shot: 1 / math.log2(rank + 1) for rank, shot in enumerate(ranked(scores), start=1)}
