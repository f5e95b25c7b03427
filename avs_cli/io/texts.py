"""Millions of texts in little memory: one buffer for all, and lookups by 64-bit digests.

A dict of two million ids takes 400 MB, their texts in a buffer 50 MB and a lookup by digests 24 MB. Texts with
equal digests are compared in full.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import partial
from itertools import pairwise
from typing import TypeVar, overload

import numpy as np

from avs_cli.io.mapped import Column
from avs_cli.types import rows_of_items

_T = TypeVar("_T")

# Texts that are converted at a time.
PIECE = 1 << 14
# Digests that are compared at a time, at most.
COMPARED = 1 << 22


class PackedTexts(Sequence[str]):
    """Texts in one buffer of UTF-8, decoded on access."""

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        """data  uint8; text i is data[ends[i]:ends[i+1]]; ends (N+1,) int64"""
        self._data, self._ends = data, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "PackedTexts":
        """The same texts, packed; read once, one piece after the other."""
        packer = Packer()
        for text in texts:
            packer.add(text)
        return packer.packed()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "PackedTexts": ...
    def __getitem__(self, index: int | slice) -> "str | PackedTexts":
        if isinstance(index, slice):
            span = range(len(self))[index]
            return self.take(np.arange(span.start, span.stop, span.step))
        place = range(len(self))[index]
        return self._data[self._ends[place] : self._ends[place + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        for low in range(0, len(self), PIECE):
            ends = self._ends[low : low + PIECE + 1]
            data = self._data[ends[0] : ends[-1]].tobytes()
            local = (ends - ends[0]).tolist()
            for first, last in pairwise(local):
                yield data[first:last].decode()

    def take(self, which: np.ndarray) -> "PackedTexts":
        """The texts at these positions."""
        starts, lengths = self._ends[which], self._ends[which + 1] - self._ends[which]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        data = np.empty(int(ends[-1]), np.uint8)
        for low in range(0, len(which), PIECE):
            some = slice(low, low + PIECE)
            rows, _ = rows_of_items(starts[some], lengths[some])
            data[ends[low] : ends[low] + len(rows)] = self._data[rows]
        return PackedTexts(data, ends)

    def padded(self, low: int, high: int) -> np.ndarray:
        """Some of the texts as NUL-padded bytes; a NUL in a text, which no id has, becomes a line break."""
        ends = self._ends[low : high + 1]
        lengths = np.diff(ends)
        width = max(1, int(lengths.max(initial=0)))
        padded = np.zeros((len(lengths), width), np.uint8)
        data = self._data[ends[0] : ends[-1]]
        padded[np.arange(width) < lengths[:, None]] = np.where(data == 0, 10, data)
        return padded.reshape(-1).view(f"S{width}")

    def same(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Whether text `one[i]` equals text `other[i]` for all i."""
        for low in range(0, len(one), PIECE):
            mine, theirs = (
                (self._ends[k], self._ends[k + 1] - self._ends[k])
                for k in (one[low : low + PIECE], other[low : low + PIECE])
            )
            if (mine[1] != theirs[1]).any():
                return False
            if (self._data[rows_of_items(*mine)[0]] != self._data[rows_of_items(*theirs)[0]]).any():
                return False
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class Packer:
    """Collects texts into `PackedTexts`."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._pieces: list[np.ndarray] = [np.zeros(1, np.int64)]
        self._ends: list[int] = []

    def add(self, text: str) -> None:
        """Append a text."""
        self._data += text.encode()
        self._ends.append(len(self._data))
        if len(self._ends) == PIECE:
            self._flush()

    def packed(self) -> PackedTexts:
        """All texts so far; nothing can be added afterwards."""
        self._flush()
        return PackedTexts(np.frombuffer(self._data, np.uint8), np.concatenate(self._pieces))

    def _flush(self) -> None:
        self._pieces.append(np.array(self._ends, np.int64))
        self._ends = []


class Numbering(Set[str]):
    """Distinct texts, numbered from 0 in the order in which they are added.

    A hash table over a buffer of the texts: 60 bytes for an id of 20 characters, which takes 250 in a dict.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._ends = array("q", [0])
        self._hashes = array("q")
        # Per slot the number of a text, or -1; a text is in the first free slot from that of its hash.
        self._slots = array("i", [-1]) * 64

    def number(self, text: str) -> int:
        """The number of a text; -1 if it was not added."""
        return self._slots[self._slot(text.encode(errors="surrogatepass"))]

    def add(self, text: str) -> int:
        """The number of a text, which is added unless it is known."""
        raw = text.encode(errors="surrogatepass")
        slot = self._slot(raw)
        if self._slots[slot] >= 0:
            return self._slots[slot]
        number = len(self._hashes)
        self._slots[slot] = number
        self._data += raw
        self._ends.append(len(self._data))
        self._hashes.append(hash(raw))
        if 2 * len(self._hashes) > len(self._slots):
            self._grow()
        return number

    def _slot(self, raw: bytes) -> int:
        """The slot of a text, or the free one where it belongs."""
        slots, hashed = self._slots, hash(raw)
        mask = len(slots) - 1
        slot = hashed & mask
        while (number := slots[slot]) >= 0:
            if self._hashes[number] == hashed and self._data[self._ends[number] : self._ends[number + 1]] == raw:
                break
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        """Twice the slots; those of texts whose places are free are filled at once, in the order of their numbers."""
        slots = np.full(2 * len(self._slots), -1, np.int32)
        mask = len(slots) - 1
        number = np.arange(len(self._hashes), dtype=np.int32)
        wanted = np.frombuffer(self._hashes, np.int64) & mask
        while len(number):
            free = slots[wanted] < 0
            _, first = np.unique(wanted[free], return_index=True)
            settled = np.flatnonzero(free)[first]
            slots[wanted[settled]] = number[settled]
            left = np.ones(len(number), bool)
            left[settled] = False
            number, wanted = number[left], (wanted[left] + 1) & mask
        self._slots = array("i")
        self._slots.frombytes(slots.tobytes())

    def texts(self) -> PackedTexts:
        """The texts in the order of their numbers, as they are now."""
        return PackedTexts(np.frombuffer(bytes(self._data), np.uint8), np.array(self._ends))

    def padded(self, numbers: np.ndarray) -> np.ndarray:
        """The texts of these numbers as NUL-padded bytes."""
        packed = self.texts()
        width = max(1, int(np.diff(np.asarray(self._ends))[numbers].max(initial=0)))
        found = np.zeros(len(numbers), f"S{width}")
        for low in range(0, len(numbers), PIECE):
            some = packed.take(numbers[low : low + PIECE])
            found[low : low + PIECE] = some.padded(0, len(some))
        return found

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self.number(text) >= 0

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts())

    def __len__(self) -> int:
        return len(self._hashes)

    @classmethod
    def _from_iterable(cls, found: Iterable[_T]) -> set[_T]:
        return set(found)


