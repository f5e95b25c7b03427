"""Cutoffs of rank, alike for all measures that have one."""

from avs_cli.errors import SpecError


def checked(k: int | None) -> int | None:
    """`k` itself; None is no cutoff. Raises SpecError for less than one rank."""
    if k is not None and k < 1:
        raise SpecError(f"cutoff {k}: must be at least 1")
    return k
