"""Validation of a feature store when it is opened, before its data is read.

Datasets must be in the file itself (hard links; not external or virtual) and have the type, rank and length of the
schema in `reader.py`. Their size must be plausible for the data that the file stores.
"""

import math
from typing import Any, NamedTuple

import h5py
import numpy as np

from avs_cli.errors import FormatError
from avs_cli.io.mapped import Column
from avs_cli.io.texts import twin

RESERVED = ("files", "shots", "thumbnails")
# Limits of a store. A file beyond them is damaged, or made to exhaust the memory of its reader.
ID_BYTES = 255
PATH_BYTES = 4096
LARGEST_DIM = 1 << 20
# Limits of the size of a dataset: in bytes, and beyond that as a multiple of its stored (compressed) size.
FREE, EXPANSION = 1 << 20, 256
# Limit of a piece of text, in bytes.
TEXT_BYTES = 1 << 16
# The format of a feature of texts, as its group says, and one row of its `pieces`: `bytes` is the length of the text.
TEXTS, TEXTS_VERSION = "avs-texts", 1
PIECES = np.dtype([("start", "<f8"), ("end", "<f8"), ("box", "<f4", (4,)), ("confidence", "<f4"), ("bytes", "<u4")])
# Number of variable-length strings that are read at a time.
PIECE = 4096
# Number of ids that are checked at a time.
WORDS = 1 << 16


class DatasetType(NamedTuple):
    """The type that a dataset must have.

    what   description, for messages
    kinds  allowed kinds of numpy types; "S" for strings
    rank   number of dimensions
    width  maximum size of a string or a number, in bytes
    """

    what: str
    kinds: str
    rank: int = 1
    width: int = 8


IDS = DatasetType("a column of texts", "S", width=ID_BYTES)
PATHS = DatasetType("a column of texts", "S", width=PATH_BYTES)
INTEGERS = DatasetType("a column of integers", "iu")
SECONDS = DatasetType("a column of numbers", "fiu")
BYTES = DatasetType("a column of bytes", "u", width=1)
VECTORS = DatasetType("(M, D) of float16 or float32", "f", rank=2, width=4)
ROWS = DatasetType("a column of (start, end, box, confidence, bytes)", "V", width=PIECES.itemsize)
SHOTS = {"ids": IDS, "video": INTEGERS, "start": SECONDS, "end": SECONDS, "videos": PATHS}
THUMBNAILS = {"ids": IDS, "offsets": INTEGERS, "jpeg": BYTES}
FILES = {"paths": PATHS, "names": IDS, "size": INTEGERS, "modified": INTEGERS, "digest": IDS, "offsets": INTEGERS}
FILES |= {"start": SECONDS, "end": SECONDS}
# The groups beside features, and their columns that have a length of their own.
BESIDE = (("shots", SHOTS, {"videos"}), ("thumbnails", THUMBNAILS, {"jpeg"}), ("files", FILES, {"start", "end"}))


def features_in(file: Any, shown: str) -> list[str]:
    """The names of the features, sorted. Raises FormatError for a link, and for a name that is not UTF-8."""
    for name in file:
        # h5py returns bytes for a name that is not UTF-8.
        if not isinstance(name, str):
            raise FormatError(shown, f"the name of a part, {name!r:.60}, is not UTF-8")
        _own(file, name, shown)
    return sorted(name for name in file if name not in RESERVED)


def is_of_texts(group: Any) -> bool:
    """Whether the items of a feature are texts, rather than vectors."""
    return "format" in group.attrs


def check(file: Any, feature: str, shown: str) -> None:
    """Raises FormatError unless a feature and the groups beside the features follow the schema."""
    group, where = part(file, feature, shown), f"{shown}::{feature}"
    ids = column(group, "ids", IDS, where)
    items = _items_of_texts(group, where) if is_of_texts(group) else _items_of_vectors(group, where)
    if len(ids) != items:
        raise FormatError(where, f"{len(ids)} ids for {items} items")
    _check_beside(file, shown)


def _items_of_vectors(group: Any, where: str) -> int:
    """The number of items of a feature of vectors. Raises FormatError unless it follows the schema."""
    vectors = column(group, "vectors", VECTORS, where)
    # Vectors are read directly from the file, so they must have the native type.
    own = vectors.dtype.isnative and vectors.id.get_type() == h5py.h5t.py_create(vectors.dtype)
    if not own or not 0 < vectors.shape[1] <= LARGEST_DIM:
        raise FormatError(where, f"vectors are {vectors.shape} {vectors.dtype}, not {VECTORS.what}")
    if vectors.size and vectors.id.get_offset() is None:
        raise FormatError(where, "vectors are not contiguous; h5repack -l CONTI makes them so")
    if holds(group, "offsets"):
        return len(column(group, "offsets", INTEGERS, where)) - 1
    return len(vectors)


def _items_of_texts(group: Any, where: str) -> int:
    """The number of items of a feature of texts. Raises FormatError unless it follows the schema."""
    found, version = group.attrs["format"], group.attrs.get("format_version")
    if not isinstance(found, str) or found != TEXTS:
        raise FormatError(where, f"a feature of an unknown format ({found!r:.40}, not {TEXTS!r})")
    if not isinstance(version, np.integer) or version != TEXTS_VERSION:
        raise FormatError(where, f"texts of version {version!s:.40}; this version of avs reads version {TEXTS_VERSION}")
    pieces = column(group, "pieces", ROWS, where)
    if pieces.dtype != PIECES:
        raise FormatError(where, f"pieces are {pieces.dtype}, not {ROWS.what}")
    column(group, "text", BYTES, where)
    return len(column(group, "offsets", INTEGERS, where)) - 1


