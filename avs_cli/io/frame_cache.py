"""Decoded frames of videos in a folder, a file per shot: training reads them many times and decodes them once."""

import hashlib
from pathlib import Path

import numpy as np

from avs_cli.errors import FormatError
from avs_cli.io.atomic import replacing
from avs_cli.types import Shot


class FrameCache:
    """(F, S, S, 3) uint8 of each shot. A video that changes, by its size or its time, has other files."""

    def __init__(self, folder: Path):
        self.folder = folder

    def name(self, shot: Shot) -> str:
        """What the shot's file is called."""
        status = Path(shot.video).stat()
        told = (shot.id, shot.start, shot.end, status.st_size, status.st_mtime_ns)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:32]

    def path(self, name: str) -> Path:
        """Where the frames under a name are, or would be."""
        return self.folder / f"{name}.npy"

    def write(self, name: str, frames: np.ndarray) -> None:
        """Keep a shot's frames, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.path(name)) as part, part.open("wb") as out:
            np.save(out, frames, allow_pickle=False)

    def read(self, name: str) -> np.ndarray:
        """The frames. Raises FormatError for a file that is damaged."""
        try:
            frames: np.ndarray = np.load(self.path(name), allow_pickle=False)
        except (ValueError, EOFError):
            raise FormatError(self.path(name), "not decoded frames; remove it") from None
        return frames
