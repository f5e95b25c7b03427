"""Resumable writing of feature stores, batch by batch. The files are described in `reader.py`."""

import contextlib
import itertools
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from avs_cli.errors import FormatError, MismatchError
from avs_cli.io.atomic import replacing
from avs_cli.io.lock import locked
from avs_cli.io.store.checked import ID_BYTES, RESERVED
from avs_cli.io.store.compatibility import differences
from avs_cli.io.store.files import copy_files
from avs_cli.io.store.ledger import ledger_line, ledger_of, read_ledger, write_ledger
from avs_cli.io.store.reader import Store, StoredFeature, features
from avs_cli.io.store.schema import (
    Ids,
    Layout,
    TextLayout,
    VectorLayout,
    copy_items,
    created,
    ids_of,
    opened,
    pictures_of,
    write_feature,
    write_pictures,
    write_shots,
)
from avs_cli.io.store.texts import TextItem, TextStore, open_feature, rows_of, wrong_piece
from avs_cli.io.texts import Numbering
from avs_cli.types import Failure, Shot

ROOM = ".room-"


class Item(NamedTuple):
    """The vectors of one shot, topic or caption.

    shot       video and time span, for shots
    vectors    (D,) or, frame-level, (K, D)
    thumbnail  the middle frame of a shot as JPEG
    """

    shot: Shot | None
    id: str
    vectors: np.ndarray
    thumbnail: bytes | None = None


class _Stored(Protocol):
    """An item of either kind of feature."""

    @property
    def shot(self) -> Shot | None: ...
    @property
    def id(self) -> str: ...
    @property
    def thumbnail(self) -> bytes | None: ...


_Item = TypeVar("_Item", bound=_Stored)


class _Places:
    """Where items are: per id, in the order in which they were found, the source and the number of rows or bytes there.

    Of an id in several sources, the first one counts.
    """

    def __init__(self) -> None:
        self.ids = Numbering()
        self._sources, self._lengths = array("i"), array("q")

    def add(self, id: str, source: int, length: int) -> None:
        if self.ids.add(id) == len(self._sources):
            self._sources.append(source)
            self._lengths.append(length)

    def source(self, id: str) -> int:
        """-1 for an id that is unknown."""
        number = self.ids.number(id)
        return self._sources[number] if number >= 0 else -1

    @property
    def sources(self) -> np.ndarray:
        """By the numbers of the ids."""
        return np.array(self._sources, np.int32)

    @property
    def lengths(self) -> np.ndarray:
        """By the numbers of the ids."""
        return np.array(self._lengths, np.int64)

    def numbers(self, ids: Iterable[str]) -> np.ndarray:
        """-1 for ids that are unknown."""
        return np.fromiter(map(self.ids.number, ids), np.int64)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        return zip(self.ids, self._sources, self._lengths, strict=True)


def is_finished(path: Path) -> bool:
    """Whether a store exists and has no parts of an unfinished writer."""
    return path.exists() and not parts_of(path).exists()


