"""Vectors in NumPy files with their ids: single .npy files, and the folders of clip-retrieval.

x.npy, x.ids.txt   (M, D) floats, and one id per row, one per line; adjacent rows with the same id are frames
FOLDER             img_emb/img_emb_0.npy …, and metadata/metadata_0.parquet …; the column image_path names the rows

Pickles are never loaded: arrays of Python objects are rejected.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple

import numpy as np

from avs_cli.errors import FormatError, UnavailableError
from avs_cli.io.atomic import replacing, writing
from avs_cli.io.pipe import read_text, regular
from avs_cli.types import Block

_PICTURE = re.compile(r"\.(bmp|jpe?g|png|tiff?|webp)$", re.IGNORECASE)
_FRAME = re.compile(r"(.+)_([0-9]+)")


class Imported(NamedTuple):
    """Items read from the files of another tool.

    vectors  (M, D), memory-mapped
    offsets  (N+1,) when items own several rows: item i owns vectors[order[offsets[i]:offsets[i+1]]]; None: N = M
    order    the rows in the order of the items; None: file order
    """

    ids: Sequence[str]
    vectors: Any
    offsets: np.ndarray | None = None
    order: np.ndarray | None = None

    def blocks(self, rows: int) -> Iterator[Block]:
        """The items in blocks of about `rows` rows."""
        offsets = np.arange(len(self.ids) + 1) if self.offsets is None else self.offsets
        low = 0
        while low < len(self.ids):
            high = max(low + 1, int(np.searchsorted(offsets, offsets[low] + rows, "right")) - 1)
            span = slice(int(offsets[low]), int(offsets[high]))
            some = self.vectors[span if self.order is None else self.order[span]]
            yield Block(
                self.ids[low:high], some, None if self.offsets is None else offsets[low : high + 1] - span.start
            )
            low = high


class _Stacked:
    """Concatenation of arrays with equal row shapes, read in slices."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        self.arrays, self.dtype = arrays, arrays[0].dtype
        self.starts = np.cumsum([0, *map(len, arrays)])
        self.shape = (int(self.starts[-1]), arrays[0].shape[1])

    def __getitem__(self, rows: slice) -> np.ndarray:
        parts = zip(self.starts.tolist(), self.arrays, strict=False)
        return np.concatenate([a[max(0, rows.start - low) : max(0, rows.stop - low)] for low, a in parts])


def imported(path: Path, ids: Sequence[str], vectors: Any) -> Imported:
    """Items with one row each. Raises FormatError for a duplicate id, with its line in `path`."""
    seen: set[str] = set()
    for line, id in enumerate(ids, start=1):
        if id in seen:
            raise FormatError(path, f"duplicate id {id!r}", line)
        seen.add(id)
    return Imported(ids, vectors)


def framed(path: Path, ids: Sequence[str], vectors: Any) -> Imported:
    """Items whose rows are frames named <item>_<number>, in order of the numbers.

    Raises FormatError for an id of another form and for a duplicate id.
    """
    imported(path, ids, vectors)
    frames: dict[str, list[tuple[int, int]]] = {}
    for row, id in enumerate(ids):
        match = _FRAME.fullmatch(id)
        if not match:
            raise FormatError(path, f"{id!r} is not a frame name, <item>_<number>", row + 1)
        frames.setdefault(match[1], []).append((int(match[2][-18:]), row))
    order = [row for rows in frames.values() for _, row in sorted(rows)]
    ends = np.cumsum([0, *map(len, frames.values())])
    return Imported([*frames], vectors, ends, np.array(order, np.int64))


def rows_of(block: Block) -> Iterator[tuple[str, np.ndarray]]:
    """Each item of a block with its vectors."""
    offsets = np.arange(len(block.ids) + 1) if block.offsets is None else block.offsets
    for id, low, high in zip(block.ids, offsets.tolist(), offsets[1:].tolist(), strict=False):
        yield id, block.vectors[low:high]


def look_like_frames(ids: Sequence[str]) -> bool:
    """Whether all ids are <item>_0, <item>_1, …: each item has a frame 0, and at least one has more."""
    matches = [_FRAME.fullmatch(id) for id in ids]
    items = {match[1] for match in matches if match}
    firsts = {match[1] for match in matches if match and not match[2].strip("0")}
    return all(matches) and items == firsts and len(items) < len(ids)


def read_npy(path: str | Path, frames: bool) -> Imported:
    """The items of an array and of its file of ids.

    frames  whether rows are frames named <item>_<number>

    Raises FormatError when the array and the ids do not match.
    """
    vectors, names = _array(Path(path)), _ids_path(Path(path))
    if not regular(names).exists():
        raise FormatError(path, f"its rows have no ids; write them, a line each, into {names.name} beside it")
    ids = [line.strip() for line in read_text(names).rstrip("\n").split("\n")]
    if len(ids) != len(vectors):
        raise FormatError(names, f"{len(ids)} ids, and {path} has {len(vectors)} rows")
    if frames:
        return framed(names, ids, vectors)
    starts = [row for row, id in enumerate(ids) if not row or id != ids[row - 1]]
    items = imported(names, [ids[row] for row in starts], vectors)
    return items if len(starts) == len(ids) else items._replace(offsets=np.array([*starts, len(ids)], np.int64))


