"""Feature stores: HDF5 files with vectors of shots, topics or captions, or with the words seen or heard in shots.

Schema (format "avs-features", version 1)

    /                               @format "avs-features"   @format_version 1
    ├── <feature>                   e.g. clip, blip2, laff-03    @provenance JSON
    │   ├── ids      (N,)   utf-8, fixed length, NUL-padded: shot, topic or caption ids, unique, without white space
    │   ├── vectors  (M, D) float16 or float32, contiguous: rows as the encoder gives them, none NaN or infinite
    │   └── offsets  (N+1,) int64   frame-level features only: item i owns vectors[offsets[i]:offsets[i+1]], not none
    ├── shots                       optional
    │   ├── ids      (S,)   utf-8
    │   ├── video    (S,)   int32   row of `videos`
    │   ├── start    (S,)   float64 seconds
    │   ├── end      (S,)   float64 seconds
    │   └── videos   (V,)   utf-8   where each video was read
    ├── thumbnails                  optional
    │   ├── ids      (T,)   utf-8   shot ids
    │   ├── jpeg     (B,)   uint8   the pictures, one after the other
    │   └── offsets  (T+1,) int64   picture i is jpeg[offsets[i]:offsets[i+1]]
    └── files                       optional, of an index: see `files.py`

Features of texts are described in `texts.py`.

Without `offsets`, N = M. `file.h5::feature` names a feature, `file.h5` the only one in it. Stores do not say when they
were written: equal inputs give equal bytes.

The schema is checked when a store is opened (`checked.py`). Links, datasets in other files, ids of more than 255 bytes,
paths of more than 4096, vectors of more than 2^20 dimensions, and implausible sizes are rejected.

A writer of `store.h5` also creates `store.h5.parts/000001.h5` …, finished batches in the same schema;
`store.h5.errors.jsonl`, with a line per failed item; and `store.h5.lock`, released by the kernel when the writer dies.
"""

import mmap
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from avs_cli.errors import FormatError, MismatchError
from avs_cli.io.mapped import Column
from avs_cli.io.pipe import spooled
from avs_cli.io.resource import Resource
from avs_cli.io.store.checked import check, features_in, is_of_texts
from avs_cli.io.store.compatibility import Comparison
from avs_cli.io.store.schema import (
    Ids,
    Layout,
    VectorLayout,
    ids_of,
    offsets_of,
    opened,
    pictures_of,
    provenance_of,
    shots_of,
    some_shots_of,
    structure,
)
from avs_cli.io.texts import Lookup, twin
from avs_cli.types import Block, Shot, rows_of_items

# Size of a block: it fits the cache of a core, also as float32.
BLOCK_BYTES = 2 << 20
AHEAD = 3
LOOKUPS = 4096


