"""What can go wrong, by exit code. `cli.main` is the only place that catches these."""

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

FEW = 3  # names


def few(names: Iterable[str], most: int = FEW) -> str:
    """The first of some names, for a message that has no room for all."""
    first = list(islice(names, most + 1))
    return ", ".join(first[:most]) + (", …" if len(first) > most else "")


class AvsError(Exception):
    """A failure that the user can act on: one line, lower case, what is wrong, where, and the cure."""

    exit_code = 1


class UnknownName(AvsError):
    """A name that no registry entry, option or topic has."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
        super().__init__(f"no {kind} is called {name!r}; {hint}")


class SpecError(AvsError):
    """A `name:key=value,…` spec, or a combination of options, that means nothing."""

    exit_code = 2


class FormatError(AvsError):
    """A file that is not what it should be, with the line where it shows."""

    exit_code = 3

    def __init__(self, path: object, message: str, line: int | None = None):
        self.path, self.line = str(path), line
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")


class MismatchError(AvsError):
    """Inputs that are fine alone and do not fit each other."""

    exit_code = 3


class UnavailableError(AvsError):
    """Something not installed or not downloaded; the message says how to get it."""

    exit_code = 4


class IncompleteError(AvsError):
    """The output is written, some items are missing from it; the ledger names them."""

    exit_code = 5