class FeatureWriter(Generic[_Item]):
    """Writes one feature to a store, batch by batch; may be killed at any time and resumed.

    `StoreWriter` writes vectors, `TextWriter` texts.

    A context manager that holds the lock of the store. Items passed to `add` and `fail` are on disk when these return;
    `finish` creates the store.
    Entering raises MismatchError if the store has the feature with another provenance, AvsError if another process
    writes it.

    done    ids in the store or in a finished batch
    failed  id -> failure, from the ledger, of ids that are not done
    """

    layout: Layout

    def __init__(self, path: str | Path, feature: str, provenance: Mapping[str, Any]):
        """Raises MismatchError for an invalid name of the feature."""
        self.path = Path(path)
        if feature in RESERVED or not feature.strip(".") or any(sign in feature for sign in "/: "):
            raise MismatchError(f"{path}: invalid feature name {feature!r}")
        self.feature, self.provenance = feature, dict(provenance)
        self.done: AbstractSet[str] = frozenset()
        self.failed: dict[str, Failure] = {}
        # Writers of other features of the store that finish before this one, and their parts' numbers.
        self._earlier: Sequence[FeatureWriter[Any]] = ()
        self._numbers: Iterator[int] = iter(())

    def _fitting(self, item: _Item) -> _Item:
        """The item as it is stored. Raises MismatchError or FormatError for one that cannot be."""
        raise NotImplementedError

    def _lengths(self, batch: Sequence[_Item]) -> list[list[int]]:
        """For each dataset of the layout, how many of its rows each item has; items are as they are stored."""
        raise NotImplementedError

    def _rows(self, batch: Sequence[_Item]) -> list[np.ndarray]:
        """The rows of each dataset of the layout."""
        raise NotImplementedError

    def _differs(self, stored: Any, batch: Sequence[_Item]) -> list[bool]:
        """Which of the items are stored with another content, in a feature that has all of them."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(locked(self.path))
            self._numbers = itertools.count(self._begin() + 1)
            self._resources = stack.pop_all()
        return self

    def _begin(self) -> int:
        """Read what the store and its parts have, and return the number of the last part."""
        self._sweep()
        self._shots: dict[str, Shot] = {}
        # Sources by their index in `_sources`; of each dataset of the layout, with the same numbers of ids.
        self._datasets, self._pictures = [_Places() for _ in self.layout.names], _Places()
        self._where = self._datasets[0]
        self.done = self._where.ids
        self._sources: list[Path] = []
        self._borrowed: set[Path] = set()
        self._open: tuple[int, Any] | None = None
        last = 0
        if self.path.exists():
            self._include(self.path)
        others = []
        for part in self._parts():
            last = int(part.stem)
            if not self._include(part):
                others.append(part)
        for part in others:
            self._borrow(part)
        failures = read_ledger(self._ledger_path)
        self.failed = {f.id: f for name, f in failures if name == self.feature and f.id not in self.done}
        return last

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._clear_rooms()
        self._resources.close()

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def add(self, batch: Sequence[_Item]) -> None:
        """Write a finished batch to a part file, atomically.

        Raises FormatError for a NaN or infinite value, MismatchError for a value beyond float16; both name the id.
        """
        fresh = self._checked(batch)
        if not fresh:
            return
        ids, lengths = [item.id for item in fresh], self._lengths(fresh)
        shots = {item.shot.id: item.shot for item in fresh if item.shot}
        # One thumbnail per shot: that of the store, else that of the first feature.
        known = [writer._pictures.ids for writer in (self, *self._earlier)]
        pictures = {
            item.id: item.thumbnail
            for item in fresh
            if item.thumbnail is not None and not any(item.id in pictures for pictures in known)
        }
        sizes = [len(picture) for picture in pictures.values()]
        self._folder.mkdir(exist_ok=True)
        part = self._folder / f"{next(self._numbers):06d}.h5"
        with replacing(part) as temporary:
            with created(temporary) as file:
                for dataset, rows in zip(self._create(file, ids, lengths), self._rows(fresh), strict=True):
                    dataset[...] = rows
                write_shots(file, list(shots.values()))
                jpeg = write_pictures(file, list(pictures), sizes)
                if jpeg is not None:
                    jpeg[...] = np.frombuffer(b"".join(pictures.values()), np.uint8)
            flush(temporary)
        self._know(part, ids, lengths, zip(pictures, sizes, strict=True), shots)

    def room(self) -> Path:
        """A new folder for the stores of other processes, which `adopt` takes over.

        What is left in it is removed when the store is finished, and by the next writer.
        """
        self._folder.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._folder, prefix=ROOM))

    def adopt(self, source: str | Path) -> None:
        """Take over a store of this feature, which is on the same disk, as a finished batch; the file is moved.

        Items that are done already keep their vectors. Raises MismatchError for another provenance.
        """
        with open_feature(source, self.feature) as store:
            self.refuse_other(store)  # before it is a part, which every later writer would refuse
        part = self._folder / f"{next(self._numbers):06d}.h5"
        os.replace(source, part)
        self._include(part)

    def differing(self, batch: Sequence[_Item]) -> list[str]:
        """The ids of those items that are done with another content."""
        by_source: dict[int, list[_Item]] = {}
        for item in batch:
            if item.id in self.done:
                by_source.setdefault(self._where.source(item.id), []).append(item)
        wrong = []
        for number, items in by_source.items():
            differs = self._differs(self._reader(number), items)
            wrong += [item.id for item, other in zip(items, differs, strict=True) if other]
        return wrong

    def _reader(self, number: int) -> Any:
        """Open a source and close the previous one."""
        if self._open is None or self._open[0] != number:
            self._close()
            self._open = (number, open_feature(self._sources[number], self.feature))
        return self._open[1]

    def fail(self, failure: Failure) -> None:
        """Add a failed item to the ledger."""
        self.failed[failure.id] = failure
        with self._ledger_path.open("ab") as ledger:
            ledger.write(ledger_line(self.feature, failure))
            ledger.flush()
            os.fsync(ledger.fileno())

    def finish(self, order: Sequence[str]) -> None:
        """Join all batches to the store: first items that are not in `order`, then those of `order`.

        The bytes of the store depend only on the items and their order, not on batches and interruptions.
        """
        named = self._where.numbers(order)
        named = named[named >= 0]
        named = named[np.sort(np.unique(named, return_index=True)[1])]
        others = np.ones(len(self._where.ids), bool)
        others[named] = False
        final = np.concatenate([np.flatnonzero(others), named])
        if self._changed(final):
            with replacing(self.path) as temporary:
                with created(temporary) as file:
                    self._join(file, final)
                flush(temporary)
        self._tidy()

    @property
    def _folder(self) -> Path:
        return parts_of(self.path)

    @property
    def _ledger_path(self) -> Path:
        return ledger_of(self.path)

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.h5"))

    def _sweep(self) -> None:
        """Remove temporary files of a killed writer; while the lock is held, there is no other writer."""
        for leftover in [*self._folder.glob(".*.part"), *self.path.parent.glob(f".{self.path.name}.*.part")]:
            leftover.unlink()
        self._clear_rooms()

    def _clear_rooms(self) -> None:
        for room in self._folder.glob(f"{ROOM}*"):
            shutil.rmtree(room, ignore_errors=True)  # a process that lost its work may still write there
            with contextlib.suppress(OSError):  # there may be parts
                self._folder.rmdir()

    def _include(self, source: Path) -> bool:
        """Add the store, or a part of an earlier writer, to the sources; False for a part of another feature."""
        held = features(source) if source == self.path else [None]
        with open_feature(source, self.feature if self.feature in held else held[0]) as store:
            ours = store.feature == self.feature
            if ours:
                self.refuse_other(store)
            elif source != self.path:
                return False
            ids, offsets = store.pictures
            self._know(
                source,
                store.ids if ours else (),
                [np.diff(own).tolist() for own in store.spans] if ours else (),
                zip(Ids(ids), np.diff(offsets).tolist(), strict=True),
                store.shots(),
            )
        return True

    def _borrow(self, source: Path) -> None:
        """Add the thumbnails of our items in a part of another feature, which was written at the same time."""
        with open_feature(source, features(source)[0]) as store:
            ids, offsets = store.pictures
            sizes = zip(Ids(ids), np.diff(offsets).tolist(), strict=True)
            ours = [(id, size) for id, size in sizes if id in self.done and id not in self._pictures.ids]
        if ours:
            self._borrowed.add(source)
            self._know(source, (), (), ours, {})

    def _refresh(self) -> None:
        """Read the shots and thumbnails of the store again, after the writer of another feature has finished it.

        The rows of this feature are where they were.
        """
        self._close()
        shots, pictures = self._shots, self._pictures
        self._shots, self._pictures = {}, _Places()
        with open_feature(self.path, features(self.path)[0]) as store:
            ids, offsets = store.pictures
            self._know(self.path, (), (), zip(Ids(ids), np.diff(offsets).tolist(), strict=True), store.shots())
        self._shots = {**self._shots, **shots}
        for picture in pictures:
            self._pictures.add(*picture)

    def _know(
        self,
        source: Path,
        ids: Sequence[str],
        lengths: Sequence[Iterable[int]],
        pictures: Iterable[tuple[str, int]],
        shots: Mapping[str, Shot],
    ) -> None:
        """Register the items of a source: for each dataset, the rows of each id; and the bytes of thumbnails."""
        number = len(self._sources)
        self._sources.append(source)
        rows = [(known, zip(ids, own, strict=True)) for known, own in zip(self._datasets, lengths, strict=False)]
        for known, found in [*rows, (self._pictures, pictures)]:
            for id, length in found:
                known.add(id, number, length)
        self._shots.update(shots)

    def refuse_other(self, store: StoredFeature) -> None:
        """Raises MismatchError for a store whose items are not those of this writer's feature."""
        if what := self.difference(store):
            raise MismatchError(
                f"{store._name} has a different provenance: {what}; write to another file or remove this one"
            )

    def difference(self, store: StoredFeature) -> str:
        """What tells the items of a store from those of this writer's feature; "" where nothing does."""
        if store.layout != self.layout:
            return f"vectors are {store.layout} and {self.layout}"
        # A store has one provenance for all items, so small differences are errors too.
        found = differences(store.provenance, self.provenance)
        return next((str(one) for one in found if not one.key.startswith("versions.")), "")

    def _checked(self, batch: Sequence[_Item]) -> list[_Item]:
        """The batch as it is stored. Raises MismatchError for duplicate ids."""
        fresh: dict[str, _Item] = {}
        for item in batch:
            if item.id in self.done or item.id in fresh:
                raise MismatchError(f"{self.path}: duplicate id {item.id!r}")
            if item.shot and (known := self._shots.get(item.shot.id, item.shot)) != item.shot:
                raise MismatchError(
                    f"{self.path}: shot {known.id!r} is {known[1:]} in the store and {item.shot[1:]} here"
                )
            raw = item.id.encode()
            if not raw or len(raw) > ID_BYTES or item.id.split() != [item.id] or "\0" in item.id:
                raise MismatchError(
                    f"{self.path}: {item.id!r} cannot be an id: 1 to {ID_BYTES} bytes without white space"
                )
            fresh[item.id] = self._fitting(item)
        return list(fresh.values())

    def _create(
        self, file: Any, ids: Sequence[str] | np.ndarray, lengths: Sequence[Sequence[int] | np.ndarray]
    ) -> list[Any]:
        """Create the group of the feature, complete except for the rows of the datasets, and return these."""
        return write_feature(file, self.feature, self.provenance, ids, lengths, self.layout, str(self.path))

    def _changed(self, final: np.ndarray) -> bool:
        """Whether `finish` would change the store, to the items of these numbers."""
        if not self.path.exists() or self.feature not in features(self.path):
            return True
        with open_feature(self.path, self.feature) as store:
            if len(store) != len(final) or store.provenance != self.provenance:
                return True
            return len(store.shots()) != len(self._shots) or not store.has(self._where.ids.padded(final))

    def _join(self, file: Any, final: np.ndarray) -> None:
        """Write the store: copy other features, and join this one from its sources, the items of these numbers."""
        where, held_pictures = self._where, self._pictures
        lengths = [places.lengths for places in self._datasets]
        others = [name for name in features(self.path) if name != self.feature] if self.path.exists() else []
        for name in sorted([self.feature, *others]):
            if name == self.feature:
                datasets = self._create(file, where.ids.padded(final), [own[final] for own in lengths])
            else:
                with opened(self.path, str(self.path)) as old:
                    old.copy(name, file)
        if self.path.exists():
            copy_files(self.path, file)
        shots = self._shots
        if shots:
            shots = {id: shots[id] for id in where.ids.texts().take(final) if id in shots} | shots
        write_shots(file, list(shots.values()))
        shown = held_pictures.numbers(shots)
        shown = shown[shown >= 0]
        pictured = np.concatenate([shown, np.setdiff1d(np.arange(len(held_pictures.ids)), shown)])
        jpeg = write_pictures(file, held_pictures.ids.padded(pictured), held_pictures.lengths[pictured])
        rows = [_starts(final, own) for own in lengths]
        places = _starts(pictured, held_pictures.lengths)
        for number, source in enumerate(self._sources):
            with opened(source, str(source)) as part:
                if self.feature in part:
                    held = Ids(ids_of(part[self.feature], str(source)))
                    spans = self.layout.spans(part[self.feature], str(source))
                    for name, offsets, target, starts in zip(self.layout.names, spans, datasets, rows, strict=True):
                        _copy(part[self.feature][name], offsets, target, _targets(number, held, where, starts))
                raw, offsets = pictures_of(part, str(source))
                if len(raw):
                    _copy(part["thumbnails/jpeg"], offsets, jpeg, _targets(number, Ids(raw), held_pictures, places))

    def _tidy(self) -> None:
        """Remove the parts, and entries of the ledger that are no longer missing."""
        for source in self._sources:
            if source != self.path and source not in self._borrowed:
                source.unlink()
        self._clear_rooms()
        with contextlib.suppress(OSError):  # there may be parts of another feature
            self._folder.rmdir()
        self.failed = {id: failure for id, failure in self.failed.items() if id not in self.done}
        others = {(name, f.id): f for name, f in read_ledger(self._ledger_path) if name != self.feature}
        ours = [(self.feature, failure) for failure in self.failed.values()]
        write_ledger(self._ledger_path, [*((name, f) for (name, _), f in others.items()), *ours])


