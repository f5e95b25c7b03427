"""The HDF5 layout of a feature store: reading and writing the groups of the schema in `reader.py`."""

import contextlib
import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol, overload

import h5py
import numpy as np

from avs_cli.errors import FormatError, MismatchError
from avs_cli.io.bounded_json import parsed
from avs_cli.io.mapped import Column, MappedColumn
from avs_cli.io.store.checked import IDS, PATH_BYTES, PATHS, PIECES, TEXTS, TEXTS_VERSION, check_ids, holds, texts
from avs_cli.types import Shot

FORMAT = "avs-features"
VERSION = 1
PROVENANCE_BYTES = 1 << 20
# What HDF5 keeps in an attribute.
WRITTEN_BYTES = 60_000
# Ids that are decoded at a time.
PIECE = 1 << 14
# Bytes of items that are copied at a time.
COPIED_BYTES = 32 << 20


class Ids(Sequence[str]):
    """The ids of a store or of a block, decoded on access, since a search needs few of them."""

    def __init__(self, raw: Column):
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
        # Ids contain no line breaks, and decoding many at once is five times as fast as one by one.
        for low in range(0, len(self.raw), PIECE):
            yield from b"\n".join(self.raw[low : low + PIECE].tolist()).decode().split("\n")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class Layout(Protocol):
    """What the items of a feature are made of: some rows in each of several datasets.

    names  of the datasets
    """

    names: ClassVar[tuple[str, ...]]

    def create(self, group: Any, lengths: Sequence[Sequence[int] | np.ndarray]) -> list[Any]:
        """Create the datasets in the group of a feature, and return them.

        lengths  for each dataset, how many of its rows each item has
        """
        ...

    def spans(self, group: Any, where: str) -> list[np.ndarray]:
        """For each dataset, the (N+1,) offsets of the items in it."""
        ...

    def fits(self, other: Any) -> bool:
        """Whether items of another layout may be searched beside these."""
        ...


@dataclass(frozen=True)
class VectorLayout:
    """Vectors: one per item or, frame-level, several."""

    dim: int
    dtype: np.dtype[Any]
    frame_level: bool
    names: ClassVar[tuple[str, ...]] = ("vectors",)

    def create(self, group: Any, lengths: Sequence[Sequence[int] | np.ndarray]) -> list[Any]:
        """As that of `Layout`."""
        if self.frame_level:
            write_offsets(group, lengths[0])
        return [array(group, "vectors", (int(np.sum(lengths[0])), self.dim), self.dtype)]

    def spans(self, group: Any, where: str) -> list[np.ndarray]:
        """As those of `Layout`."""
        return [group["offsets"][...] if self.frame_level else np.arange(len(group["ids"]) + 1)]

    def fits(self, other: Any) -> bool:
        """Whether vectors have the same dimensions, and items one or several of them; types may differ."""
        return isinstance(other, VectorLayout) and (self.dim, self.frame_level) == (other.dim, other.frame_level)

    def __str__(self) -> str:
        return f"{'frame-level ' * self.frame_level}{self.dtype.name} of {self.dim}"


@dataclass(frozen=True)
class TextLayout:
    """Pieces of text, any number per item, and their UTF-8."""

    names: ClassVar[tuple[str, ...]] = ("pieces", "text")

    def create(self, group: Any, lengths: Sequence[Sequence[int] | np.ndarray]) -> list[Any]:
        """As that of `Layout`."""
        group.attrs["format"], group.attrs["format_version"] = TEXTS, TEXTS_VERSION
        write_offsets(group, lengths[0])
        pieces = array(group, "pieces", (int(np.sum(lengths[0])),), PIECES)
        return [pieces, array(group, "text", (int(np.sum(lengths[1])),), np.uint8)]

    def spans(self, group: Any, where: str) -> list[np.ndarray]:
        """As those of `Layout`. Raises FormatError unless the lengths of the pieces add up to the text."""
        pieces, offsets = group["pieces"], group["offsets"][...].astype(np.int64)
        places = np.zeros(len(offsets), np.int64)
        item = total = 0
        for low in range(0, len(pieces), PIECE):
            ends = np.cumsum(pieces[low : low + PIECE]["bytes"], dtype=np.int64)
            # The items that begin before the last of these pieces, or with the next one.
            last = int(np.searchsorted(offsets, low + len(ends), side="right"))
            places[item:last] = total + np.append(0, ends)[offsets[item:last] - low]
            item, total = last, total + int(ends[-1])
        if total != len(group["text"]):
            raise FormatError(where, f"pieces of {total} bytes, and {len(group['text'])} bytes of text")
        return [offsets, places]

    def fits(self, other: Any) -> bool:
        """Whether the other items are texts too."""
        return isinstance(other, TextLayout)

    def __str__(self) -> str:
        return "texts"


