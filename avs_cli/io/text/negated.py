"""Negated captions: JSON lines {"id": caption, "false": [{"id": …, "falsesent": …}]}."""

import json

from avs_cli.errors import FormatError
from avs_cli.io.pipe import read_text


def read_negated(path: str) -> dict[str, list[tuple[str, str]]]:
    """The ids and sentences of the negated captions of each caption, in the order of the file."""
    found: dict[str, list[tuple[str, str]]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
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
