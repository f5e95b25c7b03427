"""Writing on sampled frames: lines in the order in which they are read, and repeated lines as spans of time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from avs_cli.types import Piece, Span

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of the picture."""


class Line(NamedTuple):
    """A line of writing on one frame."""

    text: str
    box: Box
    confidence: float


@dataclass
class _Shown:
    """A line on successive frames: its best reading, its times, and its last place."""

    best: Line
    start: float
    end: float
    box: Box


def spans(frames: Iterable[tuple[Span, Sequence[Line] | None]]) -> list[Piece]:
    """The lines of successive frames as pieces, in the order in which they appear and, of one frame, are read.

    frames  what each shows, and from when to when it stands for the video; None: the same as the one before

    A text that is there again on the next frame is one piece, wherever it has moved; of several with the same text,
    each goes on with the nearest one. The piece has the box and spelling of the reading with the highest confidence.
    """
    every: list[_Shown] = []
    now: list[_Shown] = []
    for (start, end), lines in frames:
        if lines is None:
            for one in now:
                one.end = end
            continue
        before, now = now, []
        ordered = in_reading_order(lines)
        again = _again(before, ordered)
        for number, line in enumerate(ordered):
            shown = again.get(number)
            if shown is None:
                shown = _Shown(line, start, end, line.box)
                every.append(shown)
            elif line.confidence > shown.best.confidence:
                shown.best = line
            shown.end, shown.box = end, line.box
            now.append(shown)
    return [Piece(one.best.text, one.start, one.end, one.best.box, one.best.confidence) for one in every]


def _again(before: Sequence[_Shown], lines: Sequence[Line]) -> dict[int, _Shown]:
    """Which of the lines, by their numbers, were there before: the nearest pairs with the same text, one to one."""
    pairs = sorted(
        (_distance(shown.box, line.box), place, number)
        for place, shown in enumerate(before)
        for number, line in enumerate(lines)
        if _key(shown.best.text) == _key(line.text)
    )
    found: dict[int, _Shown] = {}
    taken: set[int] = set()
    for _, place, number in pairs:
        if number not in found and place not in taken:
            found[number] = before[place]
            taken.add(place)
    return found


def in_reading_order(lines: Iterable[Line]) -> list[Line]:
    """From top to bottom, and in a row from the left; in a row are lines whose middle is in the height of its first."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (_middle(line), line)):
        if rows and _middle(line) <= rows[-1][0].box[3]:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.box)]


def _middle(line: Line) -> float:
    return (line.box[1] + line.box[3]) / 2


def _key(text: str) -> str:
    return "".join(text.split()).casefold()


def _distance(one: Box, other: Box) -> float:
    """Between the centres; of squares, since only the order matters."""
    return sum((one[n] + one[n + 2] - other[n] - other[n + 2]) ** 2 for n in (0, 1))
