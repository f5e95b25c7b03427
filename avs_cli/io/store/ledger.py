"""The error ledger beside a store, FILE.errors.jsonl: a line per failed item of a feature."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from avs_cli.errors import FormatError
from avs_cli.io.atomic import replacing
from avs_cli.types import Failure


def ledger_of(store: Path) -> Path:
    """The ledger of a store."""
    return store.with_name(f"{store.name}.errors.jsonl")


def read_ledger(path: Path) -> list[tuple[str, Failure]]:
    """The entries with their features; an incomplete last line, of a killed writer, is removed from the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))
    entries = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            entry = json.loads(line)
            entries.append((entry["feature"], Failure(entry["id"], entry["stage"], entry["message"])))
        except (ValueError, KeyError, TypeError):
            raise FormatError(path, "not a line of an error ledger", number) from None
    return entries


def write_ledger(path: Path, entries: Iterable[tuple[str, Failure]]) -> None:
    """Replace a ledger; one without entries is removed."""
    lines = [ledger_line(feature, failure) for feature, failure in entries]
    if lines:
        with replacing(path) as temporary:
            temporary.write_bytes(b"".join(lines))
    else:
        path.unlink(missing_ok=True)


def ledger_line(feature: str, failure: Failure) -> bytes:
    """An entry as it is written."""
    return (json.dumps({"feature": feature, **failure._asdict()}, ensure_ascii=False) + "\n").encode()
