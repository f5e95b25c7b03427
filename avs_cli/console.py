"""What a person sees: notes and progress on stderr, so that stdout stays data.

Run tags, ids and provenances come from files of others, so nothing here obeys what is in them: control characters are
shown as escapes, and square brackets are no markup.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

TOLD = 20
# What a terminal obeys (C0, DEL, C1), what turns the direction of text, line ends, and what is no text at all.
OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """A text on one line, with escapes as in Python for what a terminal would obey."""
    return OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_json(text: str) -> str:
    """JSON with the escapes of JSON for what a terminal would obey; line ends outside of its texts stay."""
    return OBEYED.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def answer(lines: Iterable[str]) -> None:
    """Lines for a person, on stdout."""
    for line in lines:
        print(visible(line))


def note(message: str) -> None:
    """Say one thing on stderr."""
    print(f"avs: {visible(message)}", file=sys.stderr)


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

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        def advance(steps: float = 1, what: str = "") -> None:
            bar.update(task, advance=steps, description=visible(f"{label} {what}".rstrip()))

        yield advance


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> None:
    """A table on stdout; numbers stand right, everything else left."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # which ends the program quietly; rich's own way is exit code 1

    texts = [[visible(str(cell)) for cell in row] for row in rows]
    drawn = Table(title=title and Text(visible(title), "table.title"), box=box.SIMPLE_HEAD, title_justify="left")
    for position, name in enumerate(columns):
        cells = [row[position] for row in texts]
        drawn.add_column(
            Text(visible(name)), justify="right" if cells and all(_is_number(cell) for cell in cells) else "left"
        )
    for row in texts:
        drawn.add_row(*map(Text, row))
    # A pipe or a file gets every column whole; only a terminal is narrow.
    _Console(width=None if sys.stdout.isatty() else 10_000, soft_wrap=not sys.stdout.isatty()).print(drawn)


def _is_number(text: str) -> bool:
    try:
        float(text.lstrip("<").rstrip("%*") or "0")
    except ValueError:
        return False
    return True
