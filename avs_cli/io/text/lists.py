"""Lists for submissions: seconds per topic, excluded shots, and the shots that were dropped."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from avs_cli.errors import FormatError
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text


class Dropped(NamedTuple):
    """A shot that was dropped from a submission, with its rank in the run and the reason."""

    topic: str
    rank: int
    shot: str
    reason: str


def read_times(path: str) -> dict[str, float]:
    """Topic -> seconds, from lines of topic and seconds, as written by `avs search --times`.

    Raises FormatError, with the line, for other lines, negative or infinite seconds, and a duplicate topic.
    """
    times: dict[str, float] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not (words := line.split()):
            continue
        seconds = _seconds(words[1]) if len(words) == 2 else None
        if seconds is None:
            raise FormatError(path, "expected a topic and its seconds", number)
        if words[0] in times:
            raise FormatError(path, f"duplicate topic {words[0]!r}", number)
        times[words[0]] = seconds
    if not times:
        raise FormatError(path, "contains no lines (topic, seconds)")
    return times


def read_ids(path: str) -> set[str]:
    """The shots of a list with one id per line. Raises FormatError for a line with several words."""
    ids = set()
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        words = line.split()
        if len(words) > 1:
            raise FormatError(path, f"{len(words)} words instead of one shot id", number)
        ids.update(words)
    return ids


def write_dropped(path: str, shots: Iterable[Dropped]) -> None:
    """Write a table with one line per shot: topic, rank, shot, reason."""
    with writing(path) as out:
        out.write("topic\trank\tshot\treason\n")
        out.writelines(f"{each.topic}\t{each.rank}\t{each.shot}\t{each.reason}\n" for each in shots)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 and "_" not in text else None