class Lookup:
    """Positions of ids in columns of ids, one column after the other."""

    def __init__(self, columns: Sequence[Column]):
        """columns  ids as NUL-padded bytes, all distinct"""
        self._columns = columns
        self._firsts = np.cumsum([0, *(len(column) for column in columns)])
        found = np.concatenate([np.empty(0, np.uint64), *map(digests, columns)])
        order = np.argsort(found, kind="stable")
        self._digests = found[order]
        self._order = order.astype(np.int32) if len(order) < 1 << 31 else order

    def __call__(self, ids: Sequence[str]) -> np.ndarray:
        """(N,) int64; -1 for ids that no column has."""
        return np.concatenate([np.empty(0, np.int64), *(self._find(part) for part in _parts(ids))])

    def _find(self, wanted: np.ndarray) -> np.ndarray:
        found = np.full(len(wanted), -1, np.int64)
        digested = digests(wanted)
        place = np.searchsorted(self._digests, digested)
        left = np.arange(len(wanted))
        while len(left):
            there = place[left] < len(self._digests)
            left = left[there]
            left = left[self._digests[place[left]] == digested[left]]
            position = self._order[place[left]].astype(np.int64)
            same = self._ids(position, wanted.dtype.itemsize) == wanted[left]
            found[left[same]] = position[same]
            left = left[~same]
            place[left] += 1
        return found

    def _ids(self, positions: np.ndarray, width: int) -> np.ndarray:
        """The ids at these positions."""
        owner = np.searchsorted(self._firsts, positions, side="right") - 1
        ids = np.empty(len(positions), f"S{max([width, *(column.dtype.itemsize for column in self._columns)])}")
        for number, column in enumerate(self._columns):
            own = owner == number
            if own.any():
                ids[own] = column[positions[own] - self._firsts[number]]
        return ids


