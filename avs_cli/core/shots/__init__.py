"""Shot boundary detectors: one module per method, found by its name.

Each has

    SIZE, INTERPOLATION                        (width, height) of the frames that it looks at, and how they are scaled
    detect(frames, duration, ...) -> [float]   the times at which a new shot begins, ascending, without the first

where `frames` gives every frame as its time in seconds and a (height, width, 3) uint8 RGB array; a method that needs
none does not touch it. `shots_between` turns times into shots.
"""

import itertools
from collections.abc import Iterable


def shots_between(cuts: Iterable[float], duration: float) -> list[tuple[float, float]]:
    """The (start, end) of every shot, one against the other from 0 to the video's end; at least one."""
    inside = sorted({round(cut, 6) for cut in cuts if 0 < cut < duration})
    edges = [0.0, *inside, round(duration, 6)]
    return list(itertools.pairwise(edges))
