"""The mean colour of large frames, from an encoder that keeps its decoders waiting before it begins."""

import time

import numpy as np

from avs_cli.types import Pixels, Sampling


class Sluggish:
    dim = 3
    pixels = Pixels(size=224, resize=None)
    rows = 1
    pooling = "mean"
    has_text = False
    word_level = False

    def __init__(self, seconds: float, clip: int):
        self.seconds = seconds
        self.sampling = Sampling(fps=2.0, clip=clip)
        self.provenance = {"model": "sluggish"}

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        self.seconds = 0.0
        return frames[:: self.sampling.clip, ::16, ::16].mean((1, 2)).astype(np.float32)


def load(runtime: object, seconds: float = 1.5, clip: int = 1) -> Sluggish:
    return Sluggish(seconds, clip)
