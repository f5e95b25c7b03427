"""How a feature store lies in HDF5: reading and writing the groups that `store.py` describes."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, overload

import h5py
import numpy as np

from avs_cli.errors import FormatError
from avs_cli.types import Shot

FORMAT = "avs-features"
VERSION = 1
RESERVED = ("shots", "thumbnails")


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


@contextmanager
def opened(real: Path, shown: str) -> Iterator[Any]:
    """An HDF5 file of our format. FileNotFoundError and its kin stay what they are; anything else is a FormatError."""
    with real.open("rb") as probe:
        empty = not probe.read(1)
    if empty or not h5py.is_hdf5(real):
        raise FormatError(shown, "an empty file" if empty else "not a feature store (not HDF5)")
    with ExitStack() as stack:
        with structure(shown):
            file = stack.enter_context(h5py.File(real, "r"))
            found, version = file.attrs.get("format"), file.attrs.get("format_version")
        if found != FORMAT:
            raise FormatError(shown, f"an HDF5 file, but not a feature store (format is {found!r}, not {FORMAT!r})")
        if version != VERSION:
            raise FormatError(shown, f"feature store of version {version}; this avs reads version {VERSION}")
        yield file


@contextmanager
def structure(shown: str) -> Iterator[None]:
    """What HDF5 says about a damaged file, as a FormatError."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, MemoryError) as error:
        text = str(error).strip("'\"")
        what = "truncated" if "truncated" in text else "damaged or incomplete"
        raise FormatError(shown, f"{what} feature store ({text})") from None


def features_in(file: Any) -> list[str]:
    return sorted(name for name in file if name not in RESERVED)


def provenance_of(group: Any, shown: str) -> dict[str, Any]:
    try:
        value = json.loads(group.attrs["provenance"])
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise FormatError(f"{shown}::{group.name[1:]}", "its provenance is not a JSON object")
    return value


def column(group: Any, name: str) -> Any:
    """A dataset of a group; KeyError when the group, or what has this name in it, is something else."""
    found = group[name] if isinstance(group, h5py.Group) else None
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"no dataset {name!r}")
    return found


def ids_of(group: Any, shown: str, name: str = "ids") -> np.ndarray:
    """A column of texts as NUL-padded bytes; variable-length texts, which other programs write, become that too."""
    dataset = column(group, name)
    text = h5py.check_string_dtype(dataset.dtype)
    if text is None or dataset.ndim != 1:
        raise FormatError(shown, f"{dataset.name[1:]} is {dataset.shape} {dataset.dtype}, not a column of texts")
    raw = dataset[...]
    return raw if raw.dtype.kind == "S" else np.array(raw.tolist() or [b""], dtype="S")[: len(raw)]


def is_partition(offsets: np.ndarray, total: int) -> bool:
    """Whether the offsets run from 0 to `total` and give every item something."""
    return bool(
        offsets.ndim == 1 and len(offsets) and offsets[0] == 0 and offsets[-1] == total and (np.diff(offsets) > 0).all()
    )


def shots_of(file: Any, shown: str) -> dict[str, Shot]:
    if "shots" not in file:
        return {}
    group = file["shots"]
    ids, videos = Ids(ids_of(group, shown)), list(Ids(ids_of(group, shown, "videos")))
    rows, starts, ends = (column(group, name)[...].tolist() for name in ("video", "start", "end"))
    if not len(ids) == len(rows) == len(starts) == len(ends) or (
        rows and not 0 <= min(rows) <= max(rows) < len(videos)
    ):
        raise FormatError(shown, "its columns of shots do not fit together")
    return {id: Shot(id, videos[row], start, end) for id, row, start, end in zip(ids, rows, starts, ends, strict=True)}


def pictures_of(file: Any, shown: str) -> tuple[np.ndarray, np.ndarray]:
    """The ids (raw) and the offsets of the thumbnails."""
    if "thumbnails" not in file:
        return np.empty(0, "S1"), np.zeros(1, np.int64)
    group = file["thumbnails"]
    ids, offsets, jpeg = ids_of(group, shown), column(group, "offsets")[...], column(group, "jpeg")
    if jpeg.ndim != 1 or offsets.shape != (len(ids) + 1,) or not is_partition(offsets, len(jpeg)):
        raise FormatError(shown, "its thumbnails' offsets do not fit their ids and bytes")
    return ids, offsets


@contextmanager
def created(path: Path) -> Iterator[Any]:
    """A new file of our format. The oldest object headers are the ones without time stamps."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_alignment(1 << 16, 1 << 12)
    access.set_sieve_buf_size(0)  # values go to the disk, or fail to, when they are written, not when HDF5 likes
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
    """Close a file that takes no more bytes. HDF5 would try to write the rest as often as it can, and crash at exit."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)
    with contextlib.suppress(OSError, RuntimeError):
        file.close()


def array(group: Any, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """A contiguous dataset that has its place in the file at once, so that the order of writing leaves no trace."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return group.create_dataset(name, shape=shape, dtype=dtype, dcpl=properties, track_times=False)


def write_ids(group: Any, name: str, texts: Sequence[str]) -> None:
    raw = np.array([text.encode() for text in texts] or [b""], dtype="S")[: len(texts)]
    kind = h5py.string_dtype("utf-8", raw.dtype.itemsize)
    array(group, name, (len(texts),), kind)[...] = raw.astype(kind)


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


def write_pictures(file: Any, ids: Sequence[str], lengths: Sequence[int]) -> Any:
    """The group of thumbnails, and room for their bytes; None when there are none."""
    if not ids:
        return None
    group = file.create_group("thumbnails")
    write_ids(group, "ids", ids)
    array(group, "offsets", (len(ids) + 1,), np.int64)[...] = np.concatenate([[0], np.cumsum(lengths)])
    return array(group, "jpeg", (sum(lengths),), np.uint8)
