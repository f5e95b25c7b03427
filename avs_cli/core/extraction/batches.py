"""Encoding of frames: batches across shots, and pooling within each shot."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from avs_cli.core.encoders import Encoder
from avs_cli.types import Failure, FittedPixels, Frames


class Encoded(NamedTuple):
    """The vectors of one shot: (D,) float32 if pooled, else (K, D) float32."""

    shot: str
    vectors: np.ndarray
    thumbnail: bytes | None


class _OpenShot:
    """A shot with more frames to come, and its partial pooling."""

    def __init__(self, shot: str, pooling: str):
        self.shot, self.pooling = shot, pooling
        self.expected: int | None = None  # total number of units; known with the last piece
        self.given = self.encoded = self.vectors = 0
        self.thumbnail: bytes | None = None
        self.kept: list[np.ndarray] = []
        self.pooled: np.ndarray | None = None

    def add(self, vectors: np.ndarray, units: int) -> None:
        self.encoded += units
        self.vectors += len(vectors)
        if self.pooling == "none":
            self.kept.append(vectors)
            return
        for vector in vectors:
            # One by one, and in double precision: pooled vectors must not depend on the batches.
            if self.pooled is None:
                self.pooled = vector.astype(np.float64)
            elif self.pooling == "mean":
                self.pooled += vector
            else:
                np.maximum(self.pooled, vector, out=self.pooled)

    @property
    def whole(self) -> bool:
        return self.expected is not None and self.encoded == self.expected

    def result(self) -> Encoded:
        if self.pooling == "none":
            return Encoded(self.shot, np.concatenate(self.kept), self.thumbnail)
        assert self.pooled is not None
        divisor = self.vectors if self.pooling == "mean" else 1
        return Encoded(self.shot, (self.pooled / divisor).astype(np.float32), self.thumbnail)


class ShotEncoder:
    """Encodes a stream of the frames of shots, in batches across shots.

    pooling      over the frames of a shot: "mean", "max" or "none"
    unit_frames  normalise the vector of each frame before pooling

    Batches always have `batch_size` frames (or clips); the last one is padded. Then the vector of a frame is
    bit-identical whatever else is in its batch, and a resumed job gives the same bytes. Fitted frames, which have
    several sizes and many pixels, are encoded one by one (or clip by clip).
    """

    def __init__(self, feature: Encoder, pooling: str, batch_size: int = 32, unit_frames: bool = False):
        self.feature, self.pooling = feature, pooling
        self.batch_size = 1 if isinstance(feature.pixels, FittedPixels) else batch_size
        self.unit_frames = unit_frames
        self._waiting: deque[tuple[_OpenShot, np.ndarray]] = deque()
        self._units = 0
        self._shots: deque[_OpenShot | Failure] = deque()

    def add(self, piece: Frames | Failure) -> Iterator[Encoded | Failure]:
        """Take the next piece or failure, encode full batches, and return the shots that became whole, in order.

        The pieces of a shot follow one another.
        """
        shots = self._shots
        if isinstance(piece, Failure):
            # Discard the vectors of a failed shot; its frames in the current batch are still encoded.
            if shots and isinstance(shots[-1], _OpenShot) and shots[-1].shot == piece.id:
                shots.pop()
            shots.append(piece)
        else:
            if not shots or isinstance(shots[-1], Failure) or shots[-1].shot != piece.shot:
                shots.append(_OpenShot(piece.shot, self.pooling))
            shot = shots[-1]
            assert isinstance(shot, _OpenShot)
            count = len(piece.pixels) // _pictures_per_unit(self.feature)
            shot.given += count
            if piece.last:
                shot.expected, shot.thumbnail = shot.given, piece.thumbnail
            if count:
                self._waiting.append((shot, piece.pixels))
                self._units += count
            while self._units >= self.batch_size:
                self._encode_batch()
        yield from _finished(shots)

    def rest(self) -> Iterator[Encoded | Failure]:
        """Encode the frames that fill no batch; after the last piece."""
        while self._units:
            self._encode_batch()
        yield from _finished(self._shots)

    def _encode_batch(self) -> None:
        self._units -= _encode_batch(self.feature, self._waiting, self.batch_size, self.unit_frames)


def encode(
    feature: Encoder,
    pieces: Iterable[Frames | Failure],
    pooling: str,
    batch_size: int = 32,
    unit_frames: bool = False,
) -> Iterator[Encoded | Failure]:
    """The vectors of each shot, in the order of the input; failures are passed through.

    The parameters are those of `ShotEncoder`.
    """
    shots = ShotEncoder(feature, pooling, batch_size, unit_frames)
    for piece in pieces:
        yield from shots.add(piece)
    yield from shots.rest()


def _pictures_per_unit(feature: Encoder) -> int:
    """Number of images per frame or clip."""
    return feature.sampling.clip * (feature.pixels.crops if feature.pixels else 1)


def _finished(open_shots: "deque[_OpenShot | Failure]") -> Iterator[Encoded | Failure]:
    while open_shots and (isinstance(open_shots[0], Failure) or open_shots[0].whole):
        first = open_shots.popleft()
        yield first if isinstance(first, Failure) else first.result()


def _encode_batch(
    feature: Encoder, waiting: "deque[tuple[_OpenShot, np.ndarray]]", batch_size: int, unit_frames: bool
) -> int:
    """Encode the next `batch_size` units, or fewer, for their shots; returns their number."""
    unit, rows = _pictures_per_unit(feature), feature.rows
    shares: list[tuple[_OpenShot, int]] = []
    pictures: list[np.ndarray] = []
    taken = 0
    while waiting and taken < batch_size:
        shot, pixels = waiting.popleft()
        take = min(batch_size - taken, len(pixels) // unit)
        pictures.append(pixels[: take * unit])
        shares.append((shot, take))
        taken += take
        if take * unit < len(pixels):
            waiting.appendleft((shot, pixels[take * unit :]))
    batch = np.concatenate(pictures)
    if taken < batch_size:
        batch = np.concatenate([batch, np.zeros(((batch_size - taken) * unit, *batch.shape[1:]), np.uint8)])
    vectors = feature.encode_frames(batch)[: taken * rows]
    if unit_frames:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    start = 0
    for shot, take in shares:
        shot.add(vectors[start : start + take * rows], take)
        start += take * rows
    return taken
