"""The colours at the points of a grid on each frame: an encoder of any size, crop and sampling, whose work is little.

The module keeps what it was asked for: `LOADED` the gains of its encoders, `SEEN` the frames per gain.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from avs_cli.provenance import digest
from avs_cli.types import Pixels, Sampling

GRID = 4
LOADED: list[float] = []
SEEN: Counter[float] = Counter()


class Tower:
    dim = 3 * GRID * GRID
    rows = 1
    has_text = False
    word_level = False

    def __init__(self, gain: float, pixels: Pixels, sampling: Sampling, pooling: str, weights: str | None):
        self.gain, self.pixels, self.sampling, self.pooling = gain, pixels, sampling, pooling
        self.provenance = {"model": "tower", "gain": gain, "weights": digest(weights) if weights else ""}
        self.sources = [Path(weights or __file__)]
        LOADED.append(gain)

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        SEEN[self.gain] += len(frames)
        step = self.pixels.size // GRID
        points = frames[:, step // 2 :: step, step // 2 :: step][:, :GRID, :GRID]
        clips = points.reshape(-1, self.sampling.clip, self.dim)
        # The order of a clip's frames counts.
        weights = np.arange(1, self.sampling.clip + 1) / self.sampling.clip
        return (np.einsum("bcd,c->bd", clips, weights) / self.sampling.clip * self.gain).astype(np.float32)


def load(
    runtime: object,
    gain: float = 1.0,
    size: int = 32,
    resize: int | None = None,
    crops: int = 1,
    fps: float | None = 2.0,
    count: int | None = None,
    clip: int = 1,
    pooling: str = "mean",
) -> Tower:
    pixels = Pixels(size, resize, "bicubic", crops)
    return Tower(gain, pixels, Sampling(fps, count, clip), pooling, getattr(runtime, "weights", None))
