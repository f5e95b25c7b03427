"""The sound of videos for speech recognition: one channel, 16000 samples of 16 bits a second, from the first frame."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from avs_cli.errors import FormatError
from avs_cli.io.video.frames import LONGEST, STAGE, is_picture, opened_container, packets_of
from avs_cli.io.video.workers import Broken, about, apart
from avs_cli.types import Failure, Sound

RATE = 16_000
# Samples of a piece: ten seconds.
PIECE = 10 * RATE
# Decoding is much faster than recognition: a queue of a few minutes is enough, where frames need one of 64 MiB.
HELD = 8
# Time stamps are rounded to milliseconds in many containers; what is further off is a gap, or overlaps.
TOLERANCE = 0.1


def sounds(videos: Sequence[str], workers: int, timeout: float) -> Iterator[tuple[str, Sound | Failure]]:
    """The sound of each video, piece by piece; a Failure ends a video."""
    for video, found in apart(_read, videos, workers, timeout, lambda sound: HELD * sound.samples.nbytes):
        if isinstance(found, Broken):
            yield video, Failure(video, STAGE, about(video, found.message))
        else:
            yield video, found


def _read(video: str) -> Iterator[Sound]:
    """In a worker: the sound of a video."""
    try:
        yield from read_sound(video)
    except av.FFmpegError as error:
        raise FormatError(video, f"its sound cannot be read ({error.strerror})") from None


def read_sound(video: str | Path) -> Iterator[Sound]:
    """The sound of a video, in pieces of ten seconds. Raises FormatError for a file that is not a video."""
    if is_picture(video):
        yield _silence()
        return
    with opened_container(Path(video)) as container:
        pictures = container.streams.video
        if not pictures:
            raise FormatError(video, "contains no video stream")
        stream = next((one for one in container.streams.audio if one.codec_context is not None), None)
        if stream is None:
            yield _silence()
            return
        start = float(pictures[0].start_time * pictures[0].time_base) if pictures[0].start_time else 0.0
        held: list[np.ndarray] = []
        count = 0
        for samples in _samples(container, stream, start):
            held.append(samples)
            count += len(samples)
            while count >= PIECE:
                together = np.concatenate(held)
                yield Sound(together[:PIECE], False)
                held, count = [together[PIECE:]], count - PIECE
        yield Sound(np.concatenate([*held, np.zeros(0, np.int16)]), True)


def _silence() -> Sound:
    return Sound(np.zeros(0, np.int16), True, silent=True)


def _samples(container: Any, stream: Any, start: float) -> Iterator[np.ndarray]:
    """Arrays (N,) int16, with silence for gaps, and without what overlaps or comes before the start."""
    # A later time stamp is damaged.
    latest = min(LONGEST, container.duration / av.time_base if container.duration else LONGEST)
    resampler = _resampler()
    written = 0
    for frame in _frames(container, stream):
        time = frame.time - start if frame.pts is not None else latest + 1
        late = round(time * RATE) - written if time <= latest else 0
        if late > TOLERANCE * RATE:
            for low in range(0, late, PIECE):
                yield np.zeros(min(PIECE, late - low), np.int16)
            written += late
        frame.pts = None
        try:
            made = resampler.resample(frame)
        except ValueError:  # the number of channels or the rate has changed
            resampler = _resampler()
            made = resampler.resample(frame)
        samples = np.concatenate([np.zeros(0, np.int16), *(one.to_ndarray()[0] for one in made)])
        if late < -TOLERANCE * RATE:
            samples = samples[-late:]
        written += len(samples)
        yield samples
    for one in resampler.resample(None):
        yield one.to_ndarray()[0]


def _resampler() -> Any:
    return av.AudioResampler(format="s16", layout="mono", rate=RATE)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """The frames of a stream; a packet that cannot be decoded is left out."""
    for packet in packets_of(container, stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue
