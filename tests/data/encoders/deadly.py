"""The colours of `colour`, by an encoder that ends its process at white pictures while there is a file `deadly`.

A file `deadly` that says "once" is removed before.
"""

import os
import signal
from pathlib import Path

import numpy as np

from avs_cli.core.encoders import encoders


def load(runtime: object) -> object:
    colour = encoders.load("colour")(runtime)
    encode, file = colour.encode_frames, Path("deadly")

    def encode_or_die(frames: np.ndarray) -> np.ndarray:
        if file.exists() and (frames.mean((1, 2, 3)) == 255).any():
            if file.read_text() == "once":
                file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(frames)

    colour.encode_frames = encode_or_die
    return colour
