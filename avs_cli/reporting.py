"""How stages report notes and progress: on stderr in the command line, to a logger in a notebook."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

LOGGER = logging.getLogger("avs_cli")


class Advance(Protocol):
    """Advance a progress bar by `steps`, optionally with the current item."""

    def __call__(self, steps: float = 1, what: str = "") -> None: ...


class Reporter:
    """The default: notes go to the logger `avs_cli` as warnings, and progress is not shown."""

    def note(self, message: str) -> None:
        """Report one line: a consequence of the inputs that is no error, or the state of a long stage."""
        LOGGER.warning(message)

    def note_each(self, messages: Iterable[str]) -> None:
        """Report several lines, each once."""
        for message in dict.fromkeys(messages):
            self.note(message)

    @contextmanager
    def progress(self, label: str, total: float | None) -> Iterator[Advance]:
        """Progress of `label` towards `total` (None: unknown), while the context is open."""
        yield lambda steps=1, what="": None


# The default of every stage.
LOGGED = Reporter()
