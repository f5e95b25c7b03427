"""The words of shots in files of text: JSON lines, and subtitles, which `io.video.subtitles` reads.

{"shot": "a_1", "video": "a.mp4", "start": 0.0, "end": 4.0, "pieces": [{"text": "Hello", "start": 1.0, "end": 2.0,
 "box": [0.1, 0.8, 0.5, 0.9], "confidence": 0.97}]}                                        on one line

`video`, `start` and `end` are of the shot and come together; `box` and `confidence` are optional. JSON lines are exact;
subtitles have texts and milliseconds, and no tags: what looks like one is a tag when it is read again.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avs_cli.errors import FormatError
from avs_cli.io.atomic import writing
from avs_cli.io.bounded_json import parsed
from avs_cli.io.pipe import read_text
from avs_cli.io.store.texts import TextItem, wrong_piece
from avs_cli.types import Piece, Shot

# Characters of a line.
LONGEST = 1 << 24
HINT = 'not {"shot": …, "pieces": [{"text": …, "start": …, "end": …}]}'


def are_word_lines(path: str | Path) -> bool:
    """Whether a file begins with a line of words."""
    with Path(path).open("rb") as file:
        first = file.readline(LONGEST)
    try:
        record = parsed(first.decode("utf-8-sig"), LONGEST)
    except ValueError:
        return False
    return isinstance(record, dict) and record.keys() >= {"shot", "pieces"}


def read_word_lines(path: str) -> list[TextItem]:
    """The items of a file. Raises FormatError, with the line, for one of another form and for a duplicate shot."""
    found: dict[str, TextItem] = {}
    # Not splitlines: texts may have line separators of Unicode.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = _item(parsed(line, LONGEST))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise FormatError(path, HINT, number) from None
        if item.id in found:
            raise FormatError(path, f"duplicate shot {item.id!r}", number)
        if wrong := wrong_piece(item.pieces):
            raise FormatError(path, wrong, number)
        found[item.id] = item
    return list(found.values())


def _item(record: Any) -> TextItem:
    """Raises ValueError, KeyError, TypeError, AttributeError or OverflowError for another value."""
    id = _text(record["shot"])
    shot = None
    if record.keys() & {"video", "start", "end"}:
        shot = Shot(id, _text(record["video"]), _number(record["start"]), _number(record["end"]))
        if not 0 <= shot.start <= shot.end < float("inf"):
            raise ValueError
    return TextItem(shot, id, [_piece(piece) for piece in _listed(record["pieces"])])


def _piece(record: Any) -> Piece:
    box = record.get("box")
    sure = record.get("confidence")
    left, top, right, bottom = (0.0,) * 4 if box is None else map(_number, _listed(box))
    return Piece(
        _text(record["text"]),
        _number(record["start"]),
        _number(record["end"]),
        None if box is None else (left, top, right, bottom),
        None if sure is None else _number(sure),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def write_word_lines(path: str, items: Iterable[TextItem]) -> None:
    """Write one line per item."""
    with writing(path) as out:
        for item in items:
            record: dict[str, Any] = {"shot": item.id}
            if item.shot:
                record |= {"video": item.shot.video, "start": item.shot.start, "end": item.shot.end}
            record["pieces"] = [_record(piece) for piece in item.pieces]
            out.write(f"{json.dumps(record, ensure_ascii=False)}\n")


def _record(piece: Piece) -> dict[str, Any]:
    record: dict[str, Any] = {"text": piece.text, "start": piece.start, "end": piece.end}
    if piece.box is not None:
        record["box"] = [_short(value) for value in piece.box]
    if piece.confidence is not None:
        record["confidence"] = _short(piece.confidence)
    return record


def _short(value: float) -> float:
    """The shortest decimal that is this number in a store."""
    return float(str(np.float32(value)))


def write_subtitles(path: str, pieces: Iterable[Piece], kind: str) -> None:
    """Write the texts of one video as SubRip or WebVTT.

    kind  "srt" or "vtt"
    """
    ordered = sorted(dict.fromkeys(pieces), key=lambda piece: (piece.start, piece.end))
    with writing(path) as out:
        if kind == "vtt":
            out.write("WEBVTT\n\n")
        for number, piece in enumerate(ordered, start=1):
            if lines := [line for line in piece.text.split("\n") if line.strip()]:
                text = "\n".join(map(_escaped, lines) if kind == "vtt" else lines)
                times = f"{_clock(piece.start, kind)} --> {_clock(piece.end, kind)}"
                out.write(f"{number}\n{times}\n{text}\n\n")


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, kind: str) -> str:
    rest, thousandths = divmod(round(1000 * seconds), 1000)
    rest, second = divmod(rest, 60)
    hour, minute = divmod(rest, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}{',' if kind == 'srt' else '.'}{thousandths:03d}"


def by_video(items: Iterable[TextItem]) -> Iterator[tuple[str, list[Piece]]]:
    """The pieces of all shots of each video, in the order of the videos; items without a shot are left out."""
    found: dict[str, list[Piece]] = {}
    for item in items:
        if item.shot:
            found.setdefault(item.shot.video, []).extend(item.pieces)
    yield from found.items()
