"""Feature stores: HDF5 files that hold the vectors of shots, topics or captions, and the writer that can be killed.

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
    └── thumbnails                  optional
        ├── ids      (T,)   utf-8   shot ids
        ├── jpeg     (B,)   uint8   the pictures, one after the other
        └── offsets  (T+1,) int64   picture i is jpeg[offsets[i]:offsets[i+1]]

Without `offsets`, N = M. `file.h5::feature` names a feature, `file.h5` the only one in it. Files hold no time stamps:
equal inputs give equal bytes.

Beside `store.h5` a writer keeps `store.h5.parts/000001.h5` …, finished batches in the same schema;
`store.h5.errors.jsonl`, a line per item that failed; and `store.h5.lock`, which the kernel frees when the writer dies.
"""

import contextlib
import fcntl
import itertools
import json
import mmap
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, overload

import h5py
import numpy as np

from avs_cli.errors import AvsError, FormatError, MismatchError
from avs_cli.io.atomic import replacing
from avs_cli.io.pipe import spooled
from avs_cli.types import Block, Failure, Shot

FORMAT = "avs-features"
VERSION = 1
RESERVED = ("shots", "thumbnails")
DTYPES = ("float16", "float32")
# Says how a store came about, not what its vectors mean: stores that differ in these alone fit together.
CIRCUMSTANCES = ("versions", "inputs")
ID_BYTES = 255
# What stays in a core's cache while it is worked on, also when widened to float32.
BLOCK_BYTES = 2 << 20
AHEAD = 3
LOOKUPS = 4096
PIECE = 32 << 20


class Item(NamedTuple):
    """What an encoder made of one shot, topic or caption.

    shot       where and when, for items that are shots
    vectors    (D,) or, frame-level, (K, D)
    thumbnail  a JPEG of the shot's middle frame
    """

    shot: Shot | None
    id: str
    vectors: np.ndarray
    thumbnail: bytes | None = None


