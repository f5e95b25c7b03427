"""Frames of videos and images by time stamp, scaled while they are decoded.

Times are in seconds from the first frame. Rotation (display matrix), non-square pixels and EXIF orientation are
applied. If a video ends long before the duration of its container, it is truncated, and shots in the missing part fail.
"""

import logging
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import av
import av.logging
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image, ImageOps, UnidentifiedImageError

from avs_cli.errors import FormatError
from avs_cli.io.video.hardware import hardware
from avs_cli.io.video.selection import Selection
from avs_cli.io.video.workers import BAD_FILE, Broken, about, ahead, alive, apart, reason
from avs_cli.types import THUMBNAIL, Failure, FittedPixels, Frames, Pixels, Shot, Whole

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv"}
    | {".ts", ".vob", ".webm", ".wmv"}
)
STAGE = "decode"

PIECE = 64  # frames per piece
# Up to this distance, in seconds, decoding on is as fast as seeking.
SEEK_SECONDS = 10.0
# Containers round durations and omit that of the last frame; a larger difference means that frames are missing.
TOLERANCE = 2.0
SEEKABLE = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "mxf")
# Longest duration; damaged tables and headers have larger ones, which would be sampled.
LONGEST = 7 * 24 * 3600.0
# Maximum pixels of an image before its crop: with a short side of 256, an aspect ratio of 256.
MOST_PIXELS = 1 << 24
# Seconds of a video per worker; later shots are passed to the next worker.
STRETCH = 120.0


class Times(Protocol):
    """Sampling times between `start` and `end`, in seconds; see `core.extraction.sampling.sample_times`."""

    def __call__(self, start: float, end: float, *, frame_rate: float) -> list[float]: ...


class View(NamedTuple):
    """What an encoder sees of a file: the frames at some times of each shot, as images of one size, fitted, or whole.

    pixels  with `crops` 10, a frame gives ten images (and a clip ten clips): top left, top right, bottom left, bottom
            right, centre, and their mirror images; None: thumbnails only
    clip    frames that an encoder takes together; a piece has whole clips
    """

    times: Times
    pixels: Pixels | Whole | None
    clip: int = 1


Wanted = Mapping[str, Sequence[int]]
"""Shot id -> the numbers of the views that want it."""


logging.getLogger("libav").addHandler(logging.NullHandler())
logging.getLogger("libav").propagate = False
warnings.filterwarnings(
    "ignore", category=Image.DecompressionBombWarning
)  # Pillow raises an error for twice as many pixels


class VideoInfo(NamedTuple):
    """Properties of a video or an image.

    duration       seconds; 0 for an image
    frame_rate     average frames per second; 0 for an image
    width, height  in square pixels, after rotation
    rotation       counter-clockwise rotation of stored frames for display, in degrees: 0, 90, 180 or 270
    """

    duration: float
    frame_rate: float
    width: int
    height: int
    rotation: int


class Job(NamedTuple):
    """One file and its shots, or one shot and the images that are its frames, evenly spaced."""

    path: str
    shots: tuple[Shot, ...]
    frames: tuple[str, ...] = ()


def jobs_of(shots: Iterable[Shot]) -> list[Job]:
    """One job per video, in order of appearance."""
    by_video: dict[str, list[Shot]] = {}
    for shot in shots:
        by_video.setdefault(shot.video, []).append(shot)
    return [Job(video, tuple(own)) for video, own in by_video.items()]


def find_media(
    inputs: Iterable[str | Path], unreadable: Callable[[OSError], object] = lambda error: None
) -> list[Path]:
    """The given files, and the videos and images in the given folders, recursively, without hidden ones.

    unreadable  called for each folder that cannot be read

    Inputs keep their order, files of a folder are sorted, and duplicates are removed. Raises FileNotFoundError, and
    FormatError for a folder without videos and images.
    """
    found: dict[Path, None] = {}
    for given in map(Path, inputs):
        if given.is_dir():
            inside = sorted(_media_in(given, unreadable))
            if not inside:
                raise FormatError(given, "contains no videos or images")
            found.update(dict.fromkeys(inside))
        else:
            given.stat()
            found[given] = None
    return list(found)


def _media_in(folder: Path, unreadable: Callable[[OSError], object]) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and path.is_file():
                yield path


