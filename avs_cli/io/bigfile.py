"""BigFile folders, in which the published tools keep features, and files of word vectors.

feature.bin  rows of float32, little endian, no header
shape.txt    "rows numbers-per-row"
id.txt       an id per row, separated by line breaks or by single spaces
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from avs_cli.errors import FormatError
from avs_cli.io.atomic import replacing, writing
from avs_cli.io.pipe import read_text
from avs_cli.types import WordVectors


class BigFile:
    """A folder open for reading.

    ids      one per row
    vectors  (N, D) float32, mapped from the file
    """

    def __init__(self, folder: str | Path):
        """Raises FormatError when its three files do not agree."""
        folder = Path(folder)
        shape = (folder / "shape.txt").read_text(encoding="utf-8").split()
        if len(shape) != 2 or not all(number.isdigit() for number in shape):
            raise FormatError(folder / "shape.txt", "not two numbers, rows and numbers per row", 1)
        rows, dim = map(int, shape)
        text = (folder / "id.txt").read_text(encoding="utf-8").strip()
        self.ids = text.split("\n") if text else []
        if len(self.ids) != rows:
            self.ids = text.split(" ")
        if len(self.ids) != rows:
            raise FormatError(folder / "id.txt", f"{len(self.ids)} ids, and shape.txt says {rows}")
        held = (folder / "feature.bin").stat().st_size
        if held != rows * dim * 4:
            raise FormatError(folder / "feature.bin", f"{held} bytes, and {rows} x {dim} float32 are {rows * dim * 4}")
        empty = np.empty((rows, dim), "<f4")
        self.vectors: np.ndarray = (
            np.memmap(folder / "feature.bin", "<f4", "r", shape=(rows, dim)) if rows * dim else empty
        )


def is_bigfile(folder: str | Path) -> bool:
    """Whether a folder holds what a BigFile has."""
    return all((Path(folder) / name).is_file() for name in ("feature.bin", "shape.txt", "id.txt"))


def write_bigfile(folder: str | Path, dim: int, blocks: Iterable[tuple[Sequence[str], np.ndarray]]) -> None:
    """Write blocks of ids and their (N, dim) vectors as a folder, an id per line."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ids: list[str] = []
    with replacing(folder / "feature.bin") as part, part.open("wb") as out:
        for some, vectors in blocks:
            ids += some
            out.write(np.ascontiguousarray(vectors, "<f4").tobytes())
    with writing(folder / "id.txt") as text:
        text.write("\n".join(ids) + "\n" * bool(ids))
    with writing(folder / "shape.txt") as text:
        text.write(f"{len(ids)} {dim}")


def read_word_vectors(path: str) -> WordVectors:
    """Word vectors of a BigFile folder, or of a text file of lines `word number number …`.

    The first line of a word counts. A line with NaN is left out, as is the line with the two counts that word2vec's own
    text format begins with. Raises FormatError for a line of another length.
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
            raise FormatError(path, f"{word!r} is followed by something that is no number", number) from None
        if vectors and len(vector) != len(vectors[0]):
            raise FormatError(path, f"{len(vector)} numbers for {word!r}, and {len(vectors[0])} before", number)
        if len(vector) and not np.isnan(vector).any():
            rows[word] = len(vectors)
            vectors.append(vector)
    if not vectors:
        raise FormatError(path, "no word vectors in it")
    return WordVectors(rows, np.array(vectors))
