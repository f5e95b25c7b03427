"""Rank cutoffs of measures."""

from avs_cli.errors import SpecError


def checked(k: int | None) -> int | None:
    """`k`; None means no cutoff. Raises SpecError for less than 1."""
    if k is not None and k < 1:
        raise SpecError(f"cutoff {k}: must be at least 1")
    return k