def is_picture(path: str | Path) -> bool:
    """Whether a file is an image, by its suffix."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def is_video(path: str | Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def probe(path: str | Path) -> VideoInfo:
    """Duration, frame rate and size of a video or an image. Raises FormatError for other files."""
    if is_picture(path):
        with _picture(path) as picture:
            turned = picture.getexif().get(0x0112, 1) >= 5
            width, height = picture.size
            return VideoInfo(0.0, 0.0, *((height, width) if turned else (width, height)), 0)
    with opened_video(path) as video:
        return video.info


def read_frames(
    path: str | Path,
    shots: Sequence[Shot],
    times: Times,
    pixels: Pixels | Whole | None,
    clip: int = 1,
    threads: int = 1,
    thumbnail: int = THUMBNAIL,
) -> Iterator[Frames | Failure]:
    """The sampled frames of the shots of a file, in one pass over the file, or more where shots overlap.

    The frame of a time is the nearest one, inside the shot if possible. Shots are ordered by start. A shot has one or
    more pieces, of at most 64 frames and of whole clips; the last one has the thumbnail. A Failure ends its shot, also
    after pieces of it.

    times, pixels, clip  see `View`
    thumbnail            maximum width of thumbnails, in pixels; 0: none

    Raises FormatError for a file that is not a video or an image.
    """
    for _, result in read_views(path, shots, [View(times, pixels, clip)], None, threads, thumbnail):
        if isinstance(result, Exception):
            raise result
        yield result


def read_views(
    path: str | Path,
    shots: Sequence[Shot],
    views: Sequence[View],
    wanted: Wanted | None = None,
    threads: int = 1,
    thumbnail: int = THUMBNAIL,
    hwaccel: str = "",
) -> Iterator[tuple[int, Frames | Failure | Exception]]:
    """`read_frames` for several views at once: each frame is decoded once, and scaled once per size.

    Results come with the number of their view. For each view they are those of `read_frames`, in the same order.

    wanted   the views that want each shot; None: all of them
    hwaccel  the kind of hardware that decodes, as FFmpeg names it; none by default

    An exception ends its view, whose images cannot be made of this file, and no other one. Raises FormatError for a
    file that is not a video or an image.
    """
    wanted = wanted if wanted is not None else {shot.id: range(len(views)) for shot in shots}
    if is_picture(path):
        yield from _read_picture(path, shots, views, wanted, thumbnail)
        return
    ended: set[int] = set()
    for layer in _layers(shots):
        with opened_video(path, threads, hwaccel=hwaccel) as video:
            yield from _read_layer(video, layer, views, wanted, thumbnail, ended)


def read_small(
    path: str | Path, size: tuple[int, int], interpolation: str = "fast", threads: int = 1
) -> Iterator[tuple[float, np.ndarray]]:
    """All frames of a video with their times: (height, width, 3) uint8, RGB, resized to `size` = (width, height).

    Rotation is not applied. A thread decodes ahead. Raises FormatError, after the last frame, for a truncated file.
    """
    frames = _read_small(path, size, _KERNELS[interpolation], threads)
    # In batches of 16: passing single small frames between threads costs as much as decoding them.
    for some in ahead(iter(lambda: list(islice(frames, 16)), []), 4):
        yield from some


def _read_small(
    path: str | Path, size: tuple[int, int], kernel: Interpolation, threads: int
) -> Iterator[tuple[float, np.ndarray]]:
    with opened_video(path, threads) as video:
        ends, scaler = 0.0, VideoReformatter()
        for time, ends, frame in video.frames:  # noqa: B007
            yield time, _scaled(frame, *size, kernel, scaler)
        if ends < video.info.duration - TOLERANCE:
            raise FormatError(path, cut_short(ends, video.info.duration))


def decode(
    jobs: Sequence[Job],
    times: Times,
    pixels: Pixels | Whole | None,
    clip: int = 1,
    workers: int = 2,
    timeout: float = 60.0,
    thumbnail: int = THUMBNAIL,
) -> Iterator[Frames | Failure]:
    """`read_frames` of many files in worker processes, which read ahead; in the order of the jobs.

    A file that is unreadable, hangs (`timeout` seconds without a decoded packet) or crashes its worker gives a Failure
    for each of its remaining shots; other files are not affected.
    """
    for _, result in decode_views(jobs, [View(times, pixels, clip)], None, workers, timeout, thumbnail):
        yield result


def decode_views(
    jobs: Sequence[Job],
    views: Sequence[View],
    wanted: Wanted | None = None,
    workers: int = 2,
    timeout: float = 60.0,
    thumbnail: int = THUMBNAIL,
    hwaccel: str = "",
) -> Iterator[tuple[int, Frames | Failure]]:
    """`read_views` of many files in worker processes, as `decode` reads one view.

    wanted   the views that want each shot; None: all of them
    hwaccel  the kind of hardware that decodes; none by default
    """
    everything = tuple(range(len(views)))
    stretches = []
    for job in jobs:
        for part in _stretches(job):
            named = {shot.id: everything if wanted is None else tuple(wanted[shot.id]) for shot in part}
            stretches.append(_Stretch(job._replace(shots=part), tuple(views), named, thumbnail, hwaccel))
    current: _Stretch | None = None
    done: set[tuple[int, str]] = set()
    for stretch, answer in apart(_read_stretch, stretches, workers, timeout, _size):
        if stretch is not current:
            current = stretch
            done.clear()
        if isinstance(answer, Broken):
            left, message = everything, answer.message
        else:
            number, result = answer
            if not isinstance(result, Broken):
                if isinstance(result, Failure):
                    done.add((number, result.id))
                elif result.last:
                    done.add((number, result.shot))
                yield number, result
                continue
            left, message = (number,), result.message
        path = stretch.job.path
        message = about(path, message)
        for shot in stretch.job.shots:
            for number in stretch.wanted[shot.id]:
                if number in left and (number, shot.id) not in done:
                    done.add((number, shot.id))
                    yield number, Failure(shot.id, STAGE, message)


class _Stretch(NamedTuple):
    """The part of a file that one worker reads."""

    job: Job
    views: tuple[View, ...]
    wanted: dict[str, tuple[int, ...]]
    thumbnail: int
    hwaccel: str


def _read_stretch(stretch: _Stretch) -> Iterator[tuple[int, Frames | Failure | Broken]]:
    job, views, wanted, thumbnail, hwaccel = stretch
    try:
        if job.frames:
            results = _read_pictures(stretch)
        else:
            results = read_views(job.path, job.shots, views, wanted, thumbnail=thumbnail, hwaccel=hwaccel)
        for number, result in results:
            if isinstance(result, av.FFmpegError):
                result = _unreadable(job, result)
            yield number, Broken(reason(result)) if isinstance(result, Exception) else result
    except av.FFmpegError as error:
        raise _unreadable(job, error) from None


def _unreadable(job: Job, error: av.FFmpegError) -> FormatError:
    return FormatError(job.path, f"cannot be read ({error.strerror})")


def _size(answer: tuple[int, Frames | Failure | Broken]) -> int:
    _, result = answer
    return result.pixels.nbytes + len(result.thumbnail or b"") if isinstance(result, Frames) else 0


def _stretches(job: Job) -> Iterator[tuple[Shot, ...]]:
    """A job in parts of about two minutes, if its format is seekable."""
    shots = sorted(job.shots, key=lambda shot: (shot.start, shot.end))
    if job.frames or Path(job.path).suffix.lower() == ".gif" or is_picture(job.path):
        yield tuple(shots)
        return
    first = 0
    for index, shot in enumerate(shots):
        if shot.start - shots[first].start >= STRETCH:
            yield tuple(shots[first:index])
            first = index
    yield tuple(shots[first:])


# An open video


class OpenVideo(NamedTuple):
    """An open file, its properties, and an iterator of its frames: (start, end, frame)."""

    path: Path
    container: Any
    stream: Any
    start: float
    info: VideoInfo
    frames: Iterator[tuple[float, float, Any]]
    broken: list[int]
    selection: Selection

    def seek(self, time: float) -> Iterator[tuple[float, float, Any]]:
        """Frames from `time` or from an earlier key frame."""
        for margin in (0.5, 10.0, 60.0, math.inf):
            target = max(0.0, time - margin)
            offset = math.floor((target + self.start) / self.stream.time_base)
            self.container.seek(offset, stream=self.stream, backward=True)
            frames = _frames(self.container, self.stream, self.start, self.info.frame_rate, self.broken, self.selection)
            # Frames before the first key frame may lack their references.
            first = next((one for one in frames if one[2].key_frame or target == 0.0), None)
            if target == 0.0 or (first is not None and first[0] <= time):
                return _chained(first, frames)
        raise AssertionError("the last margin reaches the start")


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first is not None:
        yield first
        yield from rest


@contextmanager
def opened_video(path: str | Path, threads: int = 1, stamped: bool = False, hwaccel: str = "") -> Iterator[OpenVideo]:
    """Open a video and decode its first frame. Raises FormatError for a file that is not a video or has no frames.

    stamped  whether packets without a time stamp get one, as in AVI: for copying packets, not for decoding
    hwaccel  the kind of hardware that decodes; none by default
    """
    path = Path(path)
    if path.stat().st_size == 0:
        raise FormatError(path, "empty file")
    with opened_container(path, stamped, hwaccel) as container:
        stream = next((one for one in container.streams.video if not one.disposition & Disposition.attached_pic), None)
        if container.format.name == "tty":
            raise FormatError(path, "not a video (plain text)")
        if stream is None:
            raise FormatError(path, "contains no video stream")
        if stream.codec_context is None:
            raise FormatError(path, "no decoder for its video stream")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
        duration = _duration(path, container, stream, start)
        if not duration <= LONGEST:
            raise FormatError(path, f"its header claims a duration of {duration / 86400:.0f} days")
        rate = _frame_rate(stream, duration)
        broken: list[int] = []
        selection = Selection(stream, start)
        frames = _frames(container, stream, start, rate, broken, selection)
        first = next(frames, None)
        if first is None:
            raise FormatError(path, "no frames can be decoded" if broken else "no frames")
        turned = first[2].rotation % 360
        width, height = _displayed(first[2], stream)
        info = VideoInfo(duration, rate, width, height, turned)
        yield OpenVideo(path, container, stream, start, info, _chained(first, frames), broken, selection)


@contextmanager
def opened_container(path: Path, stamped: bool = False, hwaccel: str = "") -> Iterator[Any]:
    """Open a file with any streams. Raises FormatError for a file that FFmpeg cannot open."""
    with path.open("rb"):
        pass  # raises the error of an unreadable file
    accelerated = hardware(hwaccel)
    # FFmpeg gives the reason only in its log, which stays off while decoding, since it needs the GIL.
    av.logging.set_level(av.logging.ERROR)
    try:
        # "file:" and the whitelist: names with colons are not protocols, and playlists cannot access the network.
        options = {"protocol_whitelist": "file"} | ({"fflags": "+genpts"} if stamped else {})
        container = av.open(f"file:{path}", metadata_errors="replace", options=options, hwaccel=accelerated)
    except av.FFmpegError as error:
        said = error.log[2] if error.log else error.strerror
        raise FormatError(path, f"not a video ({' '.join(str(said).split()).lower()})") from None
    finally:
        av.logging.set_level(None)
    with container:
        yield container


def _duration(path: Path, container: Any, stream: Any, start: float) -> float:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")
    if tag.count(":") == 2:
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start
    if container.duration:
        return float(container.duration / av.time_base - start)
    return _last_end(path, stream.index) - start


def _last_end(path: Path, index: int) -> float:
    """The end of the last frame, from the packets: browser recordings and raw streams have no duration."""
    with opened_container(path) as container:
        stream = container.streams[index]
        packets = [(packet.pts, packet.duration or 0) for packet in packets_of(container, stream) if packet.size]
        ends = [pts + duration for pts, duration in packets if pts is not None]
        if ends:
            return float(max(ends) * stream.time_base)
        return len(packets) / float(stream.average_rate or stream.guessed_rate or 25)


def _frame_rate(stream: Any, duration: float) -> float:
    # The frame rate of a GIF is rounded; count and duration are exact.
    if stream.frames and stream.duration:
        return float(stream.frames / (stream.duration * stream.time_base))
    return float(stream.average_rate or stream.guessed_rate or 25)


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of the stream up to its end, or to the end of a truncated file."""
    packets = container.demux(stream)
    while True:
        alive()
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        yield packet


