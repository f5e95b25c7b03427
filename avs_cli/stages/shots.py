"""The shots of videos: by a detector, or from the tables of a collection.

found = detect(["videos/"])
found.shots, found.failures
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from avs_cli import machine
from avs_cli.core.shots import detectors, shots_between
from avs_cli.errors import SpecError
from avs_cli.io.text.shots import located, read_shots, video_names, write_shots
from avs_cli.io.video.frames import find_media, is_picture, probe, read_small
from avs_cli.io.video.workers import Broken, about, apart
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine
from avs_cli.stages.inputs import FilePath, Paths, note_unlisted, path_names
from avs_cli.types import Shot, Span

__all__ = ["Detected", "detect", "from_tables", "spans_of_each", "write_shots"]


class Detected(NamedTuple):
    """The shots of videos, in the order of the videos, and a message for each video without shots."""

    shots: list[Shot]
    failures: list[str]


class _Task(NamedTuple):
    """One video for a worker process.

    threads  0: all cores of the worker
    """

    path: str
    detector: str
    threads: int
    timeout: float


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
        for path, spans in spans_of_each([*names], detector, workers, timeout):
            advance(what=path)
            if isinstance(spans, str):
                failures.append(spans)
            else:
                found += [Shot(f"{names[path]}_{n}", path, *span) for n, span in enumerate(spans, start=1)]
    return Detected(found, failures)


def spans_of_each(
    paths: Sequence[str], detector: str, workers: int, timeout: float, engine: Engine | None = None
) -> Iterator[tuple[str, list[Span] | str]]:
    """The start and end of each shot of each video, or a message for a video without shots.

    The videos come in their order, and from an engine in any.
    """
    cores = machine.cores()
    crew = min(workers or cores, len(paths))
    tasks = [_Task(path, detector, max(1, cores // max(1, crew)), timeout) for path in paths]
    found: Iterable[tuple[_Task, list[Span] | Broken | None]]
    if engine is None:
        found = apart(_spans, tasks, crew, timeout)
    else:
        tasks = [task._replace(threads=engine.cores) for task in tasks]
        found = engine.map(_spans_apart, tasks, starts_processes=True)
    for task, spans in found:
        if spans is None:
            yield task.path, f"{task.path}: the workers that read it died (out of memory?)"
        elif isinstance(spans, Broken):
            yield task.path, about(task.path, spans.message)
        else:
            yield task.path, spans


def from_tables(table: FilePath, videos: Paths = (), report: Reporter = LOGGED) -> Detected:
    """The shots of V3C's master shot boundaries, with the paths of the videos if given.

    table  a table, or a folder of tables

    Notes videos that it does not list.
    """
    listed = read_shots(str(table))
    if not videos:
        return Detected(listed, [])
    files = find_media(path_names(videos))
    found, missing = located(listed, files)
    note_unlisted(str(table), files, found, report)
    return Detected(found, [f"{video}: listed in {table}, but not among the videos" for video in missing])


def _spans_apart(task: _Task) -> list[Span] | Broken:
    """In a worker of a cluster, where a process of its own reads the video, which may crash it."""
    ((_, spans),) = apart(_spans, [task._replace(threads=task.threads or machine.cores())], 1, task.timeout)
    return spans


def _spans(task: _Task) -> Iterator[list[Span]]:
    """The (start, end) of each shot of one video; runs in a worker process."""
    # A network too has the cores of this worker alone; torch, which is imported only now, asks the environment.
    os.environ["OMP_NUM_THREADS"] = str(task.threads)
    find_cuts, wants = detectors.load(task.detector), detectors.module(task.detector)
    duration = probe(task.path).duration
    cuts = find_cuts(read_small(task.path, wants.SIZE, wants.INTERPOLATION, task.threads), duration)
    yield shots_between(cuts, duration)
