"""Clips of videos: a stretch as a file of its own, copied or encoded, with its sound.

A copied clip has the packets of the source: it starts at the last key frame at or before the stretch, and loses
nothing. An exact clip has the frames of the stretch and no others, encoded as H.264. Sound is always copied. The
container is MP4 for a clip of an MP4, MOV or GIF and for an exact clip, WebM for a clip of a WebM, and Matroska for
all others and where the first choice does not take the codecs.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.video.frame import PictureType

from avs_cli.errors import FormatError
from avs_cli.io.atomic import UNWRITTEN, replacing
from avs_cli.io.video.frames import TOLERANCE, OpenVideo, cut_short, opened_video, packets_of

# Formats of files by their suffix.
CONTAINERS = {".mp4": "mp4", ".webm": "webm", ".mkv": "matroska"}
# Constant quality of exact clips: at 18, the loss is not visible.
QUALITY = {"crf": "18", "preset": "veryfast"}
# Half a millisecond, for times with three decimals.
ROUNDING = 5e-4


class MediaInfo(NamedTuple):
    """What a cut list says about a video.

    rate      average frames per second
    duration  seconds
    channels  of its sound; 0 without sound
    hertz     sampling rate of its sound
    """

    rate: Fraction
    duration: float
    width: int
    height: int
    channels: int
    hertz: int


def media_info(path: str | Path) -> MediaInfo:
    """Rate, duration, size and sound of a video. Raises FormatError for other files."""
    with opened_video(path) as video:
        sound = next(iter(video.container.streams.audio), None)
        rate = video.stream.average_rate or Fraction(video.info.frame_rate).limit_denominator(1001)
        channels, hertz = (sound.codec_context.channels, sound.codec_context.sample_rate) if sound else (0, 0)
        return MediaInfo(rate, video.info.duration, video.info.width, video.info.height, channels, hertz)


def cut_clip(
    path: str | Path, stem: Path, start: float, end: float, exact: bool = False, threads: int = 1, pad: float = 0.0
) -> Path:
    """Write the stretch from `start` to `end`, in seconds from the first frame, as a file of its own.

    stem     the clip's path without the suffix, which follows from its container
    exact    whether to encode the frames of the stretch alone
    pad      seconds at the end of the stretch that the video need not have
    returns  the clip's path; a file that exists is left as it is

    Equal inputs give equal bytes. Raises FormatError for an unreadable source, and for one that ends long before `end`.
    """
    with opened_video(path, threads, stamped=True) as video, opened_video(path, stamped=True) as heard:
        encoded = exact or video.stream.codec_context.name == "gif"
        sounds = [stream for stream in heard.container.streams.audio if stream.codec_context is not None]
        suffix = _suffix(video, sounds, encoded)
        target = stem.with_name(stem.name + suffix)
        if target.exists():
            return target
        with replacing(target) as part:
            try:
                _write(part, CONTAINERS[suffix], video, heard.container, sounds, (start, end, end - pad), encoded)
            except av.FFmpegError as error:
                if error.errno in UNWRITTEN:
                    raise OSError(error.errno, error.strerror, str(target)) from None
                raise FormatError(path, f"cannot be cut ({str(error.strerror).lower()})") from None
        return target


def _suffix(video: OpenVideo, sounds: Sequence[Any], encoded: bool) -> str:
    """The suffix of the first container that takes all streams."""
    own = {"mov": ".mp4", "gif": ".mp4"}.get(video.container.format.name.split(",")[0], ".mkv")
    first = ".mp4" if encoded else ".webm" if video.path.suffix.lower() == ".webm" else own
    names = {"libx264" if encoded else video.stream.codec_context.name, *(one.codec_context.name for one in sounds)}
    with av.open(BytesIO(), "w", format=CONTAINERS[first]) as container:
        # The muxer writes Vorbis into MP4; players do not find it there.
        taken = container.supported_codecs - ({"vorbis"} if first == ".mp4" else set())
        return first if names <= taken else ".mkv"


def _write(
    part: Path,
    container: str,
    video: OpenVideo,
    heard: Any,
    sounds: Sequence[Any],
    span: tuple[float, float, float],
    encoded: bool,
) -> None:
    # Without "bitexact" a Matroska file has a random number; the index at the front lets browsers play at once.
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if container == "mp4" else {})}
    with av.open(f"file:{part}", "w", format=container, container_options=options) as out:
        origin, pictures = (_encoded if encoded else _copied)(out, video, *span)
        copies = {sound.index: out.add_stream_from_template(sound) for sound in sounds}
        tracks = [pictures]
        if copies:
            end = span[1] + video.start
            tracks.append(_sound(heard, copies, origin, end))
        for packet in heapq.merge(*tracks, key=_time):
            out.mux(packet)


def _time(packet: Any) -> float:
    """When a packet is due, in seconds."""
    stamp = packet.dts if packet.dts is not None else packet.pts
    return float(stamp * packet.time_base) if stamp is not None else -math.inf


def _copied(out: Any, video: OpenVideo, start: float, end: float, needed: float) -> tuple[float, Iterator[Any]]:
    """The time in the file at which the clip starts, and the packets from there on, in the order of decoding."""
    stream = video.stream
    offset, key = _key_packet(video, start)
    origin = float(key * stream.time_base)
    copy = out.add_stream_from_template(stream)

    def packets() -> Iterator[Any]:
        reached, found = 0.0, False
        video.container.seek(offset, stream=stream, backward=True)
        for packet in packets_of(video.container, stream):
            found = found or (packet.is_keyframe and packet.pts == key)
            if not found or not packet.size:
                continue
            if packet.dts is not None and float(packet.dts * stream.time_base) - video.start >= end - ROUNDING:
                break
            # Frames that are shown before the key frame and need what comes before it.
            if packet.pts is not None and packet.pts < key:
                continue
            if packet.pts is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * stream.time_base) - video.start)
            yield _moved(packet, copy, key)
        if reached < needed - TOLERANCE:
            raise FormatError(video.path, cut_short(reached, max(needed, video.info.duration)))

    return origin, packets()


def _key_packet(video: OpenVideo, start: float) -> tuple[int, int]:
    """A place to seek to, and the time stamp of the last key frame at or before `start` that is read from there."""
    stream = video.stream
    for margin in (0.0, 1.0, 10.0, 60.0, math.inf):
        target = max(0.0, start - margin)
        offset = math.floor((target + video.start) / stream.time_base)
        video.container.seek(offset, stream=stream, backward=True)
        key: int | None = None
        for packet in packets_of(video.container, stream):
            if packet.is_keyframe and packet.pts is not None:
                if float(packet.pts * stream.time_base) - video.start > start + ROUNDING:
                    break
                key = packet.pts
            if packet.dts is not None and float(packet.dts * stream.time_base) - video.start > start + ROUNDING:
                break
        if key is not None:
            return offset, key
    raise FormatError(video.path, f"no key frame at or before {start:.1f} s: encode the clip with exact cuts")


def _moved(packet: Any, stream: Any, origin: int) -> Any:
    """A packet of the source as one of a clip that starts at the time stamp `origin`."""
    packet.pts = None if packet.pts is None else packet.pts - origin
    packet.dts = None if packet.dts is None else packet.dts - origin
    packet.stream = stream
    return packet


def _encoded(out: Any, video: OpenVideo, start: float, end: float, needed: float) -> tuple[float, Iterator[Any]]:
    """The time in the file at which the clip starts, and the packets of its frames, as H.264."""
    frames = video.seek(start) if start > 0 and video.container.format.name != "gif" else video.frames
    within = (one for one in frames if one[0] >= start - ROUNDING)
    first = next(within, None)
    if first is None or first[0] >= end - ROUNDING:
        reached = min(first[0], video.info.duration) if first else video.info.duration
        raise FormatError(video.path, f"no frame from {start:.3f} to {end:.3f} s; the video lasts {reached:.3f} s")
    origin, _, sample = first
    # No time is finer than the source's; GIF and AVI have coarse ones.
    base = video.stream.time_base
    coded = out.add_stream("libx264", options=QUALITY)
    # Halved colours need even sides.
    coded.width, coded.height, coded.pix_fmt = sample.width // 2 * 2, sample.height // 2 * 2, "yuv420p"
    coded.codec_context.time_base = coded.time_base = base
    coded.codec_context.framerate = video.stream.average_rate or 25
    coded.codec_context.thread_count = video.stream.codec_context.thread_count
    coded.codec_context.sample_aspect_ratio = video.stream.sample_aspect_ratio or Fraction(1)
    for colour in ("colorspace", "color_primaries", "color_trc"):
        setattr(coded.codec_context, colour, getattr(video.stream.codec_context, colour))
    if video.info.rotation:
        coded.set_display_rotation(video.info.rotation)

    def packets() -> Iterator[Any]:
        reached = 0.0
        for time, ends, frame in chain([first], within):
            if time >= end - ROUNDING:
                break
            picture = frame.reformat(coded.width, coded.height, "yuv420p")
            picture.pts, picture.time_base = round((time - origin) / base), base
            picture.pict_type = PictureType.NONE
            reached = ends
            yield from coded.encode(picture)
        yield from coded.encode()
        if reached < needed - TOLERANCE:
            raise FormatError(video.path, cut_short(reached, max(needed, video.info.duration)))

    return origin + video.start, packets()


def _sound(heard: Any, copies: dict[int, Any], origin: float, end: float) -> Iterator[Any]:
    """The packets of sound that start between two times in the file."""
    heard.seek(math.floor(max(0.0, origin - 1) * av.time_base), backward=True)
    over: set[int] = set()
    for packet in packets_of(heard, [heard.streams[index] for index in copies]):
        if not packet.size or packet.pts is None:
            continue
        index, base = packet.stream.index, packet.time_base
        time = float(packet.pts * base)
        if time >= end - ROUNDING:
            over.add(index)
            if len(over) == len(copies):
                return
        elif time >= origin - ROUNDING:
            yield _moved(packet, copies[index], round(origin / base))
