"""The shots of videos: by a detector, or from the tables of a collection.

found = detect(["videos/"])
found.shots, found.failures
"""

from collections.abc import Iterator
from typing import NamedTuple

from avs_cli import machine
from avs_cli.core.shots import detectors, shots_between
from avs_cli.errors import SpecError
from avs_cli.io.text.shots import located, read_shots, video_names, write_shots
from avs_cli.io.video.frames import find_media, is_picture, probe, read_small
from avs_cli.io.video.workers import Broken, apart
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, Paths, path_names
from avs_cli.types import Shot

__all__ = ["Detected", "detect", "from_tables", "write_shots"]


class Detected(NamedTuple):
    """The shots of videos, in the order of the videos, and a message for each video without shots."""

    shots: list[Shot]
    failures: list[str]


class _Task(NamedTuple):
    """One video for a worker process."""

    path: str
    detector: str
    threads: int


def detect(
    videos: Paths,
    detector: str = "content",
    *,
    workers: int = 0,
    timeout: float = 60.0,
    report: Reporter = LOGGED,
) -> Detected:
    """The shots of each video, of which each ends where the next begins.

    videos    files, or folders of them; images are left out
    detector  a module of `core.shots`, with parameters as in "fixed:seconds=5"
    workers   processes, each of which takes whole videos; 0 for all cores
    timeout   seconds without progress before a video is given up
    """
    if not videos:
        raise SpecError("no videos given; give files, folders or --msb TABLE")
    detectors.load(detector)
    files = [path for path in find_media(path_names(videos)) if not is_picture(path)]
    names = dict(zip(map(str, files), video_names(files), strict=True))
    found: list[Shot] = []
    failures = []
    with report.progress("shots", len(files)) as advance:
        cores = machine.cores()
        crew = min(workers or cores, len(files))
        tasks = [_Task(path, detector, max(1, cores // max(1, crew))) for path in names]
        for task, spans in apart(_spans, tasks, crew, timeout):
            advance(what=task.path)
            if isinstance(spans, Broken):
                failures.append(spans.message if task.path in spans.message else f"{task.path}: {spans.message}")
            else:
                name = names[task.path]
                found += [Shot(f"{name}_{n}", task.path, *span) for n, span in enumerate(spans, start=1)]
    return Detected(found, failures)


def from_tables(table: FilePath, videos: Paths = ()) -> Detected:
    """The shots of V3C's master shot boundaries, with the paths of the videos if given.

    table  a table, or a folder of tables
    """
    listed = read_shots(str(table))
    if not videos:
        return Detected(listed, [])
    found, missing = located(listed, find_media(path_names(videos)))
    return Detected(found, [f"{video}: listed in {table}, but not among the videos" for video in missing])


def _spans(task: _Task) -> Iterator[list[tuple[float, float]]]:
    """The (start, end) of each shot of one video; runs in a worker process."""
    find_cuts, wants = detectors.load(task.detector), detectors.module(task.detector)
    duration = probe(task.path).duration
    cuts = find_cuts(read_small(task.path, wants.SIZE, wants.INTERPOLATION, task.threads), duration)
    yield shots_between(cuts, duration)
