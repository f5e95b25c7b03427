"""`avs shots`: where the shots of videos begin and end."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from avs_cli.commands import _applies
from avs_cli.commands._inputs import spare_media
from avs_cli.options import Output

if TYPE_CHECKING:
    from avs_cli.types import Shot

Videos = Annotated[
    list[str] | None,
    typer.Argument(metavar="VIDEO...", help="Videos, and folders of them.", show_default=False),
]
Detector = Annotated[
    str,
    typer.Option(
        metavar="NAME[:KEY=VALUE]",
        help="content (hard cuts, fast), transnetv2 (dissolves and fades too; needs the extra 'transnetv2') "
        "or fixed:seconds=5 (windows).",
    ),
]
Msb = Annotated[
    str | None,
    typer.Option(metavar="TABLE", help="Take the shots from V3C's master shot table, or a folder of them, instead."),
]
Workers = Annotated[int, typer.Option(min=0, help="Processes that look at videos; 0 takes as many as there are cores.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds of silence after which a video's reader is given up.")]


def shots(
    context: typer.Context,
    videos: Videos = None,
    detector: Detector = "content",
    msb: Msb = None,
    workers: Workers = 0,
    timeout: Timeout = 60.0,
    output: Output = "-",
) -> None:
    """Find the shots of videos and write a table of them: shot, video, start and end in seconds.

    A video that cannot be read is named on stderr, the others are done, and the exit code is 5.
    """
    from avs_cli.console import note
    from avs_cli.errors import IncompleteError
    from avs_cli.io.shots import write_shots

    _applies.refuse(context, (bool(msb), ("detector", "workers", "timeout"), "with --msb"))
    spare_media(output, videos or [])
    found, failures = _from_tables(msb, videos) if msb else _detected(videos, detector, workers, timeout)
    for failure in failures:
        note(failure)
    if not found:
        raise IncompleteError("no video gave any shots; nothing is written")
    write_shots(output, found)
    if failures:
        raise IncompleteError(
            f"{len(failures)} of {len(failures) + len({s.video for s in found})} videos gave no shots"
        )


class _Task(NamedTuple):
    path: str
    detector: str
    threads: int


def _detected(inputs: list[str] | None, detector: str, workers: int, timeout: float) -> tuple[list["Shot"], list[str]]:
    """The shots that a detector finds, in the order of the videos, and one line for each video that failed."""
    import os

    from avs_cli.console import progress
    from avs_cli.core.registry import Registry
    from avs_cli.errors import SpecError
    from avs_cli.io.shots import video_names
    from avs_cli.io.video import find_media, is_picture
    from avs_cli.io.workers import Broken, apart
    from avs_cli.types import Shot

    if not inputs:
        raise SpecError("which videos? give files or folders, or --msb TABLE")
    Registry("shot detector", "avs_cli.core.shots", "detect").load(detector)
    files = [path for path in find_media(inputs) if not is_picture(path)]
    names = dict(zip(map(str, files), video_names(files), strict=True))
    found: list[Shot] = []
    failures = []
    with progress("shots", len(files)) as advance:
        cores = os.cpu_count() or 1
        crew = min(workers or cores, len(files))
        tasks = [_Task(path, detector, max(1, cores // max(1, crew))) for path in names]
        for task, spans in apart(_find, tasks, crew, timeout):
            advance(what=task.path)
            if isinstance(spans, Broken):
                failures.append(spans.message if task.path in spans.message else f"{task.path}: {spans.message}")
            else:
                name = names[task.path]
                found += [Shot(f"{name}_{n}", task.path, *span) for n, span in enumerate(spans, start=1)]
    return found, failures


def _find(task: _Task) -> Iterator[list[tuple[float, float]]]:
    """One video's shots; runs in a worker process."""
    from avs_cli.core.registry import Registry
    from avs_cli.core.shots import shots_between
    from avs_cli.io.video import probe, read_small

    detectors = Registry("shot detector", "avs_cli.core.shots", "detect")
    detect, wants = detectors.load(task.detector), detectors.module(task.detector)
    duration = probe(task.path).duration
    cuts = detect(read_small(task.path, wants.SIZE, wants.INTERPOLATION, task.threads), duration)
    yield shots_between(cuts, duration)


def _from_tables(table: str, videos: list[str] | None) -> tuple[list["Shot"], list[str]]:
    """V3C's shots, with the paths of the videos where these are given; and one line for each that is not there."""
    from avs_cli.io.shots import located, read_shots
    from avs_cli.io.video import find_media

    shots = read_shots(table)
    if not videos:
        return shots, []
    found, missing = located(shots, find_media(videos))
    return found, [f"{video}: named in {table}, not among the videos" for video in missing]
