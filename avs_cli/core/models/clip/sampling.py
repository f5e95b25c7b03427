"""Which frames of a video CLIP4Clip's family looks at: the first of every second, and of these at most F.

Frames are counted with the whole part of the rate, as published: at 29.97 a second is 29 frames, and the pictures drift
ahead of the clock.
"""

import math
from typing import Literal

import numpy as np

Kept = Literal["spread", "first", "last"]


def one_a_second(frames: int, rate: float, start: int = 0, end: int | None = None) -> list[int]:
    """Numbers of a video's frames, from 0, one for each second from `start` to `end`, which is included.

    A rate below 1 counts as 1.
    """
    whole = max(1, int(rate))
    last = math.ceil(frames / whole) if end is None else end
    return [second * whole for second in range(start, last + 1) if second * whole < frames]


def kept(count: int, most: int, which: Kept = "spread") -> list[int]:
    """At most `most` of `count` pictures, in their order: evenly spread from the first to the last, or from one end."""
    if count <= most:
        return list(range(count))
    if which == "spread":
        # A single picture is the first, as linspace has it.
        return [int(place) for place in np.linspace(0, count - 1, most)]
    return list(range(most)) if which == "first" else list(range(count - most, count))


def padded(vectors: np.ndarray, most: int, which: Kept = "spread") -> tuple[np.ndarray, np.ndarray]:
    """(L, ...) pictures, or their vectors, to (most, ...), zeros at the end, and the (most,) mask of what is there."""
    chosen = vectors[kept(len(vectors), most, which)]
    frames = np.zeros((most, *vectors.shape[1:]), vectors.dtype)
    frames[: len(chosen)] = chosen
    return frames, (np.arange(most) < len(chosen)).astype(np.float32)


def counted(pictures: np.ndarray) -> np.ndarray:
    """(F,) whether each picture is one: those at the end that repeat the one before them fill a short video up."""
    there = np.ones(len(pictures), bool)
    for place in range(len(pictures) - 1, 0, -1):
        if not np.array_equal(pictures[place], pictures[place - 1]):
            break
        there[place] = False
    return there
