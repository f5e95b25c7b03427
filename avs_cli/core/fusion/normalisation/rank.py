"""Linear function of the rank."""

from collections.abc import Mapping

from avs_cli.types import ranked


def normalise(scores: Mapping[str, float]) -> dict[str, float]:
    """1 - (rank - 1) / n for n shots: from 1 to 1/n, so that returned shots are above missing ones."""
    return {shot: 1 - place / len(scores) for place, shot in enumerate(ranked(scores))}