def _frames(
    container: Any, stream: Any, start: float, rate: float, broken: list[int], selection: Selection
) -> Iterator[tuple[float, float, Any]]:
    """(start, end, frame) in display order from the position of the container; `broken` collects invalid packets."""
    time = -math.inf
    for packet in selection.packets(packets_of(container, stream)):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            broken.append(packet.pts or 0)
            selection.decode_all()
            continue
        for frame in frames:
            stamp = frame.time - start if frame.pts is not None else max(time, -1 / rate) + 1 / rate
            selection.check(frame, stamp)
            if stamp > time:
                time = stamp
                lasts = float(frame.duration * frame.time_base) if frame.duration else 1 / rate
                yield time, time + lasts, frame


# Requested frames


class _Request(NamedTuple):
    """A requested frame: number `place` of a shot for a view, or its thumbnail for all views (-1)."""

    time: float
    shot: int
    place: int
    view: int


class _Assembly:
    """Collects the frames of a shot for a view, and yields complete pieces."""

    def __init__(self, shot: Shot, times: list[float], view: View, pictured: bool):
        self.shot, self.times, self.pictured = shot, times, pictured
        self.clip, self.crops = view.clip, view.pixels.crops if isinstance(view.pixels, Pixels) else 1
        # Whole frames are large, and may have several sizes.
        piece = 1 if isinstance(view.pixels, Whole) else PIECE
        self.step = max(self.clip, piece // self.crops // self.clip * self.clip)
        self.pictures: dict[int, np.ndarray] = {}
        self.given = 0
        self.ended = False
        self.thumbnail: bytes | None = None
        self.failure: Failure | None = None

    def pieces(self) -> Iterator[Frames | Failure]:
        """New complete pieces; none after a failure."""
        if self.failure is not None:
            self.ended = True
            yield self.failure
        while not self.ended:
            end = min(self.given + self.step, len(self.times))
            last = end == len(self.times)
            if any(place not in self.pictures for place in range(self.given, end)):
                return
            if last and self.pictured and self.thumbnail is None:
                return
            pictures = [self.pictures.pop(place) for place in range(self.given, end)]
            self.given, self.ended = end, last
            yield Frames(self.shot.id, _crops(pictures, self.clip, self.crops), last, self.thumbnail if last else None)


def _crops(pictures: list[np.ndarray], clip: int, crops: int) -> np.ndarray:
    """(F * crops, size, size, 3) of F arrays (crops, size, size, 3), ordered by clip, crop and frame."""
    if not pictures:
        return np.zeros((0, 0, 0, 3), np.uint8)
    stacked = np.stack(pictures)
    size = stacked.shape[2:]
    return stacked.reshape(-1, clip, crops, *size).swapaxes(1, 2).reshape(-1, *size)


def _layers(shots: Sequence[Shot]) -> list[list[Shot]]:
    """The shots in order of time, in the minimum number of lists without overlapping shots."""
    layers: list[list[Shot]] = []
    for shot in sorted(shots, key=lambda shot: (shot.start, shot.end)):
        free = next((layer for layer in layers if layer[-1].end <= shot.start + 0.05), None)
        if free is None:
            layers.append([shot])
        else:
            free.append(shot)
    return layers


def _read_layer(
    video: OpenVideo,
    shots: list[Shot],
    views: Sequence[View],
    wanted: Wanted,
    thumbnail: int,
    ended: set[int],
) -> Iterator[tuple[int, Frames | Failure | Exception]]:
    """The frames of shots that do not overlap; `ended` has the views that an exception has ended."""
    of_shots: list[dict[int, _Assembly]] = []
    queues: dict[int, deque[_Assembly]] = {}
    for shot in shots:
        own = {number: _assembly(video, shot, views[number], thumbnail > 0) for number in wanted[shot.id]}
        of_shots.append(own)
        for number, assembly in own.items():
            queues.setdefault(number, deque()).append(assembly)
    requests = _in_order(of_shots)
    video.selection.want([request.time for request in requests])
    finder = _Finder(video)
    painter = _Painter(video, thumbnail)
    for request in requests:
        own = of_shots[request.shot]
        concerned = {
            number: assembly
            for number, assembly in (own.items() if request.place < 0 else [(request.view, own[request.view])])
            if number not in ended
        }
        open_ones = [assembly for assembly in concerned.values() if assembly.failure is None]
        if open_ones:
            shot = shots[request.shot]
            found = finder.nearest(request.time, shot)
            if isinstance(found, str):
                for assembly in open_ones:
                    assembly.failure = Failure(shot.id, STAGE, f"{video.path}: {found}")
            elif request.place < 0:
                jpeg = painter.thumbnail(found)
                for assembly in open_ones:
                    assembly.thumbnail = jpeg
            else:
                pixels = views[request.view].pixels
                assert pixels is not None
                try:
                    open_ones[0].pictures[request.place] = painter.pictures(found, pixels)
                except BAD_FILE as error:
                    ended.add(request.view)
                    yield request.view, error
                    continue
        for number in concerned:
            queue = queues[number]
            while queue:
                for piece in queue[0].pieces():
                    yield number, piece
                if not queue[0].ended:
                    break
                queue.popleft()


def _assembly(video: OpenVideo, shot: Shot, view: View, pictured: bool) -> _Assembly:
    """The requests of a view for a shot of a video, or its failure."""
    endless = shot.end - shot.start > LONGEST
    times = view.times(shot.start, shot.end, frame_rate=video.info.frame_rate) if view.pixels and not endless else []
    assembly = _Assembly(shot, times, view, pictured)
    if endless:
        message = f"{video.path}: {shot.end:g} s is not a valid shot end; the video lasts {video.info.duration:.1f} s"
        assembly.failure = Failure(shot.id, STAGE, message)
    return assembly


def _in_order(of_shots: list[dict[int, _Assembly]]) -> list[_Request]:
    """All requests, in order of time."""
    requests = []
    for n, own in enumerate(of_shots):
        for number, one in own.items():
            requests += [_Request(time, n, place, number) for place, time in enumerate(one.times)]
        # A failed shot has no requests; it is reported in its turn.
        if turn := next((one for one in own.values() if one.pictured or one.failure), None):
            requests.append(_Request((turn.shot.start + turn.shot.end) / 2, n, -1, -1))
    return sorted(requests)


def cut_short(end: float, promised: float) -> str:
    """The message on a video whose frames end too early."""
    return f"frames end at {end:.1f} s of {promised:.1f} s (is the file cut short?)"


class _Finder:
    """Finds the nearest frames to ascending times, in one pass over a video."""

    def __init__(self, video: OpenVideo):
        self.video = video
        self.frames = video.frames
        self.before: tuple[float, float, Any] | None = None
        self.after = next(self.frames, None)
        self.key_time, self.key_gap = 0.0, 0.0
        self.seekable = any(name in SEEKABLE for name in video.container.format.name.split(","))

    def nearest(self, time: float, shot: Shot) -> Any:
        """The frame nearest to `time`, inside the shot if possible; or the reason why there is none."""
        self._advance(time)
        before, after = self.before, self.after
        if before is None or after is None:
            found = before or after
        else:
            # Half a millisecond, for shot tables with three decimals.
            outside = after[0] >= shot.end - 5e-4 and shot.end > shot.start
            too_early = before[0] < shot.start - 5e-4
            nearer = after if after[0] - time < time - before[0] - 1e-6 else before
            found = before if outside else after if too_early else nearer
        if found is None:
            return "no frames can be decoded"
        if after is None and time > found[1] + TOLERANCE:
            promised = max(self.video.info.duration, shot.end)
            return cut_short(found[1], promised)
        if self.video.broken and max(found[0] - time, time - found[1]) > TOLERANCE:
            return f"no frame can be decoded near {time:.1f} s (is the file damaged?)"
        return found[2]

    def _advance(self, time: float) -> None:
        """Advance until `before` is the last frame at or before `time` and `after` the first one after it."""
        if self.after is None:
            return
        if self.seekable and time - self.after[0] > max(SEEK_SECONDS, 1.5 * self.key_gap):
            self.frames = self.video.seek(time)
            self.before, self.after = None, next(self.frames, None)
            self.key_time = self.after[0] if self.after else self.key_time
        while self.after is not None and self.after[0] <= time + 1e-6:
            self.before = self.after
            self.after = next(self.frames, None)
            if self.after is not None and self.after[2].key_frame:
                self.key_gap = max(self.key_gap, self.after[0] - self.key_time)
                self.key_time = self.after[0]


# Scaling

# Accurate rounding costs nothing measurable; full chroma costs a quarter more and brings the largest difference from
# Pillow's bicubic from 44 down to 13 of 255. "fast" does not smooth: for looking at changes, not for encoders.
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
_KERNELS = {
    "bicubic": Interpolation.BICUBIC | _EXACT,
    "bilinear": Interpolation.BILINEAR | _EXACT,
    "fast": Interpolation.FAST_BILINEAR,
}


class _Painter:
    """Converts frames to encoder inputs; caches what was made of the last frame."""

    def __init__(self, video: OpenVideo, thumbnail: int):
        self.path, self.stream, self.width = video.path, video.stream, thumbnail
        self.frame: Any = None
        self.scaled: dict[tuple[int, int, str], np.ndarray] = {}
        self.scalers: dict[tuple[int, int, str], VideoReformatter] = {}
        self.made: dict[Pixels | Whole, np.ndarray] = {}

    def pictures(self, frame: Any, pixels: Pixels | Whole) -> np.ndarray:
        """(crops, size, size, 3) uint8, RGB; a fitted or whole frame as (1, H, W, 3)."""
        if frame is not self.frame:
            self.frame = frame
            self.scaled.clear()
            self.made.clear()
        if pixels not in self.made:
            size = (*_target(*_displayed(frame, self.stream), pixels, self.path), pixels.interpolation)
            if size not in self.scaled:
                scaler = self.scalers.setdefault(size, VideoReformatter())
                self.scaled[size] = _turned(frame, size[0], size[1], _KERNELS[pixels.interpolation], scaler)
            self.made[pixels] = _cut(self.scaled[size], pixels)
        return self.made[pixels]

    def thumbnail(self, frame: Any) -> bytes:
        """A small JPEG of the frame."""
        width, height = _thumbnail_size(*_displayed(frame, self.stream), self.width)
        return _jpeg(Image.fromarray(_turned(frame, width, height, Interpolation.AREA, VideoReformatter())))


def _displayed(frame: Any, stream: Any) -> tuple[int, int]:
    """Width and height of a frame in square pixels, after rotation."""
    aspect = stream.sample_aspect_ratio
    wide = frame.width if not aspect or not 0.1 < aspect < 10 else round(frame.width * aspect)
    return (frame.height, wide) if frame.rotation % 180 else (wide, frame.height)


def _target(width: int, height: int, pixels: Pixels | Whole, path: str | Path) -> tuple[int, int]:
    """The size before the crop. The long side is rounded down, as in the transforms of the encoders.

    Raises FormatError for an extreme aspect ratio, which would exhaust the memory.
    """
    if isinstance(pixels, Whole):
        scale = min(1.0, pixels.longest / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))
    if isinstance(pixels, FittedPixels):
        return _fitted(width, height, pixels, path)
    if pixels.resize is None:
        return pixels.size, pixels.size
    long = max(pixels.resize, int(pixels.resize * max(width, height) / min(width, height)))
    if long * pixels.resize > MOST_PIXELS:
        raise FormatError(path, f"image too narrow ({width} x {height} pixels)")
    return (pixels.resize, long) if width <= height else (long, pixels.resize)


