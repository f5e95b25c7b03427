"""Encoding of frames: batches across shots, and pooling within each shot."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from avs_cli.core.encoders import Encoder
from avs_cli.types import Failure, Frames


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


def encode(
    feature: Encoder,
    pieces: Iterable[Frames | Failure],
    pooling: str,
    batch_size: int = 32,
    unit_frames: bool = False,
) -> Iterator[Encoded | Failure]:
    """The vectors of each shot, in the order of the input; failures are passed through.

    pooling      over the frames of a shot: "mean", "max" or "none"
    unit_frames  normalise the vector of each frame before pooling

    Batches always have `batch_size` frames (or clips); the last one is padded. Then the vector of a frame is
    bit-identical whatever else is in its batch, and a resumed job gives the same bytes.
    """
    unit = _pictures_per_unit(feature)
    waiting: deque[tuple[_OpenShot, np.ndarray]] = deque()
    units = 0
    open_shots: deque[_OpenShot | Failure] = deque()
    for piece in pieces:
        if isinstance(piece, Failure):
            # Discard the vectors of a failed shot; its frames in the current batch are still encoded.
            if open_shots and isinstance(open_shots[-1], _OpenShot) and open_shots[-1].shot == piece.id:
                open_shots.pop()
            open_shots.append(piece)
        else:
            if not open_shots or isinstance(open_shots[-1], Failure) or open_shots[-1].shot != piece.shot:
                open_shots.append(_OpenShot(piece.shot, pooling))
            shot = open_shots[-1]
            assert isinstance(shot, _OpenShot)
            count = len(piece.pixels) // unit
            shot.given += count
            if piece.last:
                shot.expected, shot.thumbnail = shot.given, piece.thumbnail
            if count:
                waiting.append((shot, piece.pixels))
                units += count
            while units >= batch_size:
                units -= _encode_batch(feature, waiting, batch_size, unit_frames)
        yield from _finished(open_shots)
    while units:
        units -= _encode_batch(feature, waiting, batch_size, unit_frames)
    yield from _finished(open_shots)


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