@contextmanager
def opened(real: Path, shown: str) -> Iterator[Any]:
    """Open a feature store. Raises OSError if the file cannot be opened, FormatError for other and damaged files."""
    with real.open("rb") as probe:
        empty = not probe.read(1)
    if empty or not h5py.is_hdf5(real):
        raise FormatError(shown, "an empty file" if empty else "not a feature store (not HDF5)")
    with ExitStack() as stack:
        with structure(shown):
            file = stack.enter_context(h5py.File(real, "r"))
            found, version = file.attrs.get("format"), file.attrs.get("format_version")
        if not isinstance(found, str) or found != FORMAT:
            raise FormatError(shown, f"an HDF5 file, but not a feature store (format is {found!r:.40}, not {FORMAT!r})")
        if not isinstance(version, np.integer) or version != VERSION:
            raise FormatError(
                shown, f"feature store of version {version!s:.40}; this version of avs reads version {VERSION}"
            )
        yield file


@contextmanager
def structure(shown: str) -> Iterator[None]:
    """Convert errors of HDF5 and h5py about a damaged file to FormatError."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        text = " ".join(str(error).strip("'\"").split()) or type(error).__name__
        what = "truncated" if "truncated" in text else "damaged or incomplete"
        raise FormatError(shown, f"{what} feature store ({text})") from None


def provenance_of(group: Any, where: str) -> dict[str, Any]:
    """The provenance of a feature. Raises FormatError unless it is a JSON object of plausible size."""
    text = group.attrs["provenance"]
    try:
        value = parsed(text, PROVENANCE_BYTES)
    except (TypeError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise FormatError(where, "its provenance is not a JSON object")
    return value


def ids_of(group: Any, where: str, mapped: mmap.mmap | None = None) -> Column:
    """The ids of a group as NUL-padded bytes. Raises FormatError for an invalid or duplicate id.

    mapped  the file, in which the ids stay, unless another program has written them in another form
    """
    raw = _in_place(group["ids"], mapped) if mapped else None
    ids: Column = texts(group["ids"], IDS, where) if raw is None else raw
    check_ids(ids, where)
    return ids


def _in_place(dataset: Any, mapped: mmap.mmap) -> MappedColumn | None:
    """A column of texts where it is in the file; None if it has to be converted."""
    padded = dataset.dtype.kind == "S" and dataset.id.get_type().get_strpad() == h5py.h5t.STR_NULLPAD
    start, width = dataset.id.get_offset(), dataset.dtype.itemsize
    if not padded or start is None or start + len(dataset) * width > len(mapped):
        return None
    return MappedColumn(mapped, f"S{width}", len(dataset), start)


def offsets_of(
    group: Any, total: int, where: str, of: str = "vectors", mapped: mmap.mmap | None = None, least: int = 1
) -> np.ndarray | MappedColumn:
    """(N+1,) int64: the range of the `total` vectors or bytes of each item. Raises FormatError for a wrong range.

    mapped  the file, in which the offsets stay if they are of that type
    least   how many an item has at least
    """
    dataset = group["offsets"]
    start, count = dataset.id.get_offset(), len(dataset)
    offsets: np.ndarray | MappedColumn
    if mapped and dataset.dtype == np.int64 and start is not None and start + 8 * count <= len(mapped):
        offsets = MappedColumn(mapped, np.int64, count, start)
    else:
        offsets = dataset[...].astype(np.int64)
    pieces = (np.asarray(offsets[low : low + PIECE + 1]) for low in range(0, count, PIECE))
    if not (
        count and offsets[0] == 0 and offsets[-1] == total and all((np.diff(piece) >= least).all() for piece in pieces)
    ):
        raise FormatError(where, f"offsets do not divide the {total} {of} among the {count - 1} ids")
    return offsets


def shots_of(file: Any, shown: str) -> dict[str, Shot]:
    if not holds(file, "shots"):
        return {}
    group, where = file["shots"], f"{shown}::shots"
    ids, videos = Ids(ids_of(group, where)), [video.decode() for video in texts(group["videos"], PATHS, where).tolist()]
    rows, starts, ends = (group[name][...] for name in ("video", "start", "end"))
    if len(ids) and not 0 <= rows.min() <= rows.max() < len(videos):
        raise FormatError(where, f"rows {rows.min()} to {rows.max()} of {len(videos)} videos")
    if not (np.isfinite(starts) & np.isfinite(ends) & (starts <= ends)).all():
        raise FormatError(where, "a shot ends before it starts, or a time is NaN or infinite")
    columns = zip(ids, rows.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return {id: Shot(id, videos[row], start, end) for id, row, start, end in columns}


def some_shots_of(file: Any, shown: str, wanted: Sequence[str], mapped: mmap.mmap) -> dict[str, Shot]:
    """Those of these shots that the file describes, without reading the others."""
    if not holds(file, "shots") or not wanted or not len(file["shots/ids"]):
        return {}
    group, where = file["shots"], f"{shown}::shots"
    column = _in_place(group["ids"], mapped)
    ids: Column = texts(group["ids"], IDS, where) if column is None else column
    named = np.array([id.encode() for id in wanted])
    places = np.concatenate(
        [low + np.flatnonzero(np.isin(ids[low : low + PIECE], named)) for low in range(0, len(ids), PIECE)]
    )
    rows, starts, ends = (group[name][places] for name in ("video", "start", "end"))
    videos = {row: group["videos"][row] for row in set(rows.tolist())}
    if not (np.isfinite(starts) & np.isfinite(ends) & (starts <= ends)).all():
        raise FormatError(where, "a shot ends before it starts, or a time is NaN or infinite")
    columns = zip(Ids(ids[places]), rows.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return {id: Shot(id, bytes(videos[row]).decode(), start, end) for id, row, start, end in columns}


def pictures_of(file: Any, shown: str) -> tuple[Column, np.ndarray]:
    """The ids (raw) and the offsets of the thumbnails."""
    if not holds(file, "thumbnails"):
        return np.empty(0, "S1"), np.zeros(1, np.int64)
    group, where = file["thumbnails"], f"{shown}::thumbnails"
    return ids_of(group, where), np.asarray(offsets_of(group, len(group["jpeg"]), where, "bytes"))


@contextmanager
def created(path: Path) -> Iterator[Any]:
    """Create a feature store. The oldest version of object headers has no time stamps."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_alignment(1 << 16, 1 << 12)
    access.set_sieve_buf_size(0)  # unbuffered, so that errors of the disk are raised by the write
    abandoned = False
    file = h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, fapl=access))
    try:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = VERSION
        yield file
        file.flush()
    except (OSError, RuntimeError) as error:
        abandoned = True
        _abandon(file)
        code = re.search(r"errno = (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from None
    finally:
        if not abandoned:
            file.close()


def _abandon(file: Any) -> None:
    """Close a file on a full disk. HDF5 would retry to write the rest, and crash at exit."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)
    with contextlib.suppress(OSError, RuntimeError):
        file.close()


def array(group: Any, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """Create a contiguous dataset, allocated early, so that the file does not depend on the order of writes."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return group.create_dataset(name, shape=shape, dtype=dtype, dcpl=properties, track_times=False)


def write_ids(group: Any, name: str, words: Sequence[str] | np.ndarray) -> None:
    """words  texts, or the same as NUL-padded bytes"""
    raw = words
    if not isinstance(raw, np.ndarray):
        raw = np.array([word.encode() for word in words] or [b""], dtype="S")[: len(words)]
    if raw.dtype.itemsize > PATH_BYTES:
        raise MismatchError(f"{name}: a string of {raw.dtype.itemsize} bytes; the maximum is {PATH_BYTES}")
    kind = h5py.string_dtype("utf-8", raw.dtype.itemsize)
    array(group, name, (len(words),), kind)[...] = raw.astype(kind)


def write_feature(
    file: Any,
    feature: str,
    provenance: Mapping[str, Any],
    ids: Sequence[str] | np.ndarray,
    lengths: Sequence[Sequence[int] | np.ndarray],
    layout: Layout,
    shown: str,
) -> list[Any]:
    """Create the group of a feature, and return the datasets for what its items are made of.

    lengths  for each of these datasets, how many of its rows each item has
    """
    group = file.create_group(feature)
    text = json.dumps(provenance, sort_keys=True, ensure_ascii=False)
    if len(text.encode()) > WRITTEN_BYTES:
        raise MismatchError(f"{shown}: a provenance of {len(text)} characters is more than HDF5 keeps in an attribute")
    group.attrs["provenance"] = text
    write_ids(group, "ids", ids)
    return layout.create(group, lengths)


def write_offsets(group: Any, lengths: Sequence[int] | np.ndarray) -> None:
    """Write where each item begins, and where the last one ends."""
    array(group, "offsets", (len(lengths) + 1,), np.int64)[...] = np.concatenate([[0], np.cumsum(lengths)])


def write_shots(file: Any, shots: Sequence[Shot]) -> None:
    if not shots:
        return
    group = file.create_group("shots")
    videos = {video: row for row, video in enumerate(dict.fromkeys(shot.video for shot in shots))}
    write_ids(group, "ids", [shot.id for shot in shots])
    array(group, "video", (len(shots),), np.int32)[...] = [videos[shot.video] for shot in shots]
    array(group, "start", (len(shots),), np.float64)[...] = [shot.start for shot in shots]
    array(group, "end", (len(shots),), np.float64)[...] = [shot.end for shot in shots]
    write_ids(group, "videos", list(videos))


def write_pictures(file: Any, ids: Sequence[str] | np.ndarray, lengths: Sequence[int] | np.ndarray) -> Any:
    """Create the group of thumbnails, and return the dataset for their bytes; None without thumbnails."""
    if not len(ids):
        return None
    group = file.create_group("thumbnails")
    write_ids(group, "ids", ids)
    write_offsets(group, lengths)
    return array(group, "jpeg", (sum(lengths),), np.uint8)


def copy_items(source: Any, target: Any, begins: np.ndarray, lengths: np.ndarray, goals: np.ndarray) -> None:
    """Copy the rows of items from one dataset to another, those of items that are adjacent in both at once.

    begins, lengths, goals  of each item: its first row in the source, its number of rows, its first row in the target
    """
    if not len(begins):
        return
    ends, shifts = begins + lengths, goals - begins
    follows = (begins[1:] == ends[:-1]) & (shifts[1:] == shifts[:-1])
    breaks = [0, *(np.flatnonzero(~follows) + 1).tolist(), len(begins)]
    step = max(1, COPIED_BYTES // max(1, int(np.prod(target.shape[1:])) * target.dtype.itemsize))
    for first, last in pairwise(breaks):
        shift = int(shifts[first])
        for low in range(int(begins[first]), int(ends[last - 1]), step):
            high = min(low + step, int(ends[last - 1]))
            with structure(source.file.filename):
                piece = source[low:high]
            target[low + shift : high + shift] = piece
