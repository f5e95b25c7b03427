"""Notes and progress on stderr, and tables on stdout.

Run tags, ids and provenances may come from untrusted files: control characters are escaped, and square brackets are
not interpreted as markup.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from avs_cli.reporting import Advance, Reporter

TOLD = 20
# Control characters (C0, DEL, C1), bidirectional controls, line ends and surrogates.
OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """A text on one line, with control characters escaped as in Python."""
    return OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_json(text: str) -> str:
    """JSON with control characters in its strings escaped as in JSON."""
    return OBEYED.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def answer(lines: Iterable[str]) -> None:
    """Print lines on stdout."""
    for line in lines:
        print(visible(line))


def note(message: str) -> None:
    """Print a message on stderr."""
    print(f"avs: {visible(message)}", file=sys.stderr)


def note_each(messages: Iterable[str]) -> None:
    """Print messages on stderr, each once, and the number of further ones if there are too many."""
    different = list(dict.fromkeys(messages))
    for message in different[:TOLD]:
        note(message)
    if len(different) > TOLD:
        note(f"and {len(different) - TOLD} more")


@contextmanager
def progress(label: str, total: float | None) -> Iterator[Advance]:
    """A progress bar on stderr if it is a terminal."""
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


class Terminal(Reporter):
    """Notes and progress on stderr."""

    def note(self, message: str) -> None:
        note(message)

    def note_each(self, messages: Iterable[str]) -> None:
        note_each(messages)

    @contextmanager
    def progress(self, label: str, total: float | None) -> Iterator[Advance]:
        with progress(label, total) as advance:
            yield advance


# What commands give to their stages.
TERMINAL = Terminal()


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> None:
    """Print a table on stdout; numbers are right-aligned, everything else left-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # ends the program quietly; rich itself would exit with code 1

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
