"""BigFile folders, the feature format of RUC's tools, and files of word vectors.

feature.bin        rows of float32, little endian, no header
shape.txt          "rows dimensions"
id.txt             one id per row, separated by line breaks or by single spaces
video2frames.txt   frame-level features only: {'video': ['video_0', 'video_1', …], …}, the rows of each video
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from avs_cli.errors import FormatError
from avs_cli.io.arrays import Imported, framed, imported
from avs_cli.io.atomic import replacing, writing
from avs_cli.io.pipe import read_text, regular
from avs_cli.types import Block, WordVectors

_FRAMES = "video2frames.txt"
_STRING = re.compile(r"""u?"((?:[^"\\]|\\.)*)"|u?'((?:[^'\\]|\\.)*)'""")


class BigFile:
    """A folder opened for reading.

    ids      one per row
    vectors  (N, D) float32, memory-mapped
    """

    def __init__(self, folder: str | Path):
        """Raises FormatError when its three files are inconsistent or empty."""
        folder = Path(folder)
        for name in ("shape.txt", "feature.bin", "id.txt"):
            regular(folder / name)
        shape = read_text(folder / "shape.txt").split()
        if len(shape) != 2 or not all(re.fullmatch("[0-9]{1,15}", number) for number in shape):
            raise FormatError(folder / "shape.txt", "not two numbers: rows and dimensions", 1)
        rows, dim = map(int, shape)
        if not rows or not dim:
            raise FormatError(folder / "shape.txt", f"no vectors: {rows} rows of {dim} dimensions", 1)
        held = (folder / "feature.bin").stat().st_size
        if held != rows * dim * 4:
            raise FormatError(
                folder / "feature.bin", f"{held} bytes, but {rows} x {dim} float32 values need {rows * dim * 4}"
            )
        text = read_text(folder / "id.txt").strip()
        self.ids = [line.rstrip("\r") for line in text.split("\n")] if text else []
        if len(self.ids) != rows:
            self.ids = text.split(" ")
        if len(self.ids) != rows:
            raise FormatError(folder / "id.txt", f"{len(self.ids)} ids, but shape.txt has {rows} rows")
        self.vectors: np.ndarray = np.memmap(folder / "feature.bin", "<f4", "r", shape=(rows, dim))


def is_bigfile(folder: str | Path) -> bool:
    """Whether a folder has the files of a BigFile."""
    return all((Path(folder) / name).is_file() for name in ("feature.bin", "shape.txt", "id.txt"))


def read_bigfile(folder: str | Path, frames: bool) -> Imported:
    """The items of a folder: the videos of video2frames.txt if there is one, else its rows.

    frames  whether rows are frames named <item>_<number>

    Raises FormatError for a duplicate id.
    """
    big = BigFile(folder)
    known = regular(Path(folder) / _FRAMES)
    if not known.exists():
        return (framed if frames else imported)(Path(folder) / "id.txt", big.ids, big.vectors)
    place = {id: row for row, id in enumerate(big.ids)}
    rows, videos = [], _videos(known)
    for video, names in videos.items():
        for name in names:
            if name not in place:
                raise FormatError(known, f"frame {name!r} of {video!r} is missing from id.txt or duplicated")
            rows.append(place.pop(name))
    if place or len(rows) != len(big.ids):
        raise FormatError(known, f"{len(big.ids) - len(rows)} rows of id.txt belong to no video")
    return Imported([*videos], big.vectors, np.cumsum([0, *map(len, videos.values())]), np.array(rows, np.int64))


def _videos(path: Path) -> dict[str, list[str]]:
    """The frames of each video; the file is JSON or the repr of a Python dict."""
    text = read_text(path)
    try:
        try:
            found = json.loads(text)
        except ValueError:
            plain = lambda string: json.dumps(re.sub(r"\\(.)", r"\1", string[1] or string[2] or ""))  # noqa: E731
            found = json.loads(_STRING.sub(plain, text))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(names, list) and names and all(isinstance(name, str) for name in names) for names in found.values()
    ):
        raise FormatError(path, "not a dict of videos and their frames: {'video': ['video_0', …], …}")
    return found


def write_bigfile(folder: str | Path, dim: int, blocks: Iterable[Block]) -> None:
    """Write blocks of vectors as a folder, with one id per line.

    Frames are named <id>_0, <id>_1, … as in RUC's tools, and listed by item in video2frames.txt.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # shape.txt is written last: without it, the folder is not taken for a BigFile.
    (folder / "shape.txt").unlink(missing_ok=True)
    ids: list[str] = []
    videos: dict[str, list[str]] = {}
    with replacing(folder / "feature.bin") as part, part.open("wb") as out:
        for block in blocks:
            if block.offsets is not None:
                ends = zip(block.ids, np.diff(block.offsets).tolist(), strict=True)
                videos |= {id: [f"{id}_{k}" for k in range(length)] for id, length in ends}
                ids += [frame for id in block.ids for frame in videos[id]]
            else:
                ids += block.ids
            out.write(np.ascontiguousarray(block.vectors, "<f4").tobytes())
    with writing(folder / "id.txt") as text:
        text.write("\n".join(ids) + "\n" * bool(ids))
    if videos:
        with writing(folder / _FRAMES) as text:
            lines = (f"{json.dumps(id, ensure_ascii=False)}: {_listed(names)}" for id, names in videos.items())
            text.write("{" + ",\n".join(lines) + "}\n")
    else:
        (folder / _FRAMES).unlink(missing_ok=True)
    with writing(folder / "shape.txt") as text:
        text.write(f"{len(ids)} {dim}")


def _listed(names: list[str]) -> str:
    return json.dumps(names, ensure_ascii=False)


def read_word_vectors(path: str) -> WordVectors:
    """Word vectors of a BigFile folder, or of a text file of lines `word number number …`.

    Of repeated words, the first is used. Lines with NaN are skipped, and so is the first line of word2vec's text
    format, which has two counts. Raises FormatError for a line of another length.
    """
    if Path(path).is_dir():
        big = BigFile(path)
        return WordVectors({word: row for row, word in reversed(list(enumerate(big.ids)))}, big.vectors)
    rows: dict[str, int] = {}
    seen: set[str] = set()
    vectors: list[np.ndarray] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        word, *texts = line.split()[:1] + line.split()[1:] or [""]
        if not word or word in seen or (number == 1 and len(texts) == 1 and word.isdigit()):
            continue
        seen.add(word)
        try:
            vector = np.array(texts, np.float32)
        except ValueError:
            raise FormatError(path, f"{word!r} is followed by something other than numbers", number) from None
        if vectors and len(vector) != len(vectors[0]):
            raise FormatError(path, f"{len(vector)} dimensions for {word!r}, but {len(vectors[0])} before", number)
        if len(vector) and not np.isnan(vector).any():
            rows[word] = len(vectors)
            vectors.append(vector)
    if not vectors:
        raise FormatError(path, "contains no word vectors")
    return WordVectors(rows, np.array(vectors))