class StoreWriter(FeatureWriter[Item]):
    """Writes one feature of vectors to a store, batch by batch; may be killed at any time and resumed."""

    def __init__(
        self,
        path: str | Path,
        feature: str,
        dim: int,
        provenance: Mapping[str, Any],
        dtype: str = "float16",
        frame_level: bool = False,
    ):
        """Raises MismatchError for an invalid name of the feature."""
        super().__init__(path, feature, provenance)
        self.dim, self.dtype, self.frame_level = dim, np.dtype(dtype), frame_level
        self.layout = VectorLayout(dim, self.dtype, frame_level)

    def _fitting(self, item: Item) -> Item:
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
        return item._replace(vectors=vectors)

    def _lengths(self, batch: Sequence[Item]) -> list[list[int]]:
        return [[len(item.vectors) for item in batch]]

    def _rows(self, batch: Sequence[Item]) -> list[np.ndarray]:
        return [np.concatenate([item.vectors for item in batch])]

    def _differs(self, stored: Store, batch: Sequence[Item]) -> list[bool]:
        held = stored.read([item.id for item in batch])
        offsets = np.arange(len(batch) + 1) if held.offsets is None else held.offsets
        return [
            not np.array_equal(self._fitting(item).vectors, held.vectors[low:high])
            for item, low, high in zip(batch, offsets, offsets[1:], strict=False)
        ]


