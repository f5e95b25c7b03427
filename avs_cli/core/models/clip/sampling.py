"""Frame sampling of CLIP4Clip's family: the first frame of each second, and at most F of these.

As published, frame rates are rounded down: at 29.97, a second has 29 frames, so that samples drift ahead of time.
"""

import math
from typing import Literal

import numpy as np

Kept = Literal["spread", "first", "last"]


def one_a_second(frames: int, rate: float, start: int = 0, end: int | None = None) -> list[int]:
    """Frame numbers, from 0, one per second from `start` to `end`, inclusive.

    Rates below 1 are treated as 1.
    """
    whole = max(1, int(rate))
    last = math.ceil(frames / whole) if end is None else end
    return [second * whole for second in range(start, last + 1) if second * whole < frames]


def kept(count: int, most: int, which: Kept = "spread") -> list[int]:
    """Indices of at most `most` of `count` frames, in order: evenly spaced, or from one end."""
    if count <= most:
        return list(range(count))
    if which == "spread":
        # One frame is the first one, as in linspace.
        return [int(place) for place in np.linspace(0, count - 1, most)]
    return list(range(most)) if which == "first" else list(range(count - most, count))


def padded(vectors: np.ndarray, most: int, which: Kept = "spread") -> tuple[np.ndarray, np.ndarray]:
    """(L, ...) frames, or their vectors, zero-padded to (most, ...), and the (most,) mask."""
    chosen = vectors[kept(len(vectors), most, which)]
    frames = np.zeros((most, *vectors.shape[1:]), vectors.dtype)
    frames[: len(chosen)] = chosen
    return frames, (np.arange(most) < len(chosen)).astype(np.float32)


def counted(pictures: np.ndarray) -> np.ndarray:
    """(F,) mask of frames; repetitions of the last frame are padding."""
    there = np.ones(len(pictures), bool)
    for place in range(len(pictures) - 1, 0, -1):
        if not np.array_equal(pictures[place], pictures[place - 1]):
            break
        there[place] = False
    return there