def _check_beside(file: Any, shown: str) -> None:
    """Raises FormatError unless the groups beside the features follow the schema."""
    for name, columns, apart in BESIDE:
        if not holds(file, name):
            continue
        where, beside = f"{shown}::{name}", part(file, name, shown)
        length = {key: len(column(beside, key, wanted, where)) for key, wanted in columns.items()}
        rows = {length[key] - (key == "offsets") for key in length if key not in apart}
        if len(rows) > 1:
            raise FormatError(where, f"columns are incompatible: {', '.join(f'{n} {k}' for k, n in length.items())}")


def holds(group: Any, name: str) -> bool:
    """Whether a group has an entry of this name; unlike `in`, it does not follow links."""
    return bool(group.id.links.exists(name.encode()))


def part(file: Any, name: str, shown: str) -> Any:
    """A group of the file. Raises KeyError if there is none."""
    found = _own(file, name, shown)
    if not isinstance(found, h5py.Group):
        raise KeyError(f"{name} is not a group")
    return found


def column(group: Any, name: str, wanted: DatasetType, where: str) -> Any:
    """A dataset, checked without reading its data. Raises KeyError if there is none."""
    found = _own(group, name, where)
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"no dataset {name!r}")
    # Even the shape of a virtual dataset may depend on another file.
    if found.is_virtual or found.external:
        raise FormatError(where, f"{name} are in another file; use h5repack to copy them into the store")
    text = h5py.check_string_dtype(found.dtype)
    kind, width = ("S", text.length or 0) if text else (found.dtype.kind, found.dtype.itemsize)
    if text and width > wanted.width and kind in wanted.kinds:
        raise FormatError(where, f"{name} are texts of {width} bytes; the maximum is {wanted.width}")
    if found.shape is None or len(found.shape) != wanted.rank or kind not in wanted.kinds or width > wanted.width:
        raise FormatError(where, f"{name} are {found.shape} {found.dtype}, not {wanted.what}")
    stored = found.id.get_storage_size()
    # A chunk is decompressed as a whole, even if the dataset covers little of it.
    claimed = max(math.prod(found.shape), math.prod(found.chunks or (0,))) * found.dtype.itemsize
    if stored > found.file.id.get_filesize() or claimed > FREE + EXPANSION * stored:
        raise FormatError(where, f"{name} claim {claimed} bytes, and the file holds {stored} of them: damaged")
    return found


def texts(dataset: Any, wanted: DatasetType, where: str) -> np.ndarray:
    """A column of strings as NUL-padded bytes; variable-length strings of other programs are converted."""
    if dataset.dtype.kind == "S":
        return np.asarray(dataset[...])
    found: list[bytes] = []
    for low in range(0, len(dataset), PIECE):
        found += dataset[low : low + PIECE].tolist()
        longest = max(map(len, found[low:]))
        # All are padded to the longest.
        if longest > wanted.width:
            raise FormatError(where, f"{dataset.name[1:]}: a text of {longest} bytes; the maximum is {wanted.width}")
    return np.array(found or [b""], dtype="S")[: len(found)]


def check_ids(raw: Column, where: str) -> None:
    """Raises FormatError for a duplicate id, and for one that is empty, not UTF-8, or has white space or NUL."""
    if not _are_words(raw):
        pieces = (raw[low : low + WORDS].tolist() for low in range(0, len(raw), WORDS))
        wrong = next(id for piece in pieces for id in piece if not _are_words(np.array([id])))
        raise FormatError(where, f"{wrong!r} is not an id: 1 to {ID_BYTES} bytes of UTF-8 without white space")
    if found := twin([raw]):
        raise FormatError(where, f"duplicate id {found[0].decode()!r}")


def _are_words(raw: Column) -> bool:
    """Whether each string is one word."""
    return all(_piece_of_words(np.asarray(raw[low : low + WORDS])) for low in range(0, len(raw), WORDS))


def _piece_of_words(raw: np.ndarray) -> bool:
    codes = np.ascontiguousarray(raw).view(np.uint8).reshape(len(raw), raw.dtype.itemsize)
    if codes[:, 0].min() == 0 or ((codes[:, :-1] == 0) & (codes[:, 1:] != 0)).any():
        return False
    # In ASCII, white space is at most 32; the padding 0 becomes 255 here.
    if codes.max() < 128 and (codes - np.uint8(1)).min() >= 32:
        return True
    try:
        joined = b"\n".join(raw.tolist()).decode()
    except UnicodeDecodeError:
        return False
    return joined.count("\n") == len(raw) - 1 and joined.split() == joined.split("\n")


def _own(group: Any, name: str, where: str) -> Any:
    """An entry of a group. Raises FormatError for a link, which may lead to another file or a pipe."""
    if not holds(group, name):
        raise KeyError(f"no {name!r}")
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise FormatError(where, f"{name} is a link; a feature store must contain its data itself (h5copy -f soft,ext)")
    return group[name]
