"""Negated captions: JSON lines {"id": caption, "truth": …, "false": [{"id": …, "falsesent": …}]}.

`truth` is the caption itself, which training does not read.
"""

import json
from collections.abc import Iterable

from avs_cli.errors import FormatError
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text
from avs_cli.io.text.records import lines


def are_negated(text: str) -> bool:
    """Whether the first line of a text is that of negated captions."""
    first = next((line for line in lines(text) if line.strip()), "")
    try:
        record = json.loads(first) if first.startswith("{") else None
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and "id" in record and bool(record.keys() & {"false", "truth"})


def read_negated(path: str) -> dict[str, list[tuple[str, str]]]:
    """The ids and sentences of the negated captions of each caption, in the order of the file."""
    return parse_negated(path, read_text(path))


def parse_negated(path: str, text: str) -> dict[str, list[tuple[str, str]]]:
    """As `read_negated`, of the content of a file."""
    found: dict[str, list[tuple[str, str]]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            negated = [(str(one.get("id", "")), str(one["falsesent"])) for one in record.get("false", [])]
            caption = str(record["id"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise FormatError(path, 'not {"id": …, "false": [{"id": …, "falsesent": …}]}', number) from None
        if negated:
            found.setdefault(caption, []).extend(negated)
    return found


def write_negated(path: str, negated: Iterable[tuple[str, str, list[tuple[str, str]]]]) -> None:
    """Write captions, each with its id and the ids and sentences of its negated captions; `-` is stdout."""
    with writing(path) as out:
        for caption, truth, sentences in negated:
            record: dict[str, object] = {"id": caption, "truth": truth}
            if sentences:
                record["false"] = [{"id": id, "falsesent": sentence} for id, sentence in sentences]
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
