"""Rankings of runs: the shots of each topic in order, for evaluation and fusion.

A vectorised version of `trec.read_run` for regular files: six columns separated by one space or tab. It creates no
string per shot. Irregular files, and files with errors, are passed to `read_run`.
"""

import itertools

import numpy as np

from avs_cli.io.pipe import read_bytes
from avs_cli.io.text.trec import read_run
from avs_cli.types import Ranking, Rankings, ranking

# Columns have a fixed width; longer words would make them too large.
_WIDEST = 64
# Number of decimal digits that fit in 64 bits, and the powers of ten.
_DIGITS = 19
_TENS = np.array([10**place for place in range(_DIGITS + 1)], np.uint64)
# Odd multipliers that hash the 8-byte words of an id into one.
_MIX = np.array([pow(0x9E3779B97F4A7C15, power, 1 << 64) for power in range(_WIDEST // 8)], np.uint64)
# Whether long doubles have a 64-bit mantissa, as on x86.
_LONG = np.finfo(np.longdouble).nmant == 63 and np.little_endian


def read_rankings(path: str) -> Rankings:
    """The shots of each topic, best first, in the order of `ranked`.

    Irregular files are read twice. Raises the errors of `read_run`.
    """
    return {topic: found.shots for topic, found in read_scored(path).items()}


def read_scored(path: str) -> dict[str, Ranking]:
    """As `read_rankings`, with the scores."""
    found = _ordinary(read_bytes(path))
    return {topic: ranking(scores) for topic, scores in read_run(path).items()} if found is None else found


def _ordinary(data: bytes) -> dict[str, Ranking] | None:
    """The rankings; None for an irregular file."""
    # Padded, since windows may start before the first word and end after the last.
    padding = b"0" * _WIDEST
    characters = np.frombuffer(padding + data + padding, np.uint8)
    gaps = np.flatnonzero(characters <= ord(" "))
    if not len(gaps) or len(gaps) % 6 or not data.endswith(b"\n") or not data.isascii():
        return None
    ends = gaps.reshape(-1, 6)
    starts = np.concatenate(([_WIDEST], gaps[:-1] + 1)).reshape(-1, 6)
    between, widths = characters[ends], ends - starts
    spaced = (between[:, :5] == ord(" ")) | (between[:, :5] == ord("\t"))
    if not spaced.all() or (between[:, 5] != ord("\n")).any() or widths.min() < 1 or widths.max() > _WIDEST:
        return None
    scores = _numbers(characters, starts[:, 4], ends[:, 4])
    if scores is None:
        return None
    topics, shots = (_words(characters, starts[:, column], ends[:, column]) for column in (0, 2))
    first = np.concatenate(([True], topics[1:] != topics[:-1]))
    _sort(shots, scores, first)
    bounds = [*np.flatnonzero(first).tolist(), len(shots)]
    found = {
        topics[start].decode(): Ranking(shots[start:end], scores[start:end])
        for start, end in itertools.pairwise(bounds)
    }
    # There are fewer topics than groups if the rows of a topic are not adjacent.
    return found if len(found) == len(bounds) - 1 and not any(_repeats(one.shots) for one in found.values()) else None


def _sort(shots: np.ndarray, scores: np.ndarray, first: np.ndarray) -> None:
    """Sort the shots and scores of each topic in place; `first` marks the first row of each topic."""
    # Runs are usually sorted, and sorting strings is slow: only rows with tied scores are sorted.
    late = np.flatnonzero(~(first[1:] | (scores[1:] < scores[:-1]))) + 1
    rows = np.unique(np.concatenate((late - 1, late)))
    if (scores[late] > scores[late - 1]).any():
        rows = np.arange(len(shots))
    order = rows[np.lexsort((shots[rows], scores[rows], -np.cumsum(first)[rows]))[::-1]]
    shots[rows], scores[rows] = shots[order], scores[order]


def _repeats(shots: np.ndarray) -> bool:
    """Whether a shot occurs twice; rarely true for distinct shots (hash collision)."""
    words = shots.view(np.uint64).reshape(len(shots), -1)
    marks = np.sort(words @ _MIX[: words.shape[1]])
    return bool((marks[1:] == marks[:-1]).any())


def _words(characters: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Words as an array of bytes, whose width is a multiple of 8."""
    widths = (ends - starts).astype(np.uint8)
    widest = -(-int(widths.max()) // 8) * 8
    words = np.lib.stride_tricks.sliding_window_view(characters, widest)[starts]
    words *= np.arange(widest, dtype=np.uint8) < widths[:, None]
    column: np.ndarray = words.view(f"S{widest}")[:, 0]
    return column


def _numbers(characters: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """Words as floats, bit-identical to Python's `float`; None if one is not a finite number or contains `_`.

    A decimal of up to 19 digits is the quotient of two 64-bit integers. Rounding it to a 64-bit mantissa and then to 53
    bits is exact unless the first rounding ends midway between two floats; such words are parsed individually.
    """
    negative = characters[starts] == ord("-")
    widths = (ends - starts - negative).astype(np.uint8)
    widest = min(int(widths.max()), _DIGITS)
    # Right-aligned digits; other characters wrap around to values above 9.
    digits = np.lib.stride_tricks.sliding_window_view(characters, widest)[ends - widest] - np.uint8(ord("0"))
    digits *= np.arange(widest, 0, -1, dtype=np.uint8) <= widths[:, None]
    rows, columns = np.divmod(np.flatnonzero(digits > 9), widest)
    points = digits[rows, columns] == (ord(".") - ord("0")) % 256
    digits[rows, columns] = 0
    hard = (widths > widest) | (widths < 1) | (not _LONG)
    hard[rows[~points]] = hard[rows[1:][rows[1:] == rows[:-1]]] = hard[rows[widths[rows] == 1]] = True
    whole = digits.astype(np.uint64) @ _TENS[:widest][::-1]
    scale = np.ones(len(whole), np.uint64)
    scale[rows] = _TENS[widest - 1 - columns]
    # Remove the position of the decimal point.
    fraction = whole[rows] % scale[rows]
    whole[rows] = (whole[rows] - fraction) // np.uint64(10) + fraction
    quotients = whole.astype(np.longdouble) / scale.astype(np.longdouble)
    numbers: np.ndarray = quotients.astype(np.float64)
    numbers[negative] *= -1
    if _LONG:
        hard |= (quotients.view(np.uint64)[::2] & np.uint64(0x7FF)) == 0x400
    if hard.any():
        texts = _words(characters, starts[hard], ends[hard])
        try:
            numbers[hard] = texts.astype(np.float64)
        except ValueError:
            return None
        if b"_" in texts.tobytes() or not np.isfinite(numbers).all():
            return None
    return numbers
