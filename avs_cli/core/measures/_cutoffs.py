"""Cutoffs of rank, alike for all measures that have one."""

from avs_cli.errors import SpecError


def checked(k: int | None) -> int | None:
    """`k` itself; None is no cutoff. Raises SpecError for less than one rank."""
    if k is not None and k < 1:
        raise SpecError(f"a cutoff of {k} ranks; the least is 1")
    return k
