"""Videos and images as shots: one shot per file, or images that are extracted frames of shots.

ImageData/video7/video7_12.jpg     named <shot>_<number>: frame of shot video7
frames/video7/frame_0012.jpg       in the folder of a shot: frame of shot video7
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from avs_cli.errors import FormatError
from avs_cli.io.text.shots import video_names
from avs_cli.io.video.frames import STAGE, find_media, is_picture, probe
from avs_cli.io.video.workers import Broken, about, apart
from avs_cli.types import Failure, Shot

_FRAME = re.compile(r"(.+)_[0-9]+")


def unmeasured(paths: Sequence[Path]) -> list[Shot]:
    """One shot per file, in the order of the files, without opening them: the end of a video is NaN."""
    names = zip(map(str, paths), video_names(paths), strict=True)
    return [Shot(name, path, 0.0, 0.0 if is_picture(path) else math.nan) for path, name in names]


def measured(shots: Iterable[Shot | Failure], workers: int, timeout: float) -> Iterator[Shot | Failure]:
    """The shots with the durations of their videos as ends where these are NaN; a Failure for an unreadable video."""
    shots = list(shots)
    videos = list(dict.fromkeys(shot.video for shot in shots if isinstance(shot, Shot) and math.isnan(shot.end)))
    durations: dict[str, float | Broken] = dict(apart(_duration, videos, workers, timeout))
    for shot in shots:
        if not isinstance(shot, Shot) or not math.isnan(shot.end):
            yield shot
            continue
        duration = durations[shot.video]
        if isinstance(duration, Broken):
            yield Failure(shot.id, STAGE, about(shot.video, duration.message))
        else:
            yield shot._replace(end=duration)


def video_files(stores: Mapping[str, str], folders: Sequence[str] = ()) -> dict[str, Path]:
    """The files of videos, which stores name by the paths that they were read from; a missing one is left out.

    stores   video, as a shot names it -> the store that has the shot
    folders  folders or files among which to look first, by name or stem. Of several files with one name, that with the
             longest common end of the path is taken, and none if there are several of these

    A relative path is relative to the working folder, else to the folder of the store.
    """
    by_name: dict[str, list[Path]] = {}
    for file in find_media(folders) if folders else ():
        for name in {file.name, file.stem}:
            by_name.setdefault(name, []).append(file)
    found: dict[str, Path] = {}
    for video, store in stores.items():
        there = _likest(Path(video), by_name.get(Path(video).name, []))
        places = (Path(video), Path(store.partition("::")[0]).parent / video)
        if path := there or next((path for path in places if path.is_file()), None):
            found[video] = path
    return found


def _likest(video: Path, files: Sequence[Path]) -> Path | None:
    """The file whose path ends most like that of the video."""

    def alike(file: Path) -> int:
        pairs = zip(reversed(video.parts[:-1]), reversed(file.parts[:-1]), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    best = sorted(files, key=alike, reverse=True)
    return best[0] if best and (len(best) == 1 or alike(best[0]) > alike(best[1])) else None


def frame_shots(paths: Sequence[Path], by: str, rate: float) -> dict[Shot, tuple[str, ...]]:
    """Shots -> the images that are their frames, in order of their numbers; a frame lasts 1 / `rate` s.

    by  "name": images are named <shot>_<number>; "folder": a folder contains the frames of the shot of its name

    Raises FormatError for an image with another name, a video, and a shot with frames in two folders.
    """
    groups: dict[tuple[Path, str], list[tuple[list[int], str]]] = {}
    for path in paths:
        if not is_picture(path):
            raise FormatError(path, "a video, but --frames takes images")
        match = _FRAME.fullmatch("_".join(path.stem.split()))
        if by == "name" and not match:
            raise FormatError(path, "not a frame name, <shot>_<number>; or give --frames folder")
        name = match[1] if by == "name" and match else ""
        numbers = [int(digits[-18:]) for digits in re.findall("[0-9]+", path.stem)]
        groups.setdefault((path.parent, name), []).append((numbers, str(path)))
    if by == "folder":
        # A dummy suffix, since `video_names` removes suffixes.
        names = video_names([folder.with_name(f"{folder.name}.frames") for folder, _ in groups])
    else:
        names = [name for _, name in groups]
    found: dict[Shot, tuple[str, ...]] = {}
    where: dict[str, Path] = {}
    for name, ((folder, own), files) in zip(names, groups.items(), strict=True):
        if name in where:
            raise FormatError(folder, f"frames of shot {name!r} are both here and in {where[name]}")
        where[name] = folder
        shot = Shot(name, str(folder / own), 0.0, len(files) / rate)
        found[shot] = tuple(file for _, file in sorted(files))
    return found


def _duration(path: str) -> Iterator[float]:
    yield probe(path).duration