def _parts(ids: Sequence[str]) -> Iterator[np.ndarray]:
    """The ids as NUL-padded bytes, a piece at a time. A NUL in an id, which no store has, becomes a line break."""
    for low in range(0, len(ids), PIECE):
        if isinstance(ids, PackedTexts):
            yield ids.padded(low, min(low + PIECE, len(ids)))
        else:
            yield np.array([id.replace("\0", "\n").encode(errors="replace") for id in ids[low : low + PIECE]], "S")


def distinct(texts: PackedTexts) -> tuple[np.ndarray, np.ndarray]:
    """The distinct texts in the order in which they first occur, and which of them each text is.

    returns  (V,) positions of first occurrences, ascending; (N,) from 0 to V - 1
    """
    keys = np.concatenate([np.empty(0, np.uint64), *map(digests, _parts(texts))])
    first, which = renumbered(keys)
    # Only different texts with equal digests, which no known input has, need a dict.
    if texts.same(np.arange(len(texts)), first[which]):
        return first, which
    known: dict[str, int] = {}
    return renumbered(np.array([known.setdefault(text, len(known)) for text in texts], np.int64))


def renumbered(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `distinct`, of numbers."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return first[order], number[which]


def repeated(texts: PackedTexts) -> bool:
    """Whether a text may occur twice: whether two have the same digest."""
    keys = np.sort(np.concatenate([np.empty(0, np.uint64), *map(digests, _parts(texts))]))
    return bool((keys[1:] == keys[:-1]).any())


def twin(columns: Sequence[Column]) -> tuple[bytes, int, int] | None:
    """A duplicate id in the columns, and the indices of the two columns that have it; None if all ids are distinct.

    Comparing 64-bit digests of a million ids takes a fraction of the time of a set of strings; ids with equal digests
    are compared in full. Digests are compared in parts, two at a time.
    """
    total = sum(len(column) for column in columns)
    bits = max(total > PIECE, (2 * total // COMPARED).bit_length())
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        for repeats in (pool.map if bits else map)(partial(_repeats, columns, bits), range(1 << bits)):
            if not len(repeats):
                continue
            seen: dict[bytes, tuple[int, int]] = {}
            for owner, column in enumerate(columns):
                for place in np.flatnonzero(np.isin(digests(column), repeats)).tolist():
                    id = bytes(column[place])
                    other, held = seen.setdefault(id, (place, owner))
                    if (other, held) != (place, owner):
                        return id, held, owner
    return None


def _repeats(columns: Sequence[Column], bits: int, part: int) -> np.ndarray:
    """The digests that begin with these bits and occur more than once.

    Each writes its number into a slot of a table. Those that find another number there either have its digest, or they
    are written again without it. For a million digests this takes a quarter of the time of sorting them.
    """
    left = np.concatenate([np.empty(0, np.uint64), *_digests_in(columns, part, bits)])
    width = max(1, (2 * len(left)).bit_length())
    table = np.empty(1 << width, np.int32)
    # The bits after those that all of them share.
    slot = (left << np.uint64(bits) >> np.uint64(64 - width)).astype(np.intp)
    repeats = [np.empty(0, np.uint64)]
    while len(left):
        number = np.arange(len(left), dtype=np.int32)
        table[slot] = number
        there = table[slot]
        lost = np.flatnonzero(there != number)
        repeats.append(left[lost][left[lost] == left[there[lost]]])
        left, slot = left[lost], slot[lost]
    return np.concatenate(repeats)


def _digests_in(columns: Sequence[Column], part: int, bits: int) -> Iterator[np.ndarray]:
    """The digests that begin with these bits."""
    for column in columns:
        for low in range(0, len(column), PIECE):
            found = digests(column[low : low + PIECE])
            yield found if not bits else found[found >> np.uint64(64 - bits) == part]


def digests(raw: Column) -> np.ndarray:
    """(N,) uint64 multiply-add hashes of the 8-byte words of NUL-padded ids, independent of their padding."""
    found = np.empty(len(raw), np.uint64)
    for low in range(0, len(raw), PIECE):
        found[low : low + PIECE] = _digested(np.ascontiguousarray(raw[low : low + PIECE]))
    return found


def _digested(raw: np.ndarray) -> np.ndarray:
    words = np.zeros((len(raw), -(-raw.dtype.itemsize // 8) * 8), np.uint8)
    words[:, : raw.dtype.itemsize] = raw.view(np.uint8).reshape(len(raw), raw.dtype.itemsize)
    found = np.zeros(len(raw), np.uint64)
    for position, word in enumerate(words.view("<u8").T):
        mixed = word * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        found += mixed * np.uint64((0xD1342543DE82EF95 * (2 * position + 1)) % 2**64)
    return found