class StoredFeature(Resource):
    """One feature in one file, open for reading, whatever its items are made of; a context manager.

    path        the file, as given
    feature     its name in the file
    layout      what its items are made of
    provenance  how they were made
    """

    layout: Layout

    def __init__(self, path: str | Path, feature: str | None = None):
        """Raises FormatError unless the feature follows the schema; values are checked when they are read."""
        self.path = str(path)
        with ExitStack() as stack:
            real = stack.enter_context(spooled(path))
            self._file = stack.enter_context(opened(real, self.path))
            with structure(self.path):
                self.feature = chosen(self._file, self.path, feature)
                check(self._file, self.feature, self.path)
            raw = stack.enter_context(real.open("rb", buffering=0))
            self._descriptor = raw.fileno()
            self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
            with structure(self.path):
                group = self._file[self.feature]
                self.provenance: dict[str, Any] = provenance_of(group, self._name)
                self._load(group)
                self._ids = ids_of(group, self._name, self._map)
            self._resources = stack.pop_all()

    def _load(self, group: Any) -> None:
        """Read what a subclass needs of the feature."""
        raise NotImplementedError

    @property
    def spans(self) -> list[np.ndarray]:
        """For each dataset of the layout, the (N+1,) offsets of the items in it."""
        with structure(self.path):
            return self.layout.spans(self._file[self.feature], self._name)

    @property
    def _name(self) -> str:
        return f"{self.path}::{self.feature}"

    @cached_property
    def ids(self) -> list[str]:
        """The ids in the order of the items."""
        return list(Ids(self._ids))

    @cached_property
    def positions(self) -> Lookup:
        """The positions of ids; -1 for those that the store lacks."""
        return Lookup([self._ids])

    def __len__(self) -> int:
        return len(self._ids)

    def has(self, ids: np.ndarray) -> bool:
        """Whether the ids are these, as NUL-padded bytes, in this order."""
        return len(ids) == len(self) and all(
            np.array_equal(self._ids[low : low + LOOKUPS], ids[low : low + LOOKUPS])
            for low in range(0, len(ids), LOOKUPS)
        )

    def shots(self) -> dict[str, Shot]:
        """The shots described in the file, by id; may be empty."""
        with structure(self.path):
            return shots_of(self._file, self.path)

    def some_shots(self, ids: Sequence[str]) -> dict[str, Shot]:
        """Those of these shots that are described in the file, by id; in little memory, however many there are."""
        with structure(self.path):
            return some_shots_of(self._file, self.path, ids, self._map)

    @property
    def pictures(self) -> tuple[Column, np.ndarray]:
        """The ids (as bytes) of the shots with a thumbnail, and the (T+1,) offsets of the pictures."""
        with structure(self.path):
            return pictures_of(self._file, self.path)

    @cached_property
    def _thumbnails(self) -> tuple[dict[str, int], np.ndarray]:
        ids, offsets = self.pictures
        return {id: position for position, id in enumerate(Ids(ids))}, offsets

    @property
    def thumbnails(self) -> int:
        """Number of shots with a thumbnail."""
        return len(self._thumbnails[0])

    def thumbnail(self, shot: str) -> bytes | None:
        """The middle frame of a shot as JPEG; None if there is no thumbnail."""
        positions, offsets = self._thumbnails
        if shot not in positions:
            return None
        first, last = offsets[positions[shot] : positions[shot] + 2]
        with structure(self.path):
            return bytes(self._file["thumbnails/jpeg"][first:last])


