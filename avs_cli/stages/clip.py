"""Clip: the best shots of a run as video files, or as a cut list of their videos.

found = cuts("tv22.run", "gallery.h5", depth=10)
clips = write_clips(found.cuts, "clips/")                     # found.failures + clips.failures: what is missing
write_list("tv22.edl", found.cuts, "edl")
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from avs_cli import machine
from avs_cli.errors import IncompleteError, MismatchError
from avs_cli.io.atomic import writing
from avs_cli.io.cut_lists import Cut, common_rate, csv_list, edl_list, fcpxml_list, m3u_list
from avs_cli.io.store.texts import open_any
from avs_cli.io.text.trec import read_run
from avs_cli.io.video.cutting import CONTAINERS, MediaInfo, cut_clip, media_info
from avs_cli.io.video.find import video_files
from avs_cli.io.video.frames import is_picture
from avs_cli.io.video.workers import BAD_FILE, Broken, about, apart, reason
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, Paths, missing_videos, path_names, selected
from avs_cli.types import Run, Shot, ranked

__all__ = ["Clips", "Cut", "Cuts", "cuts", "write_clips", "write_list"]

Kind = Literal["edl", "fcpxml", "m3u", "csv"]

# Bytes of a topic and of a video in the name of a clip; file systems take 255 in all.
TOPIC_BYTES, VIDEO_BYTES = 40, 120


class Cuts(NamedTuple):
    """What is to be cut, topic by topic in the order of ranks, and a message for each shot or video that cannot be."""

    cuts: list[Cut]
    failures: list[str]


class Clips(NamedTuple):
    """The clips in the order of the cuts.

    written   new files
    existing  files that were there, and are left as they are
    failures  a message for each clip that could not be written
    """

    written: list[Path]
    existing: list[Path]
    failures: list[str]


class _VideoTask(NamedTuple):
    """The clips of one video, for a worker process: number, path without suffix, start, end and padding of each."""

    video: str
    clips: tuple[tuple[int, str, float, float, float], ...]
    exact: bool
    threads: int


def cuts(
    run: FilePath | Run,
    gallery: Paths,
    *,
    topics: str = "",
    depth: int = 10,
    pad: float = 0.0,
    videos: Paths = (),
    report: Reporter = LOGGED,
) -> Cuts:
    """The first shots of each topic of a run, as stretches of video files.

    gallery  stores with the videos and times of the shots; the first that has a shot decides
    topics   ids and ranges such as 731-750,761, or a topics file, to cut these alone
    depth    shots per topic
    pad      seconds to add before and after each shot; none before the start of the video
    videos   folders or files in which to look for the videos by name, if they are not where the stores say

    A video is found at the path that it was read from, relative to the working folder or to the store's. Images have no
    clips, which is a note. Raises MismatchError when no shot can be cut.
    """
    (chosen,) = selected([run if isinstance(run, dict) else read_run(str(run))], topics, report)
    stores = path_names(gallery)
    first = {topic: ranked(scores)[:depth] for topic, scores in chosen.items()}
    ids = {shot for ranking in first.values() for shot in ranking}
    shots: dict[str, Shot] = {}
    places: dict[str, str] = {}
    for name in stores:
        with open_any(name) as store:
            shots = {id: shot for id, shot in store.shots().items() if id in ids} | shots
        places |= {shot.video: name for shot in shots.values() if shot.video not in places}
    failures = [f"{id}: not in {', '.join(stores)}" for id in sorted(ids - shots.keys())]
    pictures = {id for id, shot in shots.items() if is_picture(shot.video) or shot.end <= shot.start}
    if pictures:
        report.note(f"{len(pictures)} of {len(ids)} shots are images, which have no clips")
    found = video_files(places, path_names(videos))
    wanted = {shots[id].video for id in shots.keys() - pictures}
    if lost := sorted(wanted - found.keys()):
        cure = "give --videos FOLDER" if not videos else "give the folder that contains them"
        failures.append(f"{missing_videos(lost, len(wanted), path_names(videos), stores)}: {cure}")
    made = [
        Cut(topic, rank, chosen[topic][id], _padded(shots[id], str(found[shots[id].video]), pad), pad)
        for topic, ranking in first.items()
        for rank, id in enumerate(ranking, start=1)
        if id in shots and id not in pictures and shots[id].video in found
    ]
    if not made:
        raise MismatchError(failures[-1] if failures else "no shot of the run is part of a video")
    return Cuts(made, failures)


def write_clips(
    cuts: Sequence[Cut],
    folder: FilePath,
    *,
    exact: bool = False,
    workers: int = 0,
    timeout: float = 60.0,
    report: Reporter = LOGGED,
) -> Clips:
    """Write each cut as a video file, named as `clip_names` says, with "_exact" at the end if it is exact.

    exact    encode the frames of the shot alone, instead of copying from the key frame before it
    workers  processes, each of which takes whole videos; 0 for all cores
    timeout  seconds without progress before a video is given up

    A file that exists is left as it is, so that an interrupted job goes on. A video that cannot be read fails its clips
    and no others.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    by_video: dict[str, list[tuple[int, str, float, float, float]]] = {}
    written: dict[int, Path] = {}
    existing: dict[int, Path] = {}
    failures: list[str] = []
    for number, (cut, name) in enumerate(zip(cuts, clip_names(cuts), strict=True)):
        name += "_exact" if exact else ""
        there = next((path for suffix in CONTAINERS if (path := folder / f"{name}{suffix}").exists()), None)
        if there:
            existing[number] = there
        else:
            clip = (number, str(folder / name), cut.shot.start, cut.shot.end, cut.pad)
            by_video.setdefault(cut.shot.video, []).append(clip)
    cores = machine.cores()
    crew = min(workers or cores, len(by_video))
    threads = max(1, cores // max(1, crew))
    tasks = [_VideoTask(video, tuple(clips), exact, threads) for video, clips in by_video.items()]
    with report.progress("clips", sum(len(task.clips) for task in tasks)) as advance:
        for task, result in apart(_cut, tasks, crew, timeout):
            if isinstance(result, Broken):
                left = sum(number not in written for number, *_ in task.clips)
                failures.append(f"{about(task.video, result.message)}; {left} clips of it are missing")
                continue
            number, made = result
            advance(what=task.video)
            if isinstance(made, str):
                failures.append(about(task.video, made))
            else:
                written[number] = made
    return Clips([written[n] for n in sorted(written)], [existing[n] for n in sorted(existing)], failures)


def write_list(path: FilePath, cuts: Sequence[Cut], kind: Kind, report: Reporter = LOGGED) -> None:
    """Write a cut list, which names the videos and the times in them; `-` is stdout.

    kind  see `io.cut_lists`

    Notes the rate of an EDL, which the file cannot say. Raises IncompleteError, without writing, for a video that
    cannot be read; csv and m3u open no video.
    """
    if kind in ("csv", "m3u"):
        text = csv_list(cuts) if kind == "csv" else m3u_list(cuts)
    else:
        media: dict[str, MediaInfo] = {}
        for video, result in apart(_media, list(dict.fromkeys(cut.shot.video for cut in cuts)), machine.cores(), 60.0):
            if isinstance(result, Broken):
                raise IncompleteError(f"{about(video, result.message)}; nothing written")
            media[video] = result
        if kind == "edl":
            text = edl_list(cuts, media, "avs clip")
            report.note(f"the EDL counts {float(common_rate(cuts, media)):.6g} frames per second")
        else:
            text = fcpxml_list(cuts, media)
    with writing(path) as out:
        out.write(text)


def clip_names(cuts: Sequence[Cut]) -> list[str]:
    """The name of each clip without its suffix: <topic>_<rank>_<video>_<start>-<end>.

    Names have letters, digits, ".", "_" and "-" of any script, are at most 200 bytes long, and are different also where
    upper and lower case are the same.
    """
    names: list[str] = []
    taken: set[str] = set()
    for topic, rank, _, shot, _ in cuts:
        video = _safe(Path(shot.video).stem, VIDEO_BYTES)
        name = f"{_safe(topic, TOPIC_BYTES)}_{rank:03}_{video}_{shot.start:.2f}-{shot.end:.2f}"
        number = 2
        while name.casefold() in taken:
            name = f"{name.partition('~')[0]}~{number}"
            number += 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _safe(text: str, most: int) -> str:
    """A part of a file name that every file system takes, of at most `most` bytes."""
    plain = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).strip("._-")
    return plain.encode("utf-8", "replace")[:most].decode("utf-8", "ignore") or "x"


def _padded(shot: Shot, video: str, pad: float) -> Shot:
    return Shot(shot.id, video, max(0.0, shot.start - pad), shot.end + pad)


def _cut(task: _VideoTask) -> Iterator[tuple[int, Path | str]]:
    """The clips of one video, or the reason why there is none; runs in a worker process."""
    for number, stem, start, end, pad in task.clips:
        try:
            yield number, cut_clip(task.video, Path(stem), start, end, task.exact, task.threads, pad)
        except BAD_FILE as error:
            yield number, reason(error)


def _media(video: str) -> Iterator[MediaInfo]:
    yield media_info(video)
