"""The journal of an unfinished index: what is known of contents, line by line, so that a killed call loses little."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from avs_cli.types import Span


class Journal:
    """Digests of files, and the shots of contents; what is added is in the file when `add_…` returns.

    digests  (path, size, modification time) -> digest
    spans    content -> start and end of its shots, by this detector
    """

    def __init__(self, path: Path, detector: str):
        self._path, self._detector = path, detector
        self.digests: dict[tuple[str, int, int], str] = {}
        self.spans: dict[str, tuple[Span, ...]] = {}
        with suppress(FileNotFoundError):
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1  # a killed call may have left a part of a line
            os.truncate(path, whole)
            for line in data[:whole].splitlines():
                self._read(json.loads(line))

    def _read(self, entry: Mapping[str, Any]) -> None:
        if "path" in entry:
            self.digests[entry["path"], entry["size"], entry["modified"]] = entry["digest"]
        elif entry["detector"] == self._detector:
            self.spans[entry["content"]] = tuple((start, end) for start, end in entry["spans"])

    def add_digest(self, path: str, size: int, modified: int, digest: str) -> None:
        """Keep the digest of a file as it was."""
        self._add({"path": path, "size": size, "modified": modified, "digest": digest})

    def add_spans(self, content: str, spans: Sequence[Span]) -> None:
        """Keep the shots of a content."""
        self._add({"content": content, "detector": self._detector, "spans": list(spans)})

    def _add(self, entry: Mapping[str, Any]) -> None:
        self._read(entry)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")