class Store(StoredFeature):
    """One feature of vectors in one file, open for reading; a context manager.

    dim, dtype   of the vectors
    frame_level  whether items have several vectors
    vectors      (M, D), memory-mapped: for reading a few rows
    """

    def _load(self, group: Any) -> None:
        if is_of_texts(group):
            raise MismatchError(f"{self._name} has texts, and vectors are needed here")
        vectors = group["vectors"]
        self.dtype: np.dtype[Any] = vectors.dtype
        self.rows, self.dim = map(int, vectors.shape)
        self._start = vectors.id.get_offset()
        self.frame_level = "offsets" in group
        self.layout = VectorLayout(self.dim, self.dtype, self.frame_level)
        self._offsets: Column | None = None
        if self.frame_level:
            self._offsets = offsets_of(group, self.rows, self._name, mapped=self._map)
        count = self.rows * self.dim
        if count and self._start + count * self.dtype.itemsize > len(self._map):
            raise FormatError(self._name, "the file ends before its vectors do")
        flat = np.frombuffer(self._map, self.dtype, count, self._start) if count else np.empty(0, self.dtype)
        self.vectors = flat.reshape(self.rows, self.dim)

    @property
    def offsets(self) -> np.ndarray:
        """(N+1,) int64: item i has vectors[offsets[i]:offsets[i+1]], also if items have one row each."""
        return np.arange(len(self) + 1) if self._offsets is None else np.asarray(self._offsets)

    def blocks(self, rows: int | None = None) -> Iterator[Block]:
        """The feature in blocks of at most `rows` vectors, or one item; a thread reads ahead.

        Raises FormatError with the first item that has a NaN or infinite value.
        """
        pending: deque[Future[Block]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="avs-store") as reader:
            for first, last in self._spans(rows or self._rows):
                pending.append(reader.submit(self._checked, first, last))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def pieces(self) -> Iterator[tuple[int, Callable[[], Block]]]:
        """The position of the first item of each block of `blocks`, and what reads the block, in any thread, without a
        look at its values."""
        for first, last in self._spans(self._rows):
            yield first, partial(self._block, first, last)

    @property
    def _rows(self) -> int:
        return max(1, BLOCK_BYTES // (self.dim * self.dtype.itemsize))

    def _spans(self, rows: int) -> Iterator[tuple[int, int]]:
        """The range of items of each block."""
        first = 0
        while first < len(self):
            last = min(first + rows, len(self))
            if self._offsets is not None:
                fitting = int(self._offsets.searchsorted(self._offsets[first] + rows, side="right")) - 1
                last = max(first + 1, fitting)
            yield first, last
            first = last

    def _block(self, first: int, last: int) -> Block:
        low, high, offsets = first, last, None
        if self._offsets is not None:
            low, high = int(self._offsets[first]), int(self._offsets[last])
            offsets = np.asarray(self._offsets[first : last + 1]) - low
        vectors = np.empty((high - low, self.dim), self.dtype)
        self._fill(vectors, low)
        return Block(Ids(self._ids[first:last]), vectors, offsets)

    def _checked(self, first: int, last: int) -> Block:
        block = self._block(first, last)
        self._refuse_infinite(block)
        return block

    def _fill(self, vectors: np.ndarray, row: int) -> None:
        # Reads of HDF5 hold the GIL, which would block computation in other threads.
        left = memoryview(vectors.reshape(-1).view(np.uint8).data)
        place = self._start + row * self.dim * self.dtype.itemsize
        while left:
            count = os.preadv(self._descriptor, [left], place)
            if not count:
                raise FormatError(self._name, "the file ends before its vectors do")
            left, place = left[count:], place + count

    def _refuse_infinite(self, block: Block) -> None:
        """Raises FormatError for NaN and infinity: as integers, they are the largest bit patterns of either sign."""
        if not block.vectors.size:
            return
        bits = 8 * self.dtype.itemsize
        infinity = int(np.array(np.inf, self.dtype).view(f"u{bits // 8}"))
        positive = int(block.vectors.view(f"i{bits // 8}").max())
        negative = int(block.vectors.view(f"u{bits // 8}").max())
        if positive >= infinity or negative >= infinity + (1 << (bits - 1)):
            row = int(np.argmin(np.isfinite(block.vectors).all(axis=1)))
            item = row if block.offsets is None else int(np.searchsorted(block.offsets, row, side="right")) - 1
            raise FormatError(self._name, f"{block.ids[item]}: a value is NaN or infinite")

    def take(self, positions: np.ndarray) -> Block:
        """The items at these positions, in this order. Raises FormatError as `blocks` does."""
        rows, offsets = positions, None
        if self._offsets is not None:
            starts = self._offsets[positions]
            rows, offsets = rows_of_items(starts, self._offsets[positions + 1] - starts)
        vectors = np.empty((len(rows), self.dim), self.dtype)
        for low in range(0, len(rows), LOOKUPS):
            vectors[low : low + LOOKUPS] = self.vectors[rows[low : low + LOOKUPS]]
            # Page faults map neighbouring pages too, which would add up to the whole file.
            self._map.madvise(mmap.MADV_DONTNEED)
        block = Block(Ids(self._ids[positions]), vectors, offsets)
        self._refuse_infinite(block)
        return block

    def read(self, ids: Sequence[str]) -> Block:
        """The items with these ids, in this order. Raises MismatchError for a missing id."""
        places = self.positions(ids)
        if (places < 0).any():
            raise MismatchError(f"{self._name} has no item {ids[int((places < 0).argmax())]!r}")
        return self.take(places)


def check_union(stores: Sequence[StoredFeature], comparison: Comparison) -> None:
    """Raises MismatchError unless the stores have one kind of items, made in one way, and different ids."""
    first = stores[0]
    for other in stores[1:]:
        pair = f"{first._name} and {other._name} are incompatible"
        if not first.layout.fits(other.layout):
            raise MismatchError(f"{pair}: {first.layout} and {other.layout}")
        comparison.alike(first._name, first.provenance, other._name, other.provenance, pair)
    # A store has no duplicates, which was checked when it was opened.
    if len(stores) > 1 and (found := twin([store._ids for store in stores])):
        id, one, two = found[0].decode(), stores[found[1]]._name, stores[found[2]]._name
        raise MismatchError(f"{id!r} is in both {one} and {two}; stores of a gallery must not share ids")


class Gallery(Resource):
    """Several stores of one feature, searched as one."""

    def __init__(self, stores: Sequence[Store], comparison: Comparison | None = None):
        """Raises MismatchError with the first pair of incompatible stores.

        comparison  compares provenances, also those of topics and heads with the gallery
        """
        self.stores = stores
        self.comparison = comparison or Comparison()
        check_union(stores, self.comparison)
        first = stores[0]
        self.dim, self.dtype, self.frame_level = first.dim, first.dtype, first.frame_level
        self.feature, self.provenance = first.feature, first.provenance
        self._firsts = np.cumsum([0, *(len(store) for store in stores)])
        self._resources = ExitStack()
        for store in stores:
            self._resources.callback(store.close)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def ids(self) -> list[str]:
        """The ids of all stores, in the order of the stores."""
        return [id for store in self.stores for id in store.ids]

    @property
    def columns(self) -> list[Column]:
        """The ids of each store, as NUL-padded bytes."""
        return [store._ids for store in self.stores]

    def places(self, ids: Sequence[str]) -> np.ndarray:
        """(N,) positions of ids in the gallery; -1 for those that it lacks."""
        return self._lookup(ids)

    @cached_property
    def _lookup(self) -> Lookup:
        return Lookup(self.columns)

    def blocks(self, rows: int | None = None) -> Iterator[Block]:
        """The blocks of each store in turn."""
        for store in self.stores:
            yield from store.blocks(rows)

    def pieces(self) -> Iterator[tuple[int, Callable[[], Block]]]:
        """The position of the first item of each block, and what reads the block, in any thread, without a look at its
        values."""
        for store, before in zip(self.stores, self._firsts.tolist(), strict=False):
            for first, read in store.pieces():
                yield before + first, read

    def take(self, positions: np.ndarray) -> Block:
        """The items at these positions of the gallery, in this order."""
        if len(self.stores) == 1:
            return self.stores[0].take(positions)
        owner = np.searchsorted(self._firsts, positions, side="right") - 1
        # Read store by store, then restore the requested order.
        taken = [self.stores[k].take(positions[owner == k] - self._firsts[k]) for k in range(len(self.stores))]
        back = np.argsort(np.argsort(owner, kind="stable"), kind="stable")
        return _reordered(taken, back)

    def shots(self) -> dict[str, Shot]:
        """The shots described in the files, by id."""
        return {id: shot for store in self.stores for id, shot in store.shots().items()}

    def some_shots(self, ids: Sequence[str]) -> dict[str, Shot]:
        """Those of these shots that are described in the files, by id."""
        return {id: shot for store in self.stores for id, shot in store.some_shots(ids).items()}

    def thumbnail(self, shot: str) -> bytes | None:
        """The middle frame of a shot as JPEG, from the first file that has a thumbnail of it."""
        return next((jpeg for store in self.stores if (jpeg := store.thumbnail(shot)) is not None), None)


def open_store(name: str) -> Store:
    """Open `file.h5::feature`, or `file.h5` if it has one feature; `-` is stdin."""
    path, separator, feature = name.rpartition("::")
    return Store(path, feature) if separator else Store(name)


def open_gallery(names: Sequence[str], comparison: Comparison | None = None) -> Gallery:
    """Open stores as one gallery. Raises MismatchError unless they have the same feature and different ids."""
    with ExitStack() as stack:
        gallery = Gallery([stack.enter_context(open_store(name)) for name in names], comparison)
        stack.pop_all()
        return gallery


def features(path: str | Path) -> list[str]:
    """The names of the features in a file, sorted."""
    with spooled(path) as real, opened(real, str(path)) as file, structure(str(path)):
        return features_in(file, str(path))


def chosen(file: Any, shown: str, feature: str | None) -> str:
    """The name of a feature, by default the only one. Raises FormatError if the file lacks it."""
    held = features_in(file, shown)
    if feature is None:
        if len(held) != 1:
            what = f"has {len(held)} features; choose one, as in {shown}::{held[0]}" if held else "contains no feature"
            raise FormatError(shown, f"{what} ({', '.join(held)})" if held else what)
        return held[0]
    if feature not in held:
        raise FormatError(shown, f"has no feature {feature!r}; it has: {', '.join(held) or 'none'}")
    return feature


def _reordered(blocks: Sequence[Block], order: np.ndarray) -> Block:
    """The items of several blocks as one block, item `order[i]` at place i."""
    listed = [id for block in blocks for id in block.ids]
    ids = [listed[place] for place in order.tolist()]
    vectors = np.concatenate([block.vectors for block in blocks])
    if blocks[0].offsets is None:
        return Block(ids, vectors[order], None)
    lengths = np.concatenate([np.diff(block.offsets) for block in blocks if block.offsets is not None])
    starts = np.cumsum([0, *lengths])[:-1]
    rows, offsets = rows_of_items(starts[order], lengths[order])
    return Block(ids, vectors[rows], offsets)