def write_npy(path: str | Path, shape: tuple[int, int], dtype: np.dtype, blocks: Iterable[Block]) -> None:
    """Write (M, D) vectors and their file of ids, one per row; the frames of a shot share its id."""
    path = Path(path)
    ids: list[str] = []
    with replacing(path) as part:
        for block in _written(part, shape, dtype, blocks):
            lengths = np.ones(len(block.ids), np.int64) if block.offsets is None else np.diff(block.offsets)
            ids += np.repeat(np.array(block.ids, object), lengths).tolist()
        # A crash must not leave new ids beside an old array.
        path.unlink(missing_ok=True)
        with writing(_ids_path(path)) as text:
            text.writelines(f"{id}\n" for id in ids)


def _written(path: Path, shape: tuple[int, int], dtype: np.dtype, blocks: Iterable[Block]) -> Iterator[Block]:
    """Write (M, D) vectors and yield each block. A memory map would crash with SIGBUS on a full disk."""
    with path.open("wb") as out:
        told = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, told)
        for block in blocks:
            out.write(np.ascontiguousarray(block.vectors, dtype).tobytes())
            yield block


def is_clip_retrieval(folder: str | Path) -> bool:
    """Whether a folder has the layout of `clip-retrieval inference`."""
    return (Path(folder) / "img_emb").is_dir() and (Path(folder) / "metadata").is_dir()


def read_clip_retrieval(folder: str | Path) -> Imported:
    """The rows of all partitions, named after their images as in `avs extract`.

    Raises FormatError, and UnavailableError if pyarrow is not installed.
    """
    found = sorted((int(match[1]), path) for path in Path(folder).glob("img_emb/*") if (match := _part_of(path)))
    if not found:
        raise FormatError(folder, "contains no img_emb/img_emb_0.npy")
    arrays: list[np.ndarray] = []
    ids: list[str] = []
    for _, path in found:
        metadata = Path(folder) / "metadata" / f"metadata_{path.stem.removeprefix('img_emb_')}.parquet"
        array, names = _array(path), _image_paths(metadata)
        if len(names) != len(array):
            raise FormatError(metadata, f"{len(names)} rows, and {path.name} has {len(array)}")
        if arrays and (array.shape[1:], array.dtype) != (arrays[0].shape[1:], arrays[0].dtype):
            raise FormatError(path, f"rows of {array.shape[1]} {array.dtype}; {found[0][1].name} has others")
        arrays.append(array)
        ids += names
    if all(_PICTURE.search(id) for id in ids):
        from avs_cli.io.text.shots import video_names

        ids = video_names([Path(id) for id in ids])
    return imported(Path(folder) / "metadata", ids, _Stacked(arrays))


def write_clip_retrieval(folder: str | Path, shape: tuple[int, int], dtype: np.dtype, blocks: Iterable[Block]) -> None:
    """Write vectors as a clip-retrieval folder with one partition.

    Raises FormatError if the folder has other partitions, UnavailableError if pyarrow is not installed.
    """
    parquet, arrow = _parquet()
    for path in Path(folder).glob("img_emb/*"):
        if path.name != "img_emb_0.npy":
            raise FormatError(path, "this folder already contains a partition; write to a new folder")
    for name in ("img_emb", "metadata"):
        (Path(folder) / name).mkdir(parents=True, exist_ok=True)
    ids: list[str] = []
    target = Path(folder) / "img_emb" / "img_emb_0.npy"
    with replacing(target) as part:
        for block in _written(part, shape, dtype, blocks):
            ids += block.ids
        target.unlink(missing_ok=True)
        with replacing(Path(folder) / "metadata" / "metadata_0.parquet") as rows:
            parquet.write_table(arrow.table({"image_path": ids}), rows)


def _part_of(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"img_emb_([0-9]{1,9})\.npy", path.name)


def _ids_path(path: Path) -> Path:
    return path.with_suffix(".ids.txt")


def _array(path: Path) -> np.ndarray:
    """(M, D) floats, memory-mapped from an .npy file. Raises FormatError for any other content."""
    try:
        with regular(path).open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # numpy warns about files written by Python 2
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_column, dtype = read(file)
            start = file.tell()
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(path, f"not an array of numbers ({what[:80]})") from None
    if dtype.hasobject:
        raise FormatError(path, "an array of Python objects, which is a pickle and may execute code; not supported")
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise FormatError(path, f"numbers of type {dtype}, not float16, float32 or float64")
    if len(shape) != 2 or not all(size > 0 for size in shape):
        raise FormatError(path, f"an array of shape {shape}, not (rows, dimensions)")
    wanted, held = shape[0] * shape[1] * dtype.itemsize, path.stat().st_size - start
    if held != wanted:
        raise FormatError(path, f"{held} bytes of numbers, and {shape[0]} x {shape[1]} of {dtype} are {wanted}")
    return np.memmap(path, dtype, "r", start, shape, "F" if by_column else "C")


def _image_paths(path: Path) -> list[str]:
    parquet, arrow = _parquet()
    try:
        column: list[Any] = parquet.read_table(regular(path), columns=["image_path"]).column(0).to_pylist()
    except (arrow.ArrowException, OSError, ValueError, IndexError) as error:
        if isinstance(error, FileNotFoundError):
            raise FormatError(path, "no such file; each img_emb_N.npy needs its metadata_N.parquet") from None
        raise FormatError(
            path, f"no parquet file with a column image_path ({str(error).splitlines()[0][:80]})"
        ) from None
    if not all(isinstance(value, str) for value in column):
        raise FormatError(path, "image_path contains values that are not strings")
    return column


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UnavailableError("clip-retrieval's metadata is parquet: pip install 'avs-cli[parquet]'") from None
    return parquet, pyarrow
