"""Topics and their wordings as JSON lines, which users edit and `avs expand` adds to; `topics.py` reads them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from avs_cli.errors import FormatError
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text
from avs_cli.io.text.records import TOPIC_IDS, found
from avs_cli.io.text.topics import texts_in
from avs_cli.types import Topic, Variant

By = Mapping[str, str | int | float]
"""What made a wording: the field `by` of its line, which other readers skip."""


def line_of(topic: str, wording: Variant, by: By | None = None) -> str:
    """A line of the file, for one wording of a topic."""
    record: dict[str, object] = {"id": topic, "text": wording.text, "weight": wording.weight}
    return json.dumps(record | ({"by": dict(by)} if by is not None else {}), ensure_ascii=False)


def read_lines(path: str | Path) -> dict[str, list[str]]:
    """The lines of each topic as they are, in the order of the file; {} for no file or an empty one.

    Raises FormatError for what is not JSON lines, and for what is no topic.
    """
    if not Path(path).exists() or not (text := read_text(path)).strip():
        return {}
    texts_in(str(path), text)
    lines: dict[str, list[str]] = {}
    for number, row in enumerate(map(str.strip, text.split("\n")), start=1):
        if row:
            record = {name.lower(): value for name, value in _object(path, number, row).items()}
            lines.setdefault(str(record[found(record, TOPIC_IDS)]), []).append(row)
    return lines


def _object(path: str | Path, number: int, row: str) -> dict[str, object]:
    try:
        record = json.loads(row)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise FormatError(path, "not JSON lines, as avs expand writes them; give another --output", number)
    return record


def topics_of(lines: Mapping[str, Sequence[str]]) -> list[Topic]:
    """The topics of the lines, each with all its wordings."""
    return texts_in("", "".join(f"{line}\n" for own in lines.values() for line in own)).topics


def made_by(lines: Iterable[str]) -> list[dict[str, object]]:
    """What made the wordings: the different values of the field `by`."""
    found: list[dict[str, object]] = []
    for line in lines:
        by = json.loads(line).get("by")
        if isinstance(by, dict) and by not in found:
            found.append(by)
    return found


def write_lines(path: str | Path, lines: Mapping[str, Sequence[str]]) -> None:
    """Write the lines of all topics; `-` is stdout."""
    with writing(path) as out:
        for of_topic in lines.values():
            out.writelines(f"{line}\n" for line in of_topic)
