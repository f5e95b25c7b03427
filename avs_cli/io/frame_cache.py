"""A cache of decoded frames, one file per shot: training reads them in every epoch and decodes them once.

    NAME.npy   raw frames
    NAME.npz   JPEG: `jpeg`, the concatenated files; `ends`, the end of each; `count`, the number of frames of the
               shot; frames beyond the last JPEG repeat it

On 26 clips JPEG takes a seventh of the bytes (22 kB instead of 151 kB per frame of 224 x 224), and the mean absolute
difference of pixels is 1.2 of 255 (44 dB).
"""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avs_cli.errors import FormatError
from avs_cli.io.atomic import replacing
from avs_cli.types import Shot

QUALITY = 95
# Approximate compression ratio of JPEG.
SHARE = 1 / 7
# Maximum number of frames of a shot; a file with more is damaged.
MOST = 4096


class CachedFrames(NamedTuple):
    """(F, S, S, 3) uint8 frames of a shot, padded by repeating the last one.

    there  number of frames before the padding; None if unknown, as for raw frames
    """

    pixels: np.ndarray
    there: int | None


class FrameCache:
    """(F, S, S, 3) uint8 frames per shot. Names depend on the size and modification time of the video."""

    def __init__(self, folder: Path, jpeg: bool = False):
        self.folder, self.jpeg = folder, jpeg

    def name(self, shot: Shot) -> str:
        """The name of the file of a shot."""
        status = Path(shot.video).stat()
        told = (shot.id, shot.start, shot.end, status.st_size, status.st_mtime_ns)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:32]

    def path(self, name: str) -> Path:
        """The path of the file with this name, which need not exist."""
        return self.folder / f"{name}.{'npz' if self.jpeg else 'npy'}"

    def bytes(self, name: str) -> int:
        """Size of the file with this name; 0 if it does not exist."""
        path = self.path(name)
        return path.stat().st_size if path.exists() else 0

    def write(self, name: str, frames: np.ndarray, there: int) -> None:
        """Write the frames of a shot atomically; those after the first `there` are padding."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.path(name)) as part, part.open("wb") as out:
            if not self.jpeg:
                np.save(out, frames, allow_pickle=False)
                return
            files = [_packed(frame) for frame in frames[:there]]
            ends = np.cumsum([len(file) for file in files])
            joined = np.frombuffer(b"".join(files), np.uint8)
            np.savez(out, jpeg=joined, ends=ends, count=np.array(len(frames)))

    def read(self, name: str) -> CachedFrames:
        """The frames. Raises FormatError for a file that is damaged."""
        path = self.path(name)
        try:
            # A memory map is limited by the size of the file, whatever shape its header has.
            found = np.load(path, None if self.jpeg else "r", allow_pickle=False)
            if not self.jpeg:
                if found.dtype != np.uint8 or found.ndim != 4 or found.shape[3] != 3:
                    raise ValueError
                return CachedFrames(np.array(found), None)
            with found:
                files = np.split(found["jpeg"], found["ends"][:-1])
                shown, count = [_unpacked(file) for file in files], int(found["count"])
                if count > MOST:
                    raise ValueError
                return CachedFrames(np.stack(shown + shown[-1:] * (count - len(shown))), len(shown))
        except (
            ValueError,
            EOFError,
            KeyError,
            AttributeError,
            TypeError,
            MemoryError,
            zipfile.BadZipFile,
            _not_a_picture(),
        ):
            raise FormatError(path, "not decoded frames; remove it") from None


def _packed(frame: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()


def _unpacked(file: np.ndarray) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(file.tobytes()), formats=["JPEG"]) as picture:
        return np.asarray(picture.convert("RGB"))


def _not_a_picture() -> type[OSError]:
    from PIL import UnidentifiedImageError

    return UnidentifiedImageError
