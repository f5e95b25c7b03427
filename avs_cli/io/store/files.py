"""The files of an index: the group `files` of a feature store, by which `avs index` knows what changed.

files                       @shots the detector, as given to --shots
├── paths     (F,)   utf-8
├── names     (F,)   utf-8  shot n of a file, from 1, is called <name>_<n>
├── size      (F,)   int64  bytes
├── modified  (F,)   int64  modification time, nanoseconds since 1970
├── digest    (F,)   utf-8  SHA-256 of the file
├── offsets   (F+1,) int64  the shots of file i are start[offsets[i]:offsets[i+1]], also those without vectors
├── start     (P,)   float64  seconds
└── end       (P,)   float64
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avs_cli.errors import FormatError
from avs_cli.io.store.checked import FILES, column, holds, part, texts
from avs_cli.io.store.schema import array, opened, structure, write_ids
from avs_cli.types import Span


class IndexedFile(NamedTuple):
    """A video as it was when its shots were found.

    name      that of its shots: shot n, from 1, is <name>_<n>
    size      in bytes
    modified  in nanoseconds since 1970
    digest    SHA-256 in hex
    spans     start and end of each shot in seconds; none for a file that is no video
    """

    path: str
    name: str
    size: int
    modified: int
    digest: str
    spans: tuple[Span, ...]

    @property
    def ids(self) -> list[str]:
        """The ids of the shots."""
        return [f"{self.name}_{n}" for n in range(1, len(self.spans) + 1)]


class FileTable(NamedTuple):
    """The files of an index in the order of their shots, the detector that found these, and the encoders."""

    detector: str
    models: tuple[str, ...]
    files: list[IndexedFile]


def read_files(path: str | Path) -> FileTable | None:
    """The files of a store; None if `avs index` did not write it. Raises FormatError for a damaged table."""
    shown = str(path)
    with opened(Path(path), shown) as file, structure(shown):
        if not holds(file, "files"):
            return None
        group, where = part(file, "files", shown), f"{shown}::files"
        held = {name: column(group, name, kind, where) for name, kind in FILES.items()}
        columns = {
            name: texts(dataset, FILES[name], where).tolist() if "S" in FILES[name].kinds else dataset[...]
            for name, dataset in held.items()
        }
        detector, models = str(group.attrs["shots"]), tuple(map(str, json.loads(group.attrs["models"])))
    offsets, spans = columns["offsets"], list(zip(columns["start"].tolist(), columns["end"].tolist(), strict=False))
    counts = {len(columns[name]) for name in FILES if name not in ("offsets", "start", "end")}
    whole = len(offsets) and offsets[0] == 0 and offsets[-1] == len(columns["start"]) == len(columns["end"])
    if counts != {len(offsets) - 1} or not whole or (np.diff(offsets) < 0).any():
        raise FormatError(where, "offsets do not divide the shots among the files")
    rows = zip(
        *([text.decode() for text in columns[name]] for name in ("paths", "names")),
        columns["size"].tolist(),
        columns["modified"].tolist(),
        (text.decode() for text in columns["digest"]),
        (tuple(spans[low:high]) for low, high in pairwise(offsets)),
        strict=True,
    )
    return FileTable(detector, models, [IndexedFile(*row) for row in rows])


def write_files(file: Any, table: FileTable) -> None:
    """Add the table to a store that is being written."""
    group = file.create_group("files")
    group.attrs["shots"] = table.detector
    group.attrs["models"] = json.dumps(table.models)
    write_ids(group, "paths", [one.path for one in table.files])
    write_ids(group, "names", [one.name for one in table.files])
    write_ids(group, "digest", [one.digest for one in table.files])
    spans = np.array([span for one in table.files for span in one.spans], np.float64).reshape(-1, 2)
    offsets = np.cumsum([0, *(len(one.spans) for one in table.files)])
    for name, values in (
        ("size", np.array([one.size for one in table.files], np.int64)),
        ("modified", np.array([one.modified for one in table.files], np.int64)),
        ("offsets", offsets.astype(np.int64)),
        ("start", spans[:, 0]),
        ("end", spans[:, 1]),
    ):
        array(group, name, values.shape, values.dtype)[...] = values


def copy_files(path: Path, file: Any) -> None:
    """Copy the table of a store, if it has one, into a store that is being written."""
    with opened(path, str(path)) as source:
        if holds(source, "files"):
            source.copy("files", file)
