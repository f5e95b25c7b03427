"""Records in JSON, JSON lines and tables with a header line: captions of data sets, and topics.

    {"sentences": [{"video_id": …, "caption": …}]}            a list under `sentences` (MSR-VTT)
    [{"videoID": …, "enCap": [ … ]}]                          a list (VATEX)
    {"BV1CN…": {"caption": [ … ]}}                            an object per video, by its id (ChinaOpen)
    {"id": "731", "text": "a dog"}                            an object per line (JSON lines)
    videoid,contentUrl,duration,page_dir,name                 a header, then rows, with commas (CSV) or tabs (TSV)

Names of fields are compared without regard to case.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from avs_cli.errors import FormatError

Record = Mapping[str, Any]
"""A record by the names of its fields, in lower case."""

# Names of fields, in order of preference.
TOPIC_IDS = ("id", "_id", "topic", "topic_id", "query_id", "qid", "num")
TOPIC_TEXTS = ("text", "query", "title")
ITEMS = ("video_id", "videoid", "shot_id", "shot", "video", "image", "id")
SENTENCES = ("encap", "caption", "sentence", "captions-en", "captions")


def are_records(text: str) -> bool:
    """Whether a text is JSON, or begins with a header line with the names of an id and a text."""
    return are_json(text) or bool(_header(text))


def lines(text: str) -> Iterator[str]:
    """The lines of a text, as `text.split("\\n")` has them, one at a time."""
    low = 0
    while (high := text.find("\n", low)) >= 0:
        yield text[low:high]
        low = high + 1
    yield text[low:]


def _whole_lines(text: str) -> Iterator[str]:
    """The lines of a text with their line breaks, as `io.StringIO` has them, which copies the text."""
    low = 0
    while high := text.find("\n", low) + 1:
        yield text[low:high]
        low = high
    if low < len(text):
        yield text[low:]


def are_json(text: str) -> bool:
    """Whether a text begins like JSON."""
    return text.lstrip()[:1] in ("{", "[")


def contents(text: str) -> Literal["captions", "topics", ""]:
    """The kind of records in a text, by its header line or its first record; "" for other or invalid texts."""
    if not are_json(text):
        return kind_of(dict.fromkeys(_header(text)))
    try:
        first = next(_in_json("", text), None)
    except FormatError:
        return ""
    return kind_of(first[1]) if first else ""


def kind_of(record: Record) -> Literal["captions", "topics", ""]:
    """The kind of a record or of the columns of a table; "" for others."""
    if found(record, ITEMS) and (found(record, SENTENCES) or {"videoid", "name"} <= record.keys()):  # name: WebVid
        return "captions"
    return "topics" if found(record, TOPIC_IDS) and found(record, TOPIC_TEXTS) else ""


def found(record: Record, names: tuple[str, ...]) -> str:
    """The first of the names that the record has; "" if it has none."""
    return next((name for name in names if name in record), "")


def records_in(path: str, text: str) -> Iterator[tuple[int | None, Record]]:
    """Line (None unless in JSON lines or a table) and record, in file order. Raises FormatError for invalid files."""
    yield from _in_json(path, text) if are_json(text) else _in_table(path, text)


def checked(path: str, text: str, line: int | None) -> str:
    """The text. Raises FormatError for a lone surrogate, which JSON can express and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FormatError(path, f"{text[:40]!a} has a lone surrogate, which is not valid text", line) from None
    return text


def _in_json(path: str, text: str) -> Iterator[tuple[int | None, Record]]:
    try:
        content = json.loads(text)
    except ValueError as error:
        if not _is_object(text.lstrip().partition("\n")[0]):
            raise FormatError(path, f"not JSON: {error}", getattr(error, "lineno", None)) from None
        yield from _in_json_lines(path, text)
        return
    except RecursionError:
        raise FormatError(path, "JSON is nested too deeply") from None
    if isinstance(content, dict) and "sentences" in content:
        content = content["sentences"]
    elif isinstance(content, dict) and content and all(isinstance(value, dict) for value in content.values()):
        content = [{"video_id": id, **value} for id, value in content.items()]
    elif isinstance(content, dict) and kind_of(_lower(content)):
        yield 1, _lower(content)
        return
    if not isinstance(content, list):
        raise FormatError(path, "JSON, but not in MSR-VTT's format (sentences), a list of records or JSON lines")
    for number, record in enumerate(content, start=1):
        if not isinstance(record, dict):
            raise FormatError(path, f"JSON, but record {number}, {str(record)[:60]!r}, is not an object")
        yield None, _lower(record)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _in_json_lines(path: str, text: str) -> Iterator[tuple[int | None, Record]]:
    for number, line in enumerate(lines(text), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FormatError(path, f"not JSON: {getattr(error, 'msg', error)}", number) from None
        if not isinstance(record, dict):
            raise FormatError(path, "JSON lines, but this line is not an object", number)
        yield number, _lower(record)


def _lower(record: Mapping[str, Any]) -> Record:
    return {name.lower(): value for name, value in record.items()}


def _header(text: str) -> list[str]:
    """The names of the columns of a table; [] if the text does not begin with a header line."""
    line = next(lines(text.lstrip()))
    names = [cell.strip().strip('"').lower() for cell in line.split(_delimiter(line))]
    return names if kind_of(dict.fromkeys(names)) else []


def _delimiter(line: str) -> str:
    return "\t" if "\t" in line else ","


def _in_table(path: str, text: str) -> Iterator[tuple[int | None, Record]]:
    blank = len(text) - len(text.lstrip())
    names, above = _header(text), text.count("\n", 0, blank)
    table = text[blank:]
    rows = csv.reader(_whole_lines(table), delimiter=_delimiter(next(lines(table))), strict=True)
    line = above + 1
    try:
        for number, cells in enumerate(rows):
            if number and any(cell.strip() for cell in cells):
                if len(cells) != len(names):
                    raise FormatError(path, f"{len(cells)} columns, not {len(names)}: {', '.join(names)}", line)
                yield line, dict(zip(names, cells, strict=True))
            line = above + rows.line_num + 1  # of the next row; quoted cells may hold line breaks
    except csv.Error as error:
        raise FormatError(path, f"not CSV: {error}", above + rows.line_num) from None
