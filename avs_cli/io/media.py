"""A folder of videos and pictures as shots: every file one shot, until `avs shots` cuts it finer."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from avs_cli.io.shots import video_names
from avs_cli.io.video import STAGE, is_picture, probe
from avs_cli.io.workers import Broken, apart
from avs_cli.types import Failure, Shot


def unmeasured(paths: Sequence[Path]) -> list[Shot]:
    """One shot per file, in the order of the files; the end of a video is NaN, since no file is opened."""
    names = zip(map(str, paths), video_names(paths), strict=True)
    return [Shot(name, path, 0.0, 0.0 if is_picture(path) else math.nan) for path, name in names]


def measured(shots: Iterable[Shot | Failure], workers: int, timeout: float) -> Iterator[Shot | Failure]:
    """The shots with the ends that `unmeasured` left open: their videos' durations; what is no video is a Failure."""
    shots = list(shots)
    videos = list(dict.fromkeys(shot.video for shot in shots if isinstance(shot, Shot) and math.isnan(shot.end)))
    durations: dict[str, float | Broken] = dict(apart(_duration, videos, workers, timeout))
    for shot in shots:
        if not isinstance(shot, Shot) or not math.isnan(shot.end):
            yield shot
            continue
        duration = durations[shot.video]
        if isinstance(duration, Broken):
            message = (
                duration.message if duration.message.startswith(shot.video) else f"{shot.video}: {duration.message}"
            )
            yield Failure(shot.id, STAGE, message)
        else:
            yield shot._replace(end=duration)


def whole_files(paths: Sequence[Path], workers: int, timeout: float) -> Iterator[Shot | Failure]:
    """One shot per file, from 0 to its duration, in the order of the files; a file that is no video is a Failure."""
    return measured(unmeasured(paths), workers, timeout)


def _duration(path: str) -> Iterator[float]:
    yield probe(path).duration
