"""Errors, by exit code; only `cli.main` catches them."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any

FEW = 3  # names


def few(names: Iterable[str], most: int = FEW) -> str:
    """The first few names, for a message."""
    first = list(islice(names, most + 1))
    return ", ".join(first[:most]) + (", …" if len(first) > most else "")


class AvsError(Exception):
    """An error that the user can fix: one line, lower case, with the problem, the place and the cure."""

    exit_code = 1

    def __reduce__(self) -> tuple[Callable[..., "AvsError"], tuple[type["AvsError"], str, dict[str, Any]]]:
        # From its message: the parameters of some classes are others, and an error may come from another process.
        return _rebuilt, (type(self), str(self), vars(self))


def _rebuilt(kind: type[AvsError], message: str, attributes: dict[str, Any]) -> AvsError:
    """A copy of an error."""
    error = kind.__new__(kind, message)
    vars(error).update(attributes)
    return error


class UnknownName(AvsError):
    """An unknown name of a registry entry, option or topic."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class SpecError(AvsError):
    """An invalid `name:key=value,…` spec or combination of options."""

    exit_code = 2


class FormatError(AvsError):
    """A malformed file, with the line if known."""

    exit_code = 3

    def __init__(self, path: object, message: str, line: int | None = None):
        self.path, self.line = str(path), line
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")


class MismatchError(AvsError):
    """Inputs that are inconsistent with each other."""

    exit_code = 3


class UnavailableError(AvsError):
    """A package or model that is not installed or not downloaded; the message says how to get it."""

    exit_code = 4


class IncompleteError(AvsError):
    """The output is written, but some items are missing and listed in the ledger."""

    exit_code = 5
