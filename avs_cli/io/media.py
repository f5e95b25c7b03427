"""A folder of videos and pictures as shots: every file one shot, until `avs shots` cuts it finer."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from avs_cli.io.shots import video_names
from avs_cli.io.video import STAGE, is_picture, probe
from avs_cli.io.workers import Broken, apart
from avs_cli.types import Failure, Shot


def whole_files(paths: Sequence[Path], workers: int, timeout: float) -> Iterator[Shot | Failure]:
    """One shot per file, from 0 to its duration, in the order of the files; a file that is no video is a Failure."""
    names = dict(zip(map(str, paths), video_names(paths), strict=True))
    videos = [path for path in names if not is_picture(path)]
    durations: dict[str, float | Broken] = dict(apart(_duration, videos, workers, timeout))
    for path, name in names.items():
        duration = durations.get(path, 0.0)
        if isinstance(duration, Broken):
            message = duration.message if duration.message.startswith(path) else f"{path}: {duration.message}"
            yield Failure(name, STAGE, message)
        else:
            yield Shot(name, path, 0.0, duration)


def _duration(path: str) -> Iterator[float]:
    yield probe(path).duration
