"""`avs shots`: detect the shots of videos."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from avs_cli import applies
from avs_cli.options import Output
from avs_cli.outputs import spare

if TYPE_CHECKING:
    from avs_cli.types import Shot

Videos = Annotated[
    list[str] | None,
    typer.Argument(metavar="VIDEO...", help="Videos, or folders of them.", show_default=False),
]
Detector = Annotated[
    str,
    typer.Option(
        metavar="NAME[:KEY=VALUE]",
        help="Shot detector: content (hard cuts, fast), transnetv2 (also dissolves and fades; needs the extra "
        "'transnetv2') or fixed:seconds=5 (fixed-length windows).",
    ),
]
Msb = Annotated[
    str | None,
    typer.Option(
        metavar="TABLE", help="Use V3C's master shot boundaries, a table or a folder of tables, instead of a detector."
    ),
]
Workers = Annotated[int, typer.Option(min=0, help="Worker processes; 0 uses all cores.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds without progress before a video is skipped.")]


def shots(
    context: typer.Context,
    videos: Videos = None,
    detector: Detector = "content",
    msb: Msb = None,
    workers: Workers = 0,
    timeout: Timeout = 60.0,
    output: Output = "-",
) -> None:
    """Detect shot boundaries and write a shot table: shot, video, start and end in seconds.

    Videos that cannot be read are reported on stderr, the others are processed, and the exit code is 5.

    \b
    Examples:
      avs shots videos/ -o shots.tsv
      avs shots videos/ --msb msb/ -o v3c.tsv
    """
    from avs_cli.console import note
    from avs_cli.errors import IncompleteError
    from avs_cli.io.text.shots import write_shots
    from avs_cli.stages.inputs import media_around

    applies.refuse(context, (bool(msb), ("detector", "workers", "timeout"), "with --msb"))
    spare(output, media_around(output, videos or []))
    found, failures = _from_tables(msb, videos) if msb else _detected(videos, detector, workers, timeout)
    for failure in failures:
        note(failure)
    if not found:
        raise IncompleteError("no shots found in any video; nothing written")
    write_shots(output, found)
    if failures:
        raise IncompleteError(
            f"{len(failures)} of {len(failures) + len({s.video for s in found})} videos have no shots"
        )


class _Task(NamedTuple):
    path: str
    detector: str
    threads: int


def _detected(inputs: list[str] | None, detector: str, workers: int, timeout: float) -> tuple[list["Shot"], list[str]]:
    """The shots of each video, in the order of the videos, and a message for each video that failed."""
    import os

    from avs_cli.console import progress
    from avs_cli.core.registry import Registry
    from avs_cli.errors import SpecError
    from avs_cli.io.text.shots import video_names
    from avs_cli.io.video.frames import find_media, is_picture
    from avs_cli.io.video.workers import Broken, apart
    from avs_cli.types import Shot

    if not inputs:
        raise SpecError("no videos given; give files, folders or --msb TABLE")
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
    """The shots of one video; runs in a worker process."""
    from avs_cli.core.registry import Registry
    from avs_cli.core.shots import shots_between
    from avs_cli.io.video.frames import probe, read_small

    detectors = Registry("shot detector", "avs_cli.core.shots", "detect")
    detect, wants = detectors.load(task.detector), detectors.module(task.detector)
    duration = probe(task.path).duration
    cuts = detect(read_small(task.path, wants.SIZE, wants.INTERPOLATION, task.threads), duration)
    yield shots_between(cuts, duration)


def _from_tables(table: str, videos: list[str] | None) -> tuple[list["Shot"], list[str]]:
    """V3C's shots, with the paths of the videos if given, and a message for each video that is missing."""
    from avs_cli.io.text.shots import located, read_shots
    from avs_cli.io.video.frames import find_media

    shots = read_shots(table)
    if not videos:
        return shots, []
    found, missing = located(shots, find_media(videos))
    return found, [f"{video}: listed in {table}, but not among the videos" for video in missing]
