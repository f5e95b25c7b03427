"""What a person sees: notes and progress on stderr, so that stdout stays data."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

TOLD = 20


def note(message: str) -> None:
    """Say one thing on stderr."""
    print(f"avs: {message}", file=sys.stderr)


def note_each(messages: Iterable[str]) -> None:
    """Say many things, each once, and of very many how many more there are."""
    different = list(dict.fromkeys(messages))
    for message in different[:TOLD]:
        note(message)
    if len(different) > TOLD:
        note(f"and {len(different) - TOLD} more")


class Advance(Protocol):
    """Moves a progress bar on by `steps`, and may say what is in hand."""

    def __call__(self, steps: float = 1, what: str = "") -> None: ...


@contextmanager
def progress(label: str, total: float | None) -> Iterator[Advance]:
    """A progress bar on stderr while it is a terminal, silence otherwise."""
    if not sys.stderr.isatty():
        yield lambda steps=1, what="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        def advance(steps: float = 1, what: str = "") -> None:
            bar.update(task, advance=steps, description=f"{label} {what}".rstrip())

        yield advance


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> None:
    """A table on stdout; numbers stand right, everything else left."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # which ends the program quietly; rich's own way is exit code 1

    texts = [[str(cell) for cell in row] for row in rows]
    drawn = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for position, name in enumerate(columns):
        cells = [row[position] for row in texts]
        drawn.add_column(name, justify="right" if cells and all(_is_number(cell) for cell in cells) else "left")
    for row in texts:
        drawn.add_row(*row)
    # A pipe or a file gets every column whole; only a terminal is narrow.
    _Console(width=None if sys.stdout.isatty() else 10_000, soft_wrap=not sys.stdout.isatty()).print(drawn)


def _is_number(text: str) -> bool:
    try:
        float(text.lstrip("<").rstrip("%*") or "0")
    except ValueError:
        return False
    return True
