"""Cuts by changes of hue, saturation and lightness between frames: PySceneDetect's content detector."""

from collections.abc import Iterable

import numpy as np
from scenedetect.common import FrameTimecode
from scenedetect.detectors import ContentDetector

# The width to which PySceneDetect scales frames, also without smoothing.
SIZE = (256, 144)
INTERPOLATION = "fast"
# The detector assumes a constant frame rate; with one "frame" per millisecond, times are exact at any rate.
TICKS = 1000


def detect(
    frames: Iterable[tuple[float, np.ndarray]], duration: float, threshold: float = 27.0, min_seconds: float = 0.6
) -> list[float]:
    """Cut where the mean change is above `threshold` (0–255); no shot is shorter than `min_seconds`."""
    detector = ContentDetector(threshold=threshold, min_scene_len=round(min_seconds * TICKS))
    times: dict[int, float] = {}
    cuts: list[float] = []
    for time, frame in frames:
        tick = round(time * TICKS)
        times[tick] = time
        found = detector.process_frame(FrameTimecode(tick, float(TICKS)), np.ascontiguousarray(frame[:, :, ::-1]))
        cuts += [times[cut.frame_num] for cut in found]
    return cuts
