"""Verdicts of judges, line by line in a file that is only appended to, so that a killed call loses what it has in hand.

    {"judge": "0f3a…", "about": {"model": "qwen3-vl-reranker:2b", …}}                        once for each judge
    {"judge": "0f3a…", "topic": "661", "query": "a dog on a beach", "shot": "shot1_2", "start": 3.5, "end": 7.0,
     "log_odds": 2.25}                                                                        on one line

Files are joined by `cat`. `avs rerank --method scores` reads those of one judge, which needs neither model nor videos.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from avs_cli.errors import FormatError
from avs_cli.io.lock import locked
from avs_cli.io.pipe import regular
from avs_cli.types import Run, Shot, Topic

# How every line begins.
START = b'{"judge": "'
# Judge, topic, its query, shot, its start and its end: what a verdict is found by.
_Key = tuple[str, str, str, str, float, float]


class VerdictFile:
    """The verdicts of one judge in a file, held by this process while it is open.

    Verdicts of other judges in the file stay there. A half-written last line, of a killed process, is removed.
    """

    def __init__(self, path: str | Path, judge: str, about: Mapping[str, Any]):
        """`judge` is a digest of `about`, which has everything that determines its verdicts."""
        self._path, self._judge, self._about = regular(Path(path)), judge, about
        self._found: dict[_Key, float] = {}
        self._introduced = False

    def __enter__(self) -> Self:
        """Raises AvsError if another process holds the file, FormatError for a file that has other content."""
        self._lock = locked(self._path)
        self._lock.__enter__()
        try:
            self._read()
        except BaseException as error:
            self._lock.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    def _read(self) -> None:
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        left = data[whole:]
        if not (left.startswith(START) or START.startswith(left)):
            raise FormatError(self._path, "not a verdict, in JSON", data.count(b"\n") + 1)
        try:
            text = data[:whole].decode()
        except UnicodeDecodeError as error:
            raise FormatError(self._path, "not UTF-8 text", data[: error.start].count(b"\n") + 1) from None
        for line, entry in _entries(str(self._path), text):
            if entry["judge"] != self._judge:
                continue
            if "about" in entry:
                self._introduced = True
            else:
                self._found[_key(entry)] = _log_odds(str(self._path), line, entry)
        if left:
            os.truncate(self._path, whole)

    def get(self, topic: Topic, shot: Shot) -> float | None:
        """The log-odds of a shot for a topic; None if the file has none."""
        return self._found.get((self._judge, topic.id, topic.query, shot.id, shot.start, shot.end))

    def add(self, verdicts: list[tuple[Topic, Shot, float]]) -> None:
        """Append verdicts, which are on the disk when this returns."""
        lines: list[Mapping[str, Any]] = []
        if not self._introduced:
            lines.append({"judge": self._judge, "about": dict(self._about)})
        for topic, shot, odds in verdicts:
            entry = {
                "judge": self._judge, "topic": topic.id, "query": topic.query, "shot": shot.id, "start": shot.start,
                "end": shot.end, "log_odds": odds,
            }  # fmt: skip
            lines.append(entry)
            self._found[_key(entry)] = odds
        with self._path.open("ab") as out:
            out.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
            out.flush()
            os.fsync(out.fileno())
        self._introduced = True


def are_verdicts(text: str) -> bool:
    """Whether a text begins as a file of verdicts does."""
    return text.lstrip().encode().startswith(START)


def parse_verdicts(path: str, text: str) -> Run:
    """Topic -> shot -> log-odds, from the content of a file of verdicts.

    Raises FormatError, with the line, for verdicts of two judges, and for two different ones of a topic and a shot.
    """
    run: Run = {}
    judges: dict[str, int] = {}
    for line, entry in _entries(path, text):
        judges.setdefault(entry["judge"], line)
        if len(judges) > 1:
            first, second = judges
            raise FormatError(
                path, f"verdicts of two judges; choose the lines of one, with grep {first} or {second}", line
            )
        if "about" in entry:
            continue
        scores, odds = run.setdefault(entry["topic"], {}), _log_odds(path, line, entry)
        if scores.setdefault(entry["shot"], odds) != odds:
            raise FormatError(path, f"a second verdict on shot {entry['shot']!r} for topic {entry['topic']}", line)
    return run


def _entries(path: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a file with their numbers, from 1. Raises FormatError for other lines."""
    texts = {"judge", "topic", "query", "shot"}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            raise FormatError(path, "not a verdict, in JSON", number) from None
        if not (isinstance(entry, dict) and isinstance(entry.get("judge"), str)):
            raise FormatError(path, "not a verdict, which has a judge", number)
        times = [entry.get(name, 0) for name in ("start", "end")]
        if "about" not in entry and not (
            all(isinstance(entry.get(name), str) for name in texts)
            and all(isinstance(one, int | float) for one in times)
        ):
            raise FormatError(path, "not a verdict, which has a judge, a topic, a query, a shot and log_odds", number)
        yield number, entry


def _key(entry: Mapping[str, Any]) -> _Key:
    return entry["judge"], entry["topic"], entry["query"], entry["shot"], entry.get("start", 0), entry.get("end", 0)


def _log_odds(path: str, line: int, entry: Mapping[str, Any]) -> float:
    odds = entry.get("log_odds")
    with suppress(OverflowError):  # an integer of 400 digits
        if isinstance(odds, int | float) and not isinstance(odds, bool) and math.isfinite(odds):
            return float(odds)
    raise FormatError(path, f"log_odds {str(odds)[:60]} is not a finite number", line)
