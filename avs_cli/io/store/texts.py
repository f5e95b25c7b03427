"""Features of texts in a store: per item its pieces of text, each with its times and its place on the picture.

    <feature>                   e.g. subtitles, ocr, asr    @provenance JSON   @format "avs-texts"   @format_version 1
    ├── ids      (N,)    utf-8
    ├── offsets  (N+1,)  int64  item i owns pieces[offsets[i]:offsets[i+1]], perhaps none
    ├── pieces   (P,)           start and end (float64, seconds in the video), box (4 × float32: left, top, right and
    │                           bottom, as fractions of the picture; NaN: nowhere), confidence (float32; NaN: unknown),
    │                           bytes (uint32: the length of the text)
    └── text     (B,)    uint8  the UTF-8 of all pieces, one after the other

An item without words has no pieces, which is known; an item that is not in the feature was not read.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avs_cli.errors import FormatError, MismatchError
from avs_cli.io.resource import Resource
from avs_cli.io.store.checked import PIECES, TEXT_BYTES, is_of_texts, part
from avs_cli.io.store.compatibility import Comparison
from avs_cli.io.store.reader import Store, StoredFeature, check_union, chosen, features
from avs_cli.io.store.schema import Ids, TextLayout, offsets_of, opened, structure
from avs_cli.types import Piece, Shot

# Items whose pieces are read at a time.
ITEMS = 1 << 12

Pieces = tuple[Piece, ...]
"""What an item has, in the order in which it is read."""


class TextStore(StoredFeature):
    """One feature of texts in one file, open for reading; a context manager."""

    layout = TextLayout()

    def _load(self, group: Any) -> None:
        if not is_of_texts(group):
            raise MismatchError(f"{self._name} has vectors, and texts are needed here")
        self._pieces, self._text = group["pieces"], group["text"]
        self._offsets = offsets_of(group, len(self._pieces), self._name, "pieces", self._map, least=0)

    @property
    def offsets(self) -> np.ndarray:
        """(N+1,) int64: item i has the pieces from offsets[i] to before offsets[i+1]."""
        return np.asarray(self._offsets)

    @property
    def pieces(self) -> int:
        """Number of pieces of all items."""
        return len(self._pieces)

    @property
    def size(self) -> int:
        """Bytes of text."""
        return len(self._text)

    @cached_property
    def _places(self) -> np.ndarray:
        """(N+1,) int64: the text of item i is the bytes from places[i] to before places[i+1]."""
        return np.asarray(self.spans[1])

    def items(self) -> Iterator[tuple[str, Pieces]]:
        """The ids and pieces of all items, in order. Raises FormatError with the first item that is damaged."""
        for low in range(0, len(self), ITEMS):
            high = min(low + ITEMS, len(self))
            yield from zip(Ids(self._ids[low:high]), self._between(low, high), strict=True)

    def read(self, ids: Sequence[str]) -> list[Pieces]:
        """The pieces of these items. Raises MismatchError for a missing id."""
        places = self.positions(ids)
        if (places < 0).any():
            raise MismatchError(f"{self._name} has no item {ids[int((places < 0).argmax())]!r}")
        return [self._between(place, place + 1)[0] for place in places.tolist()]

    def _between(self, first: int, last: int) -> list[Pieces]:
        """The pieces of the items from `first` to before `last`."""
        offsets = np.asarray(self._offsets[first : last + 1])
        low, places = int(offsets[0]), self._places
        with structure(self.path):
            rows = self._pieces[low : int(offsets[-1])]
            text = self._text[places[first] : places[last]].tobytes()
        if (wrong := _wrong(rows)).any():
            raise self._damaged(low + int(wrong.argmax()), "a time, box, confidence or length is out of range")
        ends = np.cumsum(rows["bytes"], dtype=np.int64).tolist()
        columns = (rows[name].tolist() for name in ("start", "end", "box", "confidence"))
        found: list[Piece] = []
        begin = 0
        for stop, start, end, box, sure in zip(ends, *columns, strict=True):
            try:
                words = text[begin:stop].decode()
            except UnicodeDecodeError:
                raise self._damaged(low + len(found), "a text is not UTF-8") from None
            # NaN is not equal to itself.
            where = tuple(box) if box[0] == box[0] else None
            found.append(Piece(words, start, end, where, sure if sure == sure else None))
            begin = stop
        bounds = (offsets - low).tolist()
        return [tuple(found[begin:end]) for begin, end in pairwise(bounds)]

    def _damaged(self, piece: int, what: str) -> FormatError:
        item = int(np.searchsorted(self.offsets, piece, side="right")) - 1
        return FormatError(self._name, f"{bytes(self._ids[item]).decode()}: {what}")


class TextGallery(Resource):
    """Several stores of one feature of texts, searched as one."""

    def __init__(self, stores: Sequence[TextStore], comparison: Comparison | None = None):
        """Raises MismatchError with the first pair of incompatible stores.

        comparison  compares provenances
        """
        check_union(stores, comparison or Comparison())
        self.stores, self.feature = stores, stores[0].feature
        self._resources = ExitStack()
        for store in stores:
            self._resources.callback(store.close)

    def __len__(self) -> int:
        return sum(map(len, self.stores))

    def items(self) -> Iterator[tuple[str, Pieces]]:
        """The ids and pieces of all items, store by store."""
        for store in self.stores:
            yield from store.items()

    def some_shots(self, ids: Sequence[str]) -> dict[str, Shot]:
        """Those of these shots that are described in the files, by id."""
        return {id: shot for store in self.stores for id, shot in store.some_shots(ids).items()}

    def some_pieces(self, ids: Sequence[str]) -> dict[str, Pieces]:
        """The pieces of those of these shots that the stores have, by id."""
        found: dict[str, Pieces] = {}
        for store in self.stores:
            held = [id for id, place in zip(ids, store.positions(ids).tolist(), strict=True) if place >= 0]
            found |= dict(zip(held, store.read(held), strict=True))
        return found


def open_texts(names: Sequence[str], comparison: Comparison | None = None) -> TextGallery:
    """Open stores as one gallery of texts. Raises MismatchError unless they have one feature and different ids."""
    with ExitStack() as stack:
        parts = (name.partition("::") for name in names)
        stores = [stack.enter_context(TextStore(path, feature or None)) for path, _, feature in parts]
        gallery = TextGallery(stores, comparison)
        stack.pop_all()
        return gallery


def open_feature(path: str | Path, feature: str | None = None) -> Store | TextStore:
    """Open a feature of either kind."""
    if str(path) == "-":
        return Store(path, feature)
    name, has_texts = kind_of_feature(path, feature)
    return TextStore(path, name) if has_texts else Store(path, name)


def open_any(name: str) -> Store | TextStore:
    """Open `file.h5::feature`, or the first feature of `file.h5`: for shots and thumbnails, which are of the file."""
    path, _, feature = name.partition("::")
    return open_feature(path, feature or (None if path == "-" else next(iter(features(path)), None)))


def text_features(name: str) -> list[str]:
    """`file.h5::feature` for the features of texts in `file.h5`, or for the named one if it has texts."""
    path, _, feature = name.partition("::")
    if path == "-":
        return []
    found = [feature] if feature else features(path)
    return [f"{path}::{one}" for one in found if kind_of_feature(path, one)[1]]


def kind_of_feature(path: str | Path, feature: str | None = None) -> tuple[str, bool]:
    """The name of a feature, by default the only one, and whether it has texts, rather than vectors; checks no more."""
    with opened(Path(path), str(path)) as file, structure(str(path)):
        name = chosen(file, str(path), feature)
        return name, is_of_texts(part(file, name, str(path)))


def _wrong(rows: np.ndarray) -> np.ndarray:
    """Which of these rows have values that no piece has."""
    start, end, box, sure = (rows[name] for name in ("start", "end", "box", "confidence"))
    with np.errstate(invalid="ignore"):
        ordered = (start >= 0) & (start <= end) & np.isfinite(end)
        inside = (box >= 0).all(axis=1) & (box <= 1).all(axis=1) & (box[:, :2] <= box[:, 2:]).all(axis=1)
        probable = (sure >= 0) & (sure <= 1)
    placed = inside | np.isnan(box).all(axis=1)
    sound: np.ndarray = ordered & placed & (probable | np.isnan(sure)) & (rows["bytes"] <= TEXT_BYTES)
    return ~sound


class TextItem(NamedTuple):
    """The pieces of text of one shot, in the order in which they are read; none where there is no text.

    shot       video and time span
    thumbnail  the middle frame of the shot as JPEG
    """

    shot: Shot | None
    id: str
    pieces: Sequence[Piece]
    thumbnail: bytes | None = None


def rows_of(pieces: Sequence[Piece]) -> np.ndarray:
    """(P,) the pieces without their texts, as they are stored."""
    rows = np.zeros(len(pieces), PIECES)
    if len(pieces):
        rows["start"], rows["end"] = ([piece[column] for piece in pieces] for column in (1, 2))
        rows["bytes"] = [len(piece.text.encode()) for piece in pieces]
        rows["box"] = [(np.nan,) * 4 if piece.box is None else piece.box for piece in pieces]
        rows["confidence"] = [np.nan if piece.confidence is None else piece.confidence for piece in pieces]
    return rows


def wrong_piece(pieces: Sequence[Piece]) -> str:
    """What is wrong with the first piece that a store cannot hold; "" where it can hold all."""
    for piece in pieces:
        try:
            size = len(piece.text.encode())
        except UnicodeEncodeError:
            return f"a text has a lone surrogate: {piece.text!r:.60}"
        if size > TEXT_BYTES:
            return f"a text of {size} bytes; the maximum is {TEXT_BYTES}"
    wrong = _wrong(rows_of(pieces))
    return f"a time, box or confidence is out of range: {pieces[int(wrong.argmax())][1:]}" if wrong.any() else ""