def _fitted(width: int, height: int, pixels: FittedPixels, path: str | Path) -> tuple[int, int]:
    """The size of a frame with the proportions of this one; sides are rounded as in the processors of transformers."""
    step = pixels.multiple
    enlarged = max(1.0, step / width, step / height)
    wide, high = int(width * enlarged), int(height * enlarged)
    fitted = [round(side / step) * step for side in (wide, high)]
    if pixels.least is None or math.prod(fitted) > pixels.most:
        scale = math.sqrt(pixels.most / (wide * high))
        fitted = [max(1, math.floor(side * scale / step)) * step for side in (wide, high)]
    elif math.prod(fitted) < pixels.least:
        scale = math.sqrt(pixels.least / (wide * high))
        fitted = [math.ceil(side * scale / step) * step for side in (wide, high)]
    if math.prod(fitted) > pixels.most:
        raise FormatError(path, f"image too narrow ({width} x {height} pixels)")
    return fitted[0], fitted[1]


# libswscale writes the colours of separate planes by vector instructions, to the same values and in a third of the
# time, where it sums more than two rows: it blends two rows, of which an enlarged image is made, in another way.
_MANY_ROWS = 1.25


def _scaled(frame: Any, width: int, height: int, kernel: int, scaler: VideoReformatter) -> np.ndarray:
    planes = kernel & Interpolation.FULL_CHR_H_INT and frame.height >= _MANY_ROWS * height
    colours = "gbrp" if planes else "rgb24"
    made = scaler.reformat(frame, width, height, colours, interpolation=kernel, threads=1)
    array: np.ndarray = made.to_ndarray()
    return array


