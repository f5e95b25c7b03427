"""Shot boundary detectors, one module per method.

Each has

    SIZE, INTERPOLATION                        (width, height) of its input frames, and their interpolation
    detect(frames, duration, ...) -> [float]   the start times of shots, ascending, without the first

where `frames` gives every frame as its time in seconds and a (height, width, 3) uint8 RGB array; a method may ignore
it. `shots_between` converts times to shots.
"""

import itertools
from collections.abc import Iterable

from avs_cli.core.registry import Registry

detectors = Registry("shot detector", __name__, "detect")


def shots_between(cuts: Iterable[float], duration: float) -> list[tuple[float, float]]:
    """The (start, end) of each shot, without gaps from 0 to the end of the video; at least one."""
    inside = sorted({round(cut, 6) for cut in cuts if 0 < cut < duration})
    edges = [0.0, *inside, round(duration, 6)]
    return list(itertools.pairwise(edges))
