"""Windows of equal length, for video without cuts: surveillance, lifelogs, screen recordings."""

from collections.abc import Iterable

import numpy as np

from avs_cli.errors import SpecError

SIZE = (16, 16)
INTERPOLATION = "fast"


# Seconds; shorter shots contain no frame, and their table would fill the disk.
SHORTEST = 0.001


def detect(frames: Iterable[tuple[float, np.ndarray]], duration: float, seconds: float = 5.0) -> list[float]:
    """A new shot every `seconds`; a remainder shorter than half a window is merged into the last shot."""
    if not seconds >= SHORTEST:
        raise SpecError(f"shot detector 'fixed': seconds={seconds:g} is not a valid length")
    return [step * seconds for step in range(1, int(duration / seconds + 0.5))]