def _turned(frame: Any, width: int, height: int, kernel: int, scaler: VideoReformatter) -> np.ndarray:
    """The frame at this size, with rotation applied."""
    quarter = frame.rotation // 90 % 4
    size = (height, width) if quarter % 2 else (width, height)
    return np.rot90(_scaled(frame, *size, kernel, scaler), quarter)


def _cut(picture: np.ndarray, pixels: Pixels | Whole) -> np.ndarray:
    """The crops of an image (H, W, 3): (crops, size, size, 3); or the whole image (1, H, W, 3)."""
    if isinstance(pixels, Whole | FittedPixels):
        return picture[None]
    size = pixels.size
    low, right = picture.shape[0] - size, picture.shape[1] - size
    if low < 0 or right < 0:
        raise ValueError(f"a crop of {size} pixels does not fit in a short side of {pixels.resize}")
    centre = (round(low / 2), round(right / 2))
    corners = [centre] if pixels.crops == 1 else [(0, 0), (0, right), (low, 0), (low, right), centre]
    cuts = [picture[top : top + size, left : left + size] for top, left in corners]
    return np.stack(cuts if pixels.crops == 1 else cuts + [cut[:, ::-1] for cut in cuts])


def _thumbnail_size(width: int, height: int, most: int) -> tuple[int, int]:
    scale = min(most / width, most * 16 // 9 / height, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _jpeg(picture: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


# Images


@contextmanager
def _picture(path: str | Path) -> Iterator[Any]:
    """Open an image without decoding it."""
    if os.stat(path).st_size == 0:
        raise FormatError(path, "empty file")
    try:
        with Image.open(path) as picture:
            yield picture
    except UnidentifiedImageError:
        raise FormatError(path, "not an image") from None
    except Image.DecompressionBombError:
        raise FormatError(path, "image too large") from None
    except (SyntaxError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise FormatError(path, f"broken image ({error})") from None


def _read_picture(
    path: str | Path, shots: Sequence[Shot], views: Sequence[View], wanted: Wanted, thumbnail: int
) -> Iterator[tuple[int, Frames | Failure | Exception]]:
    """The shots of an image, which is treated as a video of one frame."""
    image = _Image(path)
    for number in sorted({number for shot in shots for number in wanted[shot.id]}):
        view = views[number]
        try:
            jpeg = image.small(view.pixels, thumbnail)
            made = image.made(view.pixels) if view.pixels else None
        except BAD_FILE as error:
            yield number, error
            continue
        for shot in sorted(shots, key=lambda shot: (shot.start, shot.end)):
            if number not in wanted[shot.id]:
                continue
            times = view.times(0.0, 0.0, frame_rate=0.0) if view.pixels else []
            assembly = _Assembly(shot, times, view, thumbnail > 0)
            assembly.thumbnail = jpeg
            if made is not None:
                assembly.pictures = dict.fromkeys(range(len(assembly.times)), made)
            for piece in assembly.pieces():
                yield number, piece


def _read_pictures(stretch: _Stretch) -> Iterator[tuple[int, Frames | Failure | Exception]]:
    """The sampled frames of a shot whose frames are images; each image is read once."""
    (shot,), files, views = stretch.job.shots, stretch.job.frames, stretch.views
    rate = len(files) / (shot.end - shot.start)
    assemblies: dict[int, _Assembly] = {}
    middle = len(files) // 2
    at, image = middle, _Image(files[middle])
    for number in stretch.wanted[shot.id]:
        view = views[number]
        times = view.times(shot.start, shot.end, frame_rate=rate) if view.pixels else []
        assembly = _Assembly(shot, times, view, stretch.thumbnail > 0)
        try:
            assembly.thumbnail = image.small(view.pixels, stretch.thumbnail)
        except BAD_FILE as error:
            yield number, error
            continue
        assemblies[number] = assembly
    requests = sorted(
        (min(int((time - shot.start) * rate + 1e-6), len(files) - 1), place, number)
        for number, one in assemblies.items()
        for place, time in enumerate(one.times)
    )
    ended: set[int] = set()
    for file, place, number in requests:
        alive()
        pixels = views[number].pixels
        if number in ended or pixels is None:
            continue
        if file != at:
            at, image = file, _Image(files[file])
        try:
            assemblies[number].pictures[place] = image.made(pixels)
        except BAD_FILE as error:
            ended.add(number)
            yield number, error
            continue
        for piece in assemblies[number].pieces():
            yield number, piece
    for number, assembly in assemblies.items():
        if number not in ended:
            for piece in assembly.pieces():
                yield number, piece


class _Image:
    """An image file, decoded once per size that its decoder gives, and scaled once per size that a view wants."""

    def __init__(self, path: str | Path):
        self.path = path
        self.drawn: dict[int, tuple[int, int]] = {}
        self.decoded: dict[tuple[int, int], Any] = {}
        self.scaled: dict[tuple[Any, ...], np.ndarray] = {}
        self.thumbnails: dict[tuple[int, int], bytes] = {}

    def made(self, pixels: Pixels | Whole) -> np.ndarray:
        """(crops, size, size, 3) uint8, RGB; the fitted or whole image as (1, H, W, 3)."""
        drawn, picture = self._upright(pixels)
        size = _target(picture.width, picture.height, pixels, self.path)
        key = (drawn, size, pixels.interpolation)
        if key not in self.scaled:
            kernel = Image.Resampling.BICUBIC if pixels.interpolation == "bicubic" else Image.Resampling.BILINEAR
            self.scaled[key] = np.asarray(picture.resize(size, kernel, reducing_gap=3.0))
        return _cut(self.scaled[key], pixels)

    def small(self, pixels: Pixels | Whole | None, thumbnail: int) -> bytes | None:
        """The thumbnail, as the view of these pixels decodes the image; None without thumbnails."""
        drawn, picture = self._upright(pixels)
        if thumbnail and drawn not in self.thumbnails:
            size = _thumbnail_size(picture.width, picture.height, thumbnail)
            self.thumbnails[drawn] = _jpeg(picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        return self.thumbnails.get(drawn)

    def _upright(self, pixels: Pixels | Whole | None) -> tuple[tuple[int, int], Any]:
        """The size that the decoder gives, and the image in RGB."""
        # Large JPEGs are decoded at 1/2, 1/4 or 1/8, still at twice the target size. This must not depend on whether
        # thumbnails are requested, nor on other views, since the vectors must not.
        wanted = pixels.longest if isinstance(pixels, Whole) else pixels.resize or pixels.size if pixels else 0
        side = max(2 * wanted, THUMBNAIL)
        if side not in self.drawn:
            with _picture(self.path) as opened:
                opened.draft("RGB", (side, side))
                drawn = opened.size
                if drawn not in self.decoded:
                    self.decoded[drawn] = _upright(opened)
            self.drawn[side] = drawn
        drawn = self.drawn[side]
        return drawn, self.decoded[drawn]


def _upright(picture: Any) -> Any:
    """The image in RGB, with EXIF orientation applied."""
    if picture.mode.startswith("I"):
        # 16-bit grey, which Pillow would clip to 8 bits.
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return ImageOps.exif_transpose(picture).convert("RGB")
