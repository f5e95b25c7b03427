"""Marks: the judgments that a user makes one by one, as qrels that are whole on disk at any moment.

    marks.qrels             1 0 beach_12 1              TREC's four columns, in the order in which shots were marked
    marks.topics.jsonl      {"id": "1", "text": "a dog on a beach"}         what each topic of them is

Topics of several wordings have a line and a weight for each; see `topics.py`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from avs_cli.errors import SpecError
from avs_cli.io.atomic import replacing
from avs_cli.io.text.topics import read_topics
from avs_cli.io.text.trec import read_qrels
from avs_cli.types import Judgment, Qrels, Topic, Variant

RELEVANT, IRRELEVANT = Judgment(1), Judgment(0)


class Mark(NamedTuple):
    """A change of a judgment; None is none."""

    topic: str
    shot: str
    before: Judgment | None
    after: Judgment | None


class MarksFile:
    """Qrels on disk that change judgment by judgment, and the topics beside them.

    qrels   topic -> shot -> judgment
    topics  topic -> its text and wordings; a topic that others judged may lack them

    Each change replaces the file, flushed to the disk, before it returns. What other programs have written in the
    meantime is read before.
    """

    def __init__(self, path: str | Path):
        """Raises FormatError for files that are not qrels and topics; a missing file has no marks."""
        self.path = Path(path)
        self.beside = topics_beside(path)
        self.qrels: Qrels = {}
        self.topics: dict[str, Topic] = {}
        self._changes: list[Mark] = []
        self._seen: object = None
        self.refresh()

    def refresh(self) -> None:
        """Read what other programs have written since."""
        state = [_state(path) for path in (self.path, self.beside)]
        if state != self._seen:
            self.qrels = read_qrels(str(self.path)) if state[0] else {}
            self.topics = {one.id: one for one in read_topics(str(self.beside))} if state[1] else {}
            self._seen = state

    def topic(self, asked: Topic) -> str:
        """The id of the topic with this text and these wordings, whatever its own id; the next free number if new."""
        for id, topic in self.topics.items():
            if (topic.query, topic.variants) == (asked.query, asked.variants):
                return id
        numbers = [int(id) for id in self.topics.keys() | self.qrels.keys() if id.isascii() and id.isdigit()]
        return str(max(numbers, default=0) + 1)

    def mark(self, asked: Topic, shot: str, judgment: Judgment | None) -> Mark:
        """Judge a shot for a topic, or with None take its judgment back. Raises OSError if the disk refuses."""
        self.refresh()
        topic = self.topic(asked)
        change = Mark(topic, shot, self.qrels.get(topic, {}).get(shot), judgment)
        if change.before != judgment:
            self._apply(change, asked)
            self._changes.append(change)
        return change

    def undo(self, asked: Topic) -> Mark | None:
        """Take the last change of a topic back; without one in this session, its last judgment. None: there is none."""
        self.refresh()
        topic = self.topic(asked)
        change = next((one for one in reversed(self._changes) if one.topic == topic), None)
        if change is not None:
            self._changes.remove(change)
        elif judged := self.qrels.get(topic):
            shot, judgment = [*judged.items()][-1]
            change = Mark(topic, shot, None, judgment)
        else:
            return None
        self._apply(Mark(topic, change.shot, change.after, change.before), asked)
        return change

    def _apply(self, change: Mark, asked: Topic) -> None:
        judged = dict(self.qrels.get(change.topic, {}))
        judged.pop(change.shot, None)  # the order is that of the marks
        if change.after is not None:
            judged[change.shot] = change.after
        qrels = self.qrels | {change.topic: judged}
        if not judged:
            del qrels[change.topic]
        # A topic is named before it is judged, and its name outlives its judgments: an undone mark may come again.
        if change.topic not in self.topics:
            topics = self.topics | {change.topic: Topic(change.topic, asked.query, variants=asked.variants)}
            _write(self.beside, _in_json(topics))
            self.topics = topics
        if qrels:
            _write(self.path, _in_trec(qrels))
        else:
            self.path.unlink(missing_ok=True)
        self.qrels = qrels
        self._seen = [_state(path) for path in (self.path, self.beside)]


def topics_beside(path: str | Path) -> Path:
    """The file of the topics of a file of marks: marks.topics.jsonl for marks.qrels."""
    if Path(path).suffix == ".gz" or not Path(path).name:
        raise SpecError(f"{path}: marks are kept in a plain file, such as marks.qrels")
    return Path(path).with_suffix(".topics.jsonl")


def _in_trec(qrels: Qrels) -> str:
    """Four columns, or five where a judgment has a stratum."""
    rows = [(topic, shot, one) for topic, judged in qrels.items() for shot, one in judged.items()]
    sampled = any(one.stratum != RELEVANT.stratum for _, _, one in rows)
    return "".join(f"{topic} 0 {shot} {f'{one.stratum} ' * sampled}{one.relevance}\n" for topic, shot, one in rows)


def _in_json(topics: Mapping[str, Topic]) -> str:
    lines = []
    for topic in topics.values():
        for weight, text in topic.variants or [Variant(0, topic.query)]:
            record: dict[str, object] = {"id": topic.id, "text": text}
            if topic.variants:
                record["weight"] = weight
            if topic.narrative:
                record["narrative"] = topic.narrative
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    return "".join(lines)


def _write(path: Path, text: str) -> None:
    """Replace a file, and return when the disk has it."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