class TextWriter(FeatureWriter[TextItem]):
    """Writes one feature of texts to a store, batch by batch; may be killed at any time and resumed."""

    layout = TextLayout()

    def _fitting(self, item: TextItem) -> TextItem:
        if wrong := wrong_piece(item.pieces):
            raise FormatError(self.path, f"{item.id}: {wrong}")
        return item

    def _lengths(self, batch: Sequence[TextItem]) -> list[list[int]]:
        sizes = [sum(len(piece.text.encode()) for piece in item.pieces) for item in batch]
        return [[len(item.pieces) for item in batch], sizes]

    def _rows(self, batch: Sequence[TextItem]) -> list[np.ndarray]:
        pieces = [piece for item in batch for piece in item.pieces]
        return [rows_of(pieces), np.frombuffer("".join(piece.text for piece in pieces).encode(), np.uint8)]

    def _differs(self, stored: TextStore, batch: Sequence[TextItem]) -> list[bool]:
        held = stored.read([item.id for item in batch])
        return [
            [piece.text for piece in own] != [piece.text for piece in item.pieces]
            or rows_of(own).tobytes() != rows_of(item.pieces).tobytes()
            for own, item in zip(held, batch, strict=True)
        ]


class StoreWriters:
    """Writes several features to one store at once, under one lock; may be killed at any time and resumed.

    The bytes of the store are those of writing one feature after the other. A context manager; entering raises as that
    of `StoreWriter` does.

    writers  one per feature; use their `add` and `fail`, and `finish` of this object
    """

    def __init__(self, writers: Sequence[FeatureWriter[Any]]):
        """Raises MismatchError for two writers of one feature."""
        names = [writer.feature for writer in writers]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise MismatchError(f"{writers[0].path}: feature {twice!r} has two writers")
        self.writers = list(writers)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(locked(self.writers[0].path))
            last = [writer._begin() for writer in self.writers]
            numbers = itertools.count(max(last) + 1)
            for position, writer in enumerate(self.writers):
                writer._earlier, writer._numbers = self.writers[:position], numbers
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self.writers:
            writer._close()
            writer._clear_rooms()
        self._resources.close()

    def finish(self, order: Sequence[str]) -> None:
        """`StoreWriter.finish` of each feature, in the order of the writers."""
        for position, writer in enumerate(self.writers):
            if position:
                writer._refresh()
            writer.finish(order)


def parts_of(path: Path) -> Path:
    """The folder of a store's parts, while it is being written."""
    return path.with_name(f"{path.name}.parts")


def _starts(order: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The first row of each item, by its number, when the items are stored in this order."""
    starts = np.empty(len(lengths), np.int64)
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    return starts


def _targets(number: int, ids: Iterable[str], held: _Places, starts: np.ndarray) -> np.ndarray:
    """The target row of each item of a source; -1 if it is copied from another source."""
    known = held.numbers(ids)
    ours = (known >= 0) & (held.sources[known] == number)
    return np.where(ours, starts[known], -1)


def _copy(source: Any, offsets: np.ndarray, target: Any, starts: np.ndarray) -> None:
    """Copy item i, source[offsets[i]:offsets[i+1]], to target[starts[i]:] unless it is -1."""
    ours = starts >= 0
    copy_items(source, target, offsets[:-1][ours], np.diff(offsets)[ours], starts[ours])


def flush(path: Path) -> None:
    """Flush a file to disk before it is renamed, so that a crash leaves no incomplete file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
