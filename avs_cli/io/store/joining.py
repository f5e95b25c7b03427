"""The shots of several galleries in the order of their ids, and where each gallery has them."""

import mmap
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple

import numpy as np

from avs_cli.io.mapped import Column, MappedColumn
from avs_cli.io.store.reader import Gallery

# Shots that are sorted at a time; of a larger gallery, what is sorted goes to temporary files.
AT_ONCE = 1 << 20
# Ids that are read at a time, and how many are looked at to divide all evenly.
PIECE, SAMPLE = 1 << 16, 1 << 14


class JoinedIds(NamedTuple):
    """(N,) ids of shots, ascending, as NUL-padded bytes, and per gallery the position of each; -1 where it lacks it."""

    ids: Column
    places: list[Column]


def join_ids(galleries: Sequence[Gallery]) -> JoinedIds:
    """The ids of all galleries, each once; the order of UTF-8 is that of code points."""
    first = [next(k for k in range(n + 1) if _same(galleries[k], gallery)) for n, gallery in enumerate(galleries)]
    distinct = list(dict.fromkeys(first))
    columns = [column for k in distinct for column in galleries[k].columns]
    width = max(column.dtype.itemsize for column in columns)
    bounds = _bounds(columns, max(len(galleries[k]) for k in distinct), f"S{width}")
    kinds = [f"S{width}", *[np.int64 if len(galleries[k]) >= 1 << 31 else np.int32 for k in distinct]]
    with ExitStack() as stack:  # what is mapped stays when its file is closed
        files = [stack.enter_context(tempfile.TemporaryFile(prefix="avs-")) for _ in kinds] if bounds else []
        growing = [_Growing(kind, file) for kind, file in zip_longest(kinds, files)]
        for low, high in pairwise([None, *bounds, None]):
            found = [_between(galleries[k], low, high, width) for k in distinct]
            ids = found[0][0] if len(found) == 1 else np.unique(np.concatenate([own for own, _ in found]))
            for column, piece in zip(growing, [ids, *[_placed(ids, *one) for one in found]], strict=True):
                column.add(piece)
        joined, *places = [column.whole() for column in growing]
    return JoinedIds(joined, [places[distinct.index(k)] for k in first])


def _bounds(columns: Sequence[Column], largest: int, dtype: str) -> list[bytes]:
    """Ids between which there are about as many shots each, at most about `AT_ONCE`."""
    parts = -(-largest // AT_ONCE)
    if parts < 2:
        return []
    total = sum(map(len, columns))
    step = max(1, total // SAMPLE)
    places = ((column, np.arange(low, min(low + 256 * step, len(column)), step))
              for column in columns for low in range(0, len(column), 256 * step))  # fmt: skip
    sample = np.sort(np.concatenate([column[some].astype(dtype) for column, some in places]))
    chosen = sample[np.arange(1, parts) * len(sample) // parts]
    return [bytes(one) for one in np.unique(chosen)]


def _between(gallery: Gallery, low: bytes | None, high: bytes | None, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The ids from `low` to before `high`, ascending, and their positions in the gallery."""
    ids, positions = [np.empty(0, f"S{width}")], [np.empty(0, np.int64)]
    place = 0
    for column in gallery.columns:
        for first in range(0, len(column), PIECE):
            piece = np.asarray(column[first : first + PIECE])
            inside = np.ones(len(piece), bool)
            if low is not None:
                inside &= piece >= low
            if high is not None:
                inside &= piece < high
            ids.append(piece[inside])
            positions.append(place + first + np.flatnonzero(inside))
        place += len(column)
    together = np.concatenate(ids)
    del ids
    order = np.argsort(together, kind="stable")
    return together[order], np.concatenate(positions)[order]


def _placed(ids: np.ndarray, own: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The position of each id; -1 for those that are not among the `own`."""
    if not len(own):
        return np.full(len(ids), -1, np.int64)
    found = np.minimum(np.searchsorted(own, ids), len(own) - 1)
    return np.where(own[found] == ids, positions[found], -1)


def _same(one: Gallery, other: Gallery) -> bool:
    """Whether two galleries have the same ids in the same stores and order."""
    if [*map(len, one.columns)] != [*map(len, other.columns)]:
        return False
    return one is other or all(
        np.array_equal(ours[low : low + PIECE], theirs[low : low + PIECE])
        for ours, theirs in zip(one.columns, other.columns, strict=True)
        for low in range(0, len(ours), PIECE)
    )


class _Growing:
    """A column that grows piece by piece, in memory or in a file."""

    def __init__(self, dtype: Any, file: Any):
        self._dtype, self._file = np.dtype(dtype), file
        self._pieces: list[np.ndarray] = []

    def add(self, piece: np.ndarray) -> None:
        if self._file is None:
            self._pieces.append(piece.astype(self._dtype))
        else:
            self._file.write(piece.astype(self._dtype).data)

    def whole(self) -> Column:
        if self._file is None:
            return np.concatenate(self._pieces)
        self._file.flush()
        count = self._file.tell() // self._dtype.itemsize
        return MappedColumn(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ), self._dtype, count)