class Ids(Sequence[str]):
    """The ids of a store or of a block, decoded when they are looked at: a search looks at few."""

    def __init__(self, raw: np.ndarray):
        self.raw = raw

    def __len__(self) -> int:
        return len(self.raw)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Ids": ...
    def __getitem__(self, index: int | slice) -> "str | Ids":
        if isinstance(index, slice):
            return Ids(self.raw[index])
        return bytes(self.raw[index]).decode()

    def __iter__(self) -> Iterator[str]:
        # No id holds a line break, and one long decoding is five times as fast as many short ones.
        return iter(b"\n".join(self.raw.tolist()).decode().split("\n") if len(self.raw) else ())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class Store:
    """One feature in one file, open for reading; close it, or use it in a `with`.

    path         the file, as the user wrote it
    feature      its name in the file
    dim, dtype   of a vector
    frame_level  whether an item owns several vectors
    vectors      (M, D), mapped from the file: for looking up rows, not for reading them all
    """

    def __init__(self, path: str | Path, feature: str | None = None):
        """Raises FormatError unless everything but the vectors' values is as the schema says."""
        self.path = str(path)
        with ExitStack() as stack:
            real = stack.enter_context(spooled(path))
            self._file = stack.enter_context(_opened(real, self.path))
            with _structure(self.path):
                self.feature = _chosen(self._file, self.path, feature)
                self._load(self._file[self.feature])
            raw = stack.enter_context(real.open("rb", buffering=0))
            self._descriptor = raw.fileno()
            self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
            count = self.rows * self.dim
            if count and self._start + count * self.dtype.itemsize > len(self._map):
                raise FormatError(self._name, "the file ends before its vectors do")
            flat = np.frombuffer(self._map, self.dtype, count, self._start) if count else np.empty(0, self.dtype)
            self.vectors = flat.reshape(self.rows, self.dim)
            self._resources = stack.pop_all()

    def _load(self, group: Any) -> None:
        self.provenance: dict[str, Any] = _provenance(group, self.path)
        self._ids = _ids(group, self.path)
        vectors = _column(group, "vectors")
        self.dtype: np.dtype[Any] = vectors.dtype
        if vectors.ndim != 2 or self.dtype.name not in DTYPES or not self.dtype.isnative:
            raise FormatError(
                self._name, f"vectors are {vectors.shape} {vectors.dtype}, not (M, D) of {' or '.join(DTYPES)}"
            )
        self.rows, self.dim = map(int, vectors.shape)
        self.frame_level = "offsets" in group
        self._offsets: np.ndarray | None = _column(group, "offsets")[...] if self.frame_level else None
        items = self.rows if self._offsets is None else len(self._offsets) - 1
        if items != len(self._ids):
            raise FormatError(self._name, f"{len(self._ids)} ids for {items} items")
        if self._offsets is not None and not _partition(self._offsets, self.rows):
            raise FormatError(self._name, f"offsets do not divide the {self.rows} vectors among the {items} ids")
        twin = _twin([self._ids])
        if twin:
            raise FormatError(self._name, f"id {twin[0].decode()!r} occurs twice")
        self._start = vectors.id.get_offset()
        if self._start is None and vectors.size:
            raise FormatError(self._name, "vectors are not contiguous; h5repack -l CONTI makes them so")

    @property
    def _name(self) -> str:
        return f"{self.path}::{self.feature}"

    @cached_property
    def ids(self) -> list[str]:
        """The ids in the order of the items."""
        return list(Ids(self._ids))

    @property
    def offsets(self) -> np.ndarray:
        """(N+1,) int64: item i owns vectors[offsets[i]:offsets[i+1]], also where that is one row each."""
        return np.arange(len(self) + 1) if self._offsets is None else self._offsets

    @cached_property
    def _position(self) -> dict[str, int]:
        return {id: position for position, id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self._ids)

    def blocks(self, rows: int | None = None) -> Iterator[Block]:
        """The feature in blocks of at most `rows` vectors, more if one item has more; the next are read meanwhile.

        Raises FormatError that names the first item with a NaN or infinite value.
        """
        pending: deque[Future[Block]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="avs-store") as reader:
            for first, last in self._spans(rows or max(1, BLOCK_BYTES // (self.dim * self.dtype.itemsize))):
                pending.append(reader.submit(self._block, first, last))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _spans(self, rows: int) -> Iterator[tuple[int, int]]:
        """First and one past the last item of each block."""
        first = 0
        while first < len(self):
            last = min(first + rows, len(self))
            if self._offsets is not None:
                fitting = int(np.searchsorted(self._offsets, self._offsets[first] + rows, side="right")) - 1
                last = max(first + 1, fitting)
            yield first, last
            first = last

    def _block(self, first: int, last: int) -> Block:
        low, high, offsets = first, last, None
        if self._offsets is not None:
            low, high = int(self._offsets[first]), int(self._offsets[last])
            offsets = self._offsets[first : last + 1] - low
        vectors = np.empty((high - low, self.dim), self.dtype)
        self._fill(vectors, low)
        block = Block(Ids(self._ids[first:last]), vectors, offsets)
        self._refuse_infinite(block)
        return block

    def _fill(self, vectors: np.ndarray, row: int) -> None:
        # HDF5's own read holds Python's lock, which would keep the arithmetic waiting.
        left = memoryview(vectors.reshape(-1).view(np.uint8).data)
        place = self._start + row * self.dim * self.dtype.itemsize
        while left:
            count = os.preadv(self._descriptor, [left], place)
            if not count:
                raise FormatError(self._name, "the file ends before its vectors do")
            left, place = left[count:], place + count

    def _refuse_infinite(self, block: Block) -> None:
        """Bit patterns from an exponent of all ones upward are infinite or NaN: two maxima find them without a copy."""
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
        """The items at these positions, in this order."""
        rows, offsets = positions, None
        if self._offsets is not None:
            starts = self._offsets[positions]
            lengths = self._offsets[positions + 1] - starts
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        vectors = np.empty((len(rows), self.dim), self.dtype)
        for low in range(0, len(rows), LOOKUPS):
            vectors[low : low + LOOKUPS] = self.vectors[rows[low : low + LOOKUPS]]
            # Each look maps the pages around it too; they would add up to the whole file.
            self._map.madvise(mmap.MADV_DONTNEED)
        block = Block(Ids(self._ids[positions]), vectors, offsets)
        self._refuse_infinite(block)
        return block

    def read(self, ids: Sequence[str]) -> Block:
        """The items with these ids, in this order. Raises MismatchError for an id that the store lacks."""
        for id in ids:
            if id not in self._position:
                raise MismatchError(f"{self._name} has no item {id!r}")
        return self.take(np.array([self._position[id] for id in ids], dtype=np.int64))

    def shots(self) -> dict[str, Shot]:
        """The shots that the file describes, by id; empty when it describes none."""
        with _structure(self.path):
            return _shots(self._file, self.path)

    @property
    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids (as bytes) of the shots with a thumbnail, and the (T+1,) offsets of the pictures."""
        with _structure(self.path):
            return _pictures(self._file, self.path)

    @cached_property
    def _thumbnails(self) -> tuple[dict[str, int], np.ndarray]:
        ids, offsets = self.pictures
        return {id: position for position, id in enumerate(Ids(ids))}, offsets

    @property
    def thumbnails(self) -> int:
        """How many shots have a thumbnail."""
        return len(self._thumbnails[0])

    def thumbnail(self, shot: str) -> bytes | None:
        """A JPEG of the shot's middle frame, if the file holds one."""
        positions, offsets = self._thumbnails
        if shot not in positions:
            return None
        first, last = offsets[positions[shot] : positions[shot] + 2]
        with _structure(self.path):
            return bytes(self._file["thumbnails/jpeg"][first:last])

    def close(self) -> None:
        """Give the file back; blocks that were read stay valid."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Gallery:
    """Several stores of one feature, searched as if they were one."""

    def __init__(self, stores: Sequence[Store]):
        """Raises MismatchError for stores that do not fit together, and names the first pair that does not."""
        self.stores = stores
        first = stores[0]
        for other in stores[1:]:
            pair = f"{first._name} and {other._name} do not fit together"
            if (first.dim, first.frame_level) != (other.dim, other.frame_level):
                raise MismatchError(f"{pair}: {_kind(first)} and {_kind(other)}")
            if what := difference(first.provenance, other.provenance):
                raise MismatchError(f"{pair}: {what}")
        twin = _twin([store._ids for store in stores])
        if twin:
            id, one, two = twin[0].decode(), stores[twin[1]]._name, stores[twin[2]]._name
            raise MismatchError(f"{id!r} is in {one} and in {two}; the stores of a gallery share no id")
        self.dim, self.dtype, self.frame_level = first.dim, first.dtype, first.frame_level
        self.feature, self.provenance = first.feature, first.provenance
        self._firsts = np.cumsum([0, *(len(store) for store in stores)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def ids(self) -> list[str]:
        """The ids of all stores, in the stores' order."""
        return [id for store in self.stores for id in store.ids]

    def blocks(self, rows: int | None = None) -> Iterator[Block]:
        """The blocks of every store in turn."""
        for store in self.stores:
            yield from store.blocks(rows)

    def take(self, positions: np.ndarray) -> Block:
        """The items at these positions of the gallery, in this order."""
        if len(self.stores) == 1:
            return self.stores[0].take(positions)
        owner = np.searchsorted(self._firsts, positions, side="right") - 1
        # Store by store, then back into the order that was asked for.
        taken = [self.stores[k].take(positions[owner == k] - self._firsts[k]) for k in range(len(self.stores))]
        back = np.argsort(np.argsort(owner, kind="stable"), kind="stable")
        return _reordered(taken, back)

    def shots(self) -> dict[str, Shot]:
        """The shots that the files describe, by id."""
        return {id: shot for store in self.stores for id, shot in store.shots().items()}

    def thumbnail(self, shot: str) -> bytes | None:
        """A JPEG of the shot's middle frame, from the first file that holds one."""
        return next((jpeg for store in self.stores if (jpeg := store.thumbnail(shot)) is not None), None)

    def close(self) -> None:
        """Give the files back."""
        for store in self.stores:
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_store(name: str) -> Store:
    """The store that `file.h5::feature` names, or the only one in `file.h5`; `-` is a store on stdin."""
    path, separator, feature = name.rpartition("::")
    return Store(path, feature) if separator else Store(name)


def open_gallery(names: Sequence[str]) -> Gallery:
    """The union of the named stores; raises MismatchError unless they hold one feature of different items."""
    with ExitStack() as stack:
        gallery = Gallery([stack.enter_context(open_store(name)) for name in names])
        stack.pop_all()
        return gallery


def features(path: str | Path) -> list[str]:
    """The names of the features in a file, sorted."""
    with spooled(path) as real, _opened(real, str(path)) as file, _structure(str(path)):
        return _features(file)


def difference(one: Mapping[str, Any], two: Mapping[str, Any]) -> str:
    """The first thing in which two provenances differ, in words; empty when their vectors may be compared."""
    for key in sorted({*one, *two} - {*CIRCUMSTANCES}):
        if one.get(key) != two.get(key):
            return f"{key} is {json.dumps(one.get(key))} and {json.dumps(two.get(key))}"
    return ""


class StoreWriter:
    """Writes one feature into a store, batch by batch; may be killed at any moment and started again.

    Use it in a `with`: it holds the store's lock. What `add` and `fail` took is safe when they return; `finish` makes
    the store.

    done    ids that need no work: in the store already, or in a finished batch of an earlier try
    failed  the ledger: ids that failed before and are not done
    """

    def __init__(
        self,
        path: str | Path,
        feature: str,
        dim: int,
        provenance: Mapping[str, Any],
        dtype: str = "float16",
        frame_level: bool = False,
    ):
        """Raises MismatchError when the store's feature was made otherwise, AvsError when it has another writer."""
        self.path = Path(path)
        if feature in RESERVED or not feature.strip(".") or any(sign in feature for sign in "/: "):
            raise MismatchError(f"{path}: a feature cannot be called {feature!r}")
        self.feature, self.dim, self.frame_level = feature, dim, frame_level
        self.provenance, self.dtype = dict(provenance), np.dtype(dtype)
        self.done: set[str] = set()
        self.failed: dict[str, Failure] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_locked(self.path))
            self._sweep()
            self._shots: dict[str, Shot] = {}
            # Id -> the source that holds it, as a place in `_sources`, and how many rows or bytes it has there.
            self._where: dict[str, tuple[int, int]] = {}
            self._pictures: dict[str, tuple[int, int]] = {}
            self._sources: list[Path] = []
            self._count = 0
            if self.path.exists():
                self._include(self.path)
            for part in self._parts():
                self._count = int(part.stem)
                self._include(part)
            failures = self._ledger()
            self.failed = {f.id: f for name, f in failures if name == self.feature and f.id not in self.done}
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def add(self, batch: Sequence[Item]) -> None:
        """Keep a finished batch: one part file, whole or absent.

        Raises FormatError for a value that is NaN or infinite, MismatchError for one beyond float16; both name the id.
        """
        fresh = self._checked(batch)
        if not fresh:
            return
        ids, lengths = [item.id for item in fresh], [len(item.vectors) for item in fresh]
        shots = {item.shot.id: item.shot for item in fresh if item.shot}
        pictures = {item.id: item.thumbnail for item in fresh if item.thumbnail is not None}
        sizes = [len(picture) for picture in pictures.values()]
        self._folder.mkdir(exist_ok=True)
        part = self._folder / f"{self._count + 1:06d}.h5"
        with replacing(part) as temporary:
            with _created(temporary) as file:
                group = self._group(file, ids, lengths)
                group["vectors"][...] = np.concatenate([item.vectors for item in fresh])
                _write_shots(file, list(shots.values()))
                jpeg = _write_pictures(file, list(pictures), sizes)
                if jpeg is not None:
                    jpeg[...] = np.frombuffer(b"".join(pictures.values()), np.uint8)
            _flush(temporary)
        self._count += 1
        self._know(part, zip(ids, lengths, strict=True), zip(pictures, sizes, strict=True), shots)

    def fail(self, failure: Failure) -> None:
        """Write into the ledger that an item could not be done."""
        self.failed[failure.id] = failure
        with self._ledger_path.open("ab") as ledger:
            ledger.write(_line(self.feature, failure))
            ledger.flush()
            os.fsync(ledger.fileno())

    def finish(self, order: Sequence[str]) -> None:
        """Join everything that is done into the store: items that `order` does not name first, then those it names.

        The store's bytes depend on the items and their order alone, not on batches and interruptions.
        """
        named = dict.fromkeys(order)
        final = [id for id in self._where if id not in named] + [id for id in named if id in self._where]
        if self._changed(final):
            with replacing(self.path) as temporary:
                with _created(temporary) as file:
                    self._join(file, final)
                _flush(temporary)
        self._tidy()

    @property
    def _folder(self) -> Path:
        return self.path.with_name(f"{self.path.name}.parts")

    @property
    def _ledger_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.errors.jsonl")

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.h5"))

    def _sweep(self) -> None:
        """Remove what a killed writer left half written; the lock is held, so nobody else's is here."""
        for leftover in [*self._folder.glob(".*.part"), *self.path.parent.glob(f".{self.path.name}.*.part")]:
            leftover.unlink()

    def _include(self, source: Path) -> None:
        """Take in what an earlier writer left: the store, or a part of it."""
        held = features(source) if source == self.path else [None]
        with Store(source, self.feature if self.feature in held else held[0]) as store:
            ours = store.feature == self.feature
            if ours:
                self._refuse_other(store)
            elif source != self.path:
                return
            ids, offsets = store.pictures
            self._know(
                source,
                zip(store.ids, np.diff(store.offsets).tolist(), strict=True) if ours else (),
                zip(Ids(ids), np.diff(offsets).tolist(), strict=True),
                store.shots(),
            )

    def _know(
        self,
        source: Path,
        rows: Iterable[tuple[str, int]],
        pictures: Iterable[tuple[str, int]],
        shots: Mapping[str, Shot],
    ) -> None:
        """Remember what a file of ours holds: per id its rows, and the bytes of its thumbnail."""
        number = len(self._sources)
        self._sources.append(source)
        for known, found in ((self._where, rows), (self._pictures, pictures)):
            for id, length in found:
                known.setdefault(id, (number, length))
        self.done.update(self._where)
        self._shots.update(shots)

    def _refuse_other(self, store: Store) -> None:
        ours = f"{'frame-level ' * self.frame_level}{self.dtype.name} of {self.dim}"
        what = difference(store.provenance, self.provenance)
        if _kind(store) != ours:
            what = f"vectors are {_kind(store)} and {ours}"
        if what:
            raise MismatchError(f"{store._name} was made otherwise: {what}; write to another file or remove this one")

    def _checked(self, batch: Sequence[Item]) -> list[Item]:
        """The batch with its vectors as (K, D) of the store's type."""
        fresh: dict[str, Item] = {}
        for item in batch:
            if item.id in self.done or item.id in fresh:
                raise MismatchError(f"{self.path}: {item.id!r} is there already")
            if item.shot and (known := self._shots.get(item.shot.id, item.shot)) != item.shot:
                raise MismatchError(
                    f"{self.path}: shot {known.id!r} is {known[1:]} in the store and {item.shot[1:]} here"
                )
            fresh[item.id] = item._replace(vectors=self._fitting(item))
        return list(fresh.values())

    def _fitting(self, item: Item) -> np.ndarray:
        """(K, D) an item's vectors in the store's type."""
        raw = item.id.encode()
        if not raw or len(raw) > ID_BYTES or item.id.split() != [item.id] or "\0" in item.id:
            raise MismatchError(f"{self.path}: {item.id!r} cannot be an id: 1 to {ID_BYTES} bytes without white space")
        given = np.atleast_2d(item.vectors)
        if given.ndim != 2 or given.shape[1] != self.dim or not len(given) or (len(given) > 1 and not self.frame_level):
            wanted = "(K, D)" if self.frame_level else "(D,)"
            raise MismatchError(
                f"{self.path}: {item.id}: vectors are {item.vectors.shape}, not {wanted} with D = {self.dim}"
            )
        if not np.isfinite(given).all():
            raise FormatError(self.path, f"{item.id}: a value is NaN or infinite")
        with np.errstate(over="ignore"):
            vectors = given.astype(self.dtype)
        if not np.isfinite(vectors).all():
            largest = float(np.abs(given).max())
            raise MismatchError(f"{self.path}: {item.id}: {largest:g} is beyond {self.dtype.name}; store it as float32")
        return vectors

    def _group(self, file: Any, ids: Sequence[str], lengths: Sequence[int]) -> Any:
        """The feature's group with everything in it but the vectors' values."""
        group = file.create_group(self.feature)
        text = json.dumps(self.provenance, sort_keys=True, ensure_ascii=False)
        if len(text.encode()) > 60_000:
            raise MismatchError(
                f"{self.path}: a provenance of {len(text)} characters is more than HDF5 keeps in an attribute"
            )
        group.attrs["provenance"] = text
        _write_ids(group, "ids", ids)
        if self.frame_level:
            _array(group, "offsets", (len(ids) + 1,), np.int64)[...] = np.concatenate([[0], np.cumsum(lengths)])
        _array(group, "vectors", (sum(lengths), self.dim), self.dtype)
        return group

    def _changed(self, final: list[str]) -> bool:
        """Whether the store is not yet what `finish` would write."""
        if not self.path.exists() or self.feature not in features(self.path):
            return True
        with Store(self.path, self.feature) as store:
            return store.ids != final or store.provenance != self.provenance or len(store.shots()) != len(self._shots)

    def _join(self, file: Any, final: list[str]) -> None:
        """Write the store: every other feature as it was, ours from its sources."""
        others = [name for name in features(self.path) if name != self.feature] if self.path.exists() else []
        for name in sorted([self.feature, *others]):
            if name == self.feature:
                vectors = self._group(file, final, [self._where[id][1] for id in final])["vectors"]
            else:
                with _opened(self.path, str(self.path)) as old:
                    old.copy(name, file)
        shots = {id: self._shots[id] for id in final if id in self._shots} | self._shots
        _write_shots(file, list(shots.values()))
        pictured = [id for id in {**shots, **self._pictures} if id in self._pictures]
        jpeg = _write_pictures(file, pictured, [self._pictures[id][1] for id in pictured])
        rows, places = _starts(final, self._where), _starts(pictured, self._pictures)
        for number, source in enumerate(self._sources):
            with _opened(source, str(source)) as part:
                if self.feature in part:
                    held = Ids(_ids(part[self.feature], str(source)))
                    offsets = part[self.feature]["offsets"][...] if self.frame_level else np.arange(len(held) + 1)
                    _move(part[self.feature]["vectors"], offsets, vectors, _targets(number, held, self._where, rows))
                raw, offsets = _pictures(part, str(source))
                if len(raw):
                    _move(part["thumbnails/jpeg"], offsets, jpeg, _targets(number, Ids(raw), self._pictures, places))

    def _ledger(self) -> list[tuple[str, Failure]]:
        """Every line of the ledger, with its feature; a line that a kill tore off is dropped."""
        if not self._ledger_path.exists():
            return []
        data = self._ledger_path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            os.truncate(self._ledger_path, len(whole))
        entries = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                entries.append((entry["feature"], Failure(entry["id"], entry["stage"], entry["message"])))
            except (ValueError, KeyError, TypeError):
                raise FormatError(self._ledger_path, "not a line of an error ledger", number) from None
        return entries

    def _tidy(self) -> None:
        """Leave the store alone in its place: no parts, and in the ledger only what is still missing."""
        for source in self._sources:
            if source != self.path:
                source.unlink()
        with contextlib.suppress(OSError):  # parts of another feature may be waiting for their own writer
            self._folder.rmdir()
        self.failed = {id: failure for id, failure in self.failed.items() if id not in self.done}
        others = {(name, f.id): f for name, f in self._ledger() if name != self.feature}
        lines = [_line(name, f) for (name, _), f in others.items()] + [
            _line(self.feature, f) for f in self.failed.values()
        ]
        if lines:
            with replacing(self._ledger_path) as temporary:
                temporary.write_bytes(b"".join(lines))
        else:
            self._ledger_path.unlink(missing_ok=True)


def _line(feature: str, failure: Failure) -> bytes:
    return (json.dumps({"feature": feature, **failure._asdict()}, ensure_ascii=False) + "\n").encode()


def _kind(store: Store) -> str:
    return f"{'frame-level ' * store.frame_level}{store.dtype.name} of {store.dim}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The right to write `path`, for one process; the kernel takes it back from a dead one."""
    name = path.with_name(f"{path.name}.lock")
    while True:
        with name.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AvsError(
                    f"{path}: another avs is writing this store; wait for it, or write to another file"
                ) from None
            # The last holder removes the file: whoever opened it just before has locked one that is gone.
            if _same(lock.fileno(), name):
                try:
                    yield
                finally:
                    name.unlink(missing_ok=True)
                return


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _opened(real: Path, shown: str) -> Iterator[Any]:
    """An HDF5 file of our format. FileNotFoundError and its kin stay what they are; anything else is a FormatError."""
    with real.open("rb") as probe:
        empty = not probe.read(1)
    if empty or not h5py.is_hdf5(real):
        raise FormatError(shown, "an empty file" if empty else "not a feature store (not HDF5)")
    with ExitStack() as stack:
        with _structure(shown):
            file = stack.enter_context(h5py.File(real, "r"))
            found, version = file.attrs.get("format"), file.attrs.get("format_version")
        if found != FORMAT:
            raise FormatError(shown, f"an HDF5 file, but not a feature store (format is {found!r}, not {FORMAT!r})")
        if version != VERSION:
            raise FormatError(shown, f"feature store of version {version}; this avs reads version {VERSION}")
        yield file


@contextmanager
def _structure(shown: str) -> Iterator[None]:
    """What HDF5 says about a damaged file, as a FormatError."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, MemoryError) as error:
        text = str(error).strip("'\"")
        what = "truncated" if "truncated" in text else "damaged or incomplete"
        raise FormatError(shown, f"{what} feature store ({text})") from None


def _features(file: Any) -> list[str]:
    return sorted(name for name in file if name not in RESERVED)


def _chosen(file: Any, shown: str, feature: str | None) -> str:
    held = _features(file)
    if feature is None:
        if len(held) != 1:
            what = f"holds {len(held)} features: say which, as in {shown}::{held[0]}" if held else "holds no feature"
            raise FormatError(shown, f"{what} ({', '.join(held)})" if held else what)
        return held[0]
    if feature not in held:
        raise FormatError(shown, f"holds no feature {feature!r}; it holds: {', '.join(held) or 'none'}")
    return feature


def _provenance(group: Any, shown: str) -> dict[str, Any]:
    try:
        value = json.loads(group.attrs["provenance"])
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise FormatError(f"{shown}::{group.name[1:]}", "its provenance is not a JSON object")
    return value


def _column(group: Any, name: str) -> Any:
    """A dataset of a group; KeyError when the group, or what has this name in it, is something else."""
    found = group[name] if isinstance(group, h5py.Group) else None
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"no dataset {name!r}")
    return found


def _ids(group: Any, shown: str, name: str = "ids") -> np.ndarray:
    """A column of texts as NUL-padded bytes; variable-length texts, which other programs write, become that too."""
    dataset = _column(group, name)
    text = h5py.check_string_dtype(dataset.dtype)
    if text is None or dataset.ndim != 1:
        raise FormatError(shown, f"{dataset.name[1:]} is {dataset.shape} {dataset.dtype}, not a column of texts")
    raw = dataset[...]
    return raw if raw.dtype.kind == "S" else np.array(raw.tolist() or [b""], dtype="S")[: len(raw)]


def _partition(offsets: np.ndarray, total: int) -> bool:
    """Whether the offsets run from 0 to `total` and give every item something."""
    return bool(
        offsets.ndim == 1 and len(offsets) and offsets[0] == 0 and offsets[-1] == total and (np.diff(offsets) > 0).all()
    )


def _twin(columns: Sequence[np.ndarray]) -> tuple[bytes, int, int] | None:
    """An id that occurs twice in the columns, and the columns it is in; None when all are different.

    Sorting a 64-bit digest of each id takes a tenth of the time that a set of a million texts takes; equal digests are
    compared in full.
    """
    digests = np.concatenate([_digests(column) for column in columns])
    ascending = np.sort(digests)
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    suspects = np.flatnonzero(np.isin(digests, repeated)).tolist() if len(repeated) else []
    firsts = np.cumsum([0, *(len(column) for column in columns)])
    seen: dict[bytes, tuple[int, int]] = {}
    for place in suspects:
        owner = int(np.searchsorted(firsts, place, side="right")) - 1
        id = bytes(columns[owner][place - firsts[owner]])
        other, held = seen.setdefault(id, (place, owner))
        if other != place:
            return id, held, owner
    return None


def _digests(raw: np.ndarray) -> np.ndarray:
    """(N,) uint64: multiply-and-add over the ids' eight-byte words; equal for equal ids, however padded."""
    words = np.zeros((len(raw), -(-raw.dtype.itemsize // 8) * 8), np.uint8)
    words[:, : raw.dtype.itemsize] = np.ascontiguousarray(raw).view(np.uint8).reshape(len(raw), raw.dtype.itemsize)
    digests = np.zeros(len(raw), np.uint64)
    for position, word in enumerate(words.view("<u8").T):
        mixed = word * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        digests += mixed * np.uint64((0xD1342543DE82EF95 * (2 * position + 1)) % 2**64)
    return digests


def _shots(file: Any, shown: str) -> dict[str, Shot]:
    if "shots" not in file:
        return {}
    group = file["shots"]
    ids, videos = Ids(_ids(group, shown)), list(Ids(_ids(group, shown, "videos")))
    rows, starts, ends = (_column(group, name)[...].tolist() for name in ("video", "start", "end"))
    if not len(ids) == len(rows) == len(starts) == len(ends) or (
        rows and not 0 <= min(rows) <= max(rows) < len(videos)
    ):
        raise FormatError(shown, "its columns of shots do not fit together")
    return {id: Shot(id, videos[row], start, end) for id, row, start, end in zip(ids, rows, starts, ends, strict=True)}


def _pictures(file: Any, shown: str) -> tuple[np.ndarray, np.ndarray]:
    """The ids (raw) and the offsets of the thumbnails."""
    if "thumbnails" not in file:
        return np.empty(0, "S1"), np.zeros(1, np.int64)
    group = file["thumbnails"]
    ids, offsets, jpeg = _ids(group, shown), _column(group, "offsets")[...], _column(group, "jpeg")
    if jpeg.ndim != 1 or offsets.shape != (len(ids) + 1,) or not _partition(offsets, len(jpeg)):
        raise FormatError(shown, "its thumbnails' offsets do not fit their ids and bytes")
    return ids, offsets


@contextmanager
def _created(path: Path) -> Iterator[Any]:
    """A new file of our format. The oldest object headers are the ones without time stamps."""
    aligned = {"alignment_threshold": 1 << 16, "alignment_interval": 1 << 12}
    with h5py.File(path, "w", libver=("earliest", "v110"), **aligned) as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = VERSION
        yield file


def _array(group: Any, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """A contiguous dataset that has its place in the file at once, so that the order of writing leaves no trace."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return group.create_dataset(name, shape=shape, dtype=dtype, dcpl=properties, track_times=False)


def _write_ids(group: Any, name: str, texts: Sequence[str]) -> None:
    raw = np.array([text.encode() for text in texts] or [b""], dtype="S")[: len(texts)]
    kind = h5py.string_dtype("utf-8", raw.dtype.itemsize)
    _array(group, name, (len(texts),), kind)[...] = raw.astype(kind)


def _write_shots(file: Any, shots: Sequence[Shot]) -> None:
    if not shots:
        return
    group = file.create_group("shots")
    videos = {video: row for row, video in enumerate(dict.fromkeys(shot.video for shot in shots))}
    _write_ids(group, "ids", [shot.id for shot in shots])
    _array(group, "video", (len(shots),), np.int32)[...] = [videos[shot.video] for shot in shots]
    _array(group, "start", (len(shots),), np.float64)[...] = [shot.start for shot in shots]
    _array(group, "end", (len(shots),), np.float64)[...] = [shot.end for shot in shots]
    _write_ids(group, "videos", list(videos))


def _starts(ids: Sequence[str], held: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Where each item's rows begin when the items stand in this order."""
    ends = itertools.accumulate(held[id][1] for id in ids)
    return dict(zip(ids, itertools.chain([0], ends), strict=False))


def _targets(
    number: int, ids: Iterable[str], held: Mapping[str, tuple[int, int]], starts: Mapping[str, int]
) -> np.ndarray:
    """Per item of a source, where it goes; -1 when another source gives it."""
    return np.array([starts[id] if held[id][0] == number else -1 for id in ids], np.int64)


def _write_pictures(file: Any, ids: Sequence[str], lengths: Sequence[int]) -> Any:
    """The group of thumbnails, and room for their bytes; None when there are none."""
    if not ids:
        return None
    group = file.create_group("thumbnails")
    _write_ids(group, "ids", ids)
    _array(group, "offsets", (len(ids) + 1,), np.int64)[...] = np.concatenate([[0], np.cumsum(lengths)])
    return _array(group, "jpeg", (sum(lengths),), np.uint8)


def _move(source: Any, offsets: np.ndarray, target: Any, starts: np.ndarray) -> None:
    """Copy item i, source[offsets[i]:offsets[i+1]], to target[starts[i]:]; -1 leaves it out. Neighbours go together."""
    if not len(starts):
        return
    lengths = np.diff(offsets)
    follows = (starts[1:] == starts[:-1] + lengths[:-1]) & (starts[:-1] >= 0)
    breaks = [0, *(np.flatnonzero(~follows) + 1).tolist(), len(starts)]
    step = max(1, PIECE // max(1, int(np.prod(target.shape[1:])) * target.dtype.itemsize))
    for first, last in itertools.pairwise(breaks):
        if starts[first] < 0:
            continue
        shift = int(starts[first] - offsets[first])
        for low in range(int(offsets[first]), int(offsets[last]), step):
            high = min(low + step, int(offsets[last]))
            target[low + shift : high + shift] = source[low:high]


def _reordered(blocks: Sequence[Block], order: np.ndarray) -> Block:
    """The items of several blocks as one block, item `order[i]` at place i."""
    listed = [id for block in blocks for id in block.ids]
    ids = [listed[place] for place in order.tolist()]
    vectors = np.concatenate([block.vectors for block in blocks])
    if blocks[0].offsets is None:
        return Block(ids, vectors[order], None)
    lengths = np.concatenate([np.diff(block.offsets) for block in blocks if block.offsets is not None])
    starts = np.cumsum([0, *lengths])[:-1]
    offsets = np.concatenate([[0], np.cumsum(lengths[order])])
    rows = np.arange(offsets[-1]) + np.repeat(starts[order] - offsets[:-1], lengths[order])
    return Block(ids, vectors[rows], offsets)


def _flush(path: Path) -> None:
    """Onto the disk, so that the name that follows never stands for a file that is not all there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
