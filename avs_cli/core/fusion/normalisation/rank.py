"""Linear function of the rank."""

from collections.abc import Mapping

from avs_cli.types import ranked


def normalise(scores: Mapping[str, float]) -> dict[str, float]:
    """1 - (rank - 1) / n of n shots: the best has 1, the last 1/n, so that every returned shot beats a missing one."""
    return {shot: 1 - place / len(scores) for place, shot in enumerate(ranked(scores))}
