"""Cut lists: shots of a run as stretches of their videos, for editors, players and scripts.

edl      CMX 3600, read by all editing programs: one rate for all videos, at most 999 cuts
fcpxml   Final Cut Pro's XML, version 1.9: a project per topic
m3u      playlist of VLC, with the times of each shot as its options
csv      topic, rank, shot, score, video, start and end; times in seconds

Times of EDL and FCPXML are whole frames at the rate of most cuts, or a multiple of it that editing programs know; in
an EDL the shots follow each other from 01:00:00:00. Videos are named by their absolute paths.
"""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from lxml import etree

from avs_cli.errors import MismatchError
from avs_cli.io.video.cutting import MediaInfo
from avs_cli.types import Shot

# Frames per second that editing programs know.
RATES = (*map(Fraction, (24, 25, 30, 50, 60)), *(Fraction(n * 1000, 1001) for n in (24, 30, 60)))
EDL_EVENTS = 999


class Cut(NamedTuple):
    """A shot of a run as a stretch of its video.

    shot  with the file of its video, and the padding in its times
    pad   seconds of padding at the end, which the video need not have
    """

    topic: str
    rank: int
    score: float
    shot: Shot
    pad: float = 0.0


def csv_list(cuts: Sequence[Cut]) -> str:
    """A table with a header."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["topic", "rank", "shot", "score", "video", "start", "end"])
    for topic, rank, score, shot, _ in cuts:
        rows.writerow([topic, rank, shot.id, repr(score), _path(shot), f"{shot.start:.3f}", f"{shot.end:.3f}"])
    return text.getvalue()


def m3u_list(cuts: Sequence[Cut]) -> str:
    """A playlist in which VLC plays each shot from its start to its end."""
    lines = ["#EXTM3U"]
    for topic, rank, _, shot, _ in cuts:
        lines += [
            f"#EXTINF:{max(1, round(shot.end - shot.start))},{_line(f'{topic} {rank}: {shot.id}')}",
            f"#EXTVLCOPT:start-time={shot.start:.3f}",
            f"#EXTVLCOPT:stop-time={shot.end:.3f}",
            _address(shot.video),
        ]
    return "".join(f"{line}\n" for line in lines)


def edl_list(cuts: Sequence[Cut], media: Mapping[str, MediaInfo], title: str) -> str:
    """A CMX 3600 list. Raises MismatchError for more than 999 cuts.

    media  video -> its properties
    """
    if len(cuts) > EDL_EVENTS:
        raise MismatchError(f"{len(cuts)} cuts, but an EDL has at most {EDL_EVENTS}: choose fewer topics or shots")
    rate = common_rate(cuts, media)
    lines = [f"TITLE: {_line(title)[:70]}", "FCM: NON-DROP FRAME", ""]
    at = 3600 * round(rate)
    for number, (topic, rank, _, shot, pad) in enumerate(cuts, start=1):
        first, count = _frames(shot, pad, media[shot.video], rate)
        kind = "AA/V" if media[shot.video].channels else "V"
        times = [_timecode(frame, rate) for frame in (first, first + count, at, at + count)]
        lines += [
            f"{number:03}  AX       {kind:<5} C        {' '.join(times)}",
            f"* FROM CLIP NAME: {_line(Path(shot.video).name)}",
            f"* SOURCE FILE: {_line(_path(shot))}",
            f"* COMMENT: topic {_line(topic)} rank {rank} shot {_line(shot.id)}",
            "",
        ]
        at += count
    return "".join(f"{line}\n" for line in lines)


def fcpxml_list(cuts: Sequence[Cut], media: Mapping[str, MediaInfo]) -> str:
    """A document with a project per topic, in which its shots follow each other.

    media  video -> its properties
    """
    rate = common_rate(cuts, media)
    root = etree.Element("fcpxml", version="1.9")
    resources = etree.SubElement(root, "resources")
    most, _ = Counter((media[cut.shot.video].width, media[cut.shot.video].height) for cut in cuts).most_common(1)[0]
    _format(resources, "r0", rate, *most)
    assets: dict[str, str] = {}
    for video in dict.fromkeys(cut.shot.video for cut in cuts):
        assets[video] = f"a{len(assets)}"
        _asset(resources, assets[video], video, media[video])
    event = etree.SubElement(etree.SubElement(root, "library"), "event", name="avs clip")
    for topic, of_topic in groupby(cuts, key=lambda cut: cut.topic):
        project = etree.SubElement(event, "project", name=_text(f"topic {topic}"))
        sequence = etree.SubElement(project, "sequence", format="r0", tcStart="0s", tcFormat="NDF")
        spine = etree.SubElement(sequence, "spine")
        at = 0
        for _, rank, _, shot, pad in of_topic:
            first, count = _frames(shot, pad, media[shot.video], rate)
            etree.SubElement(
                spine,
                "asset-clip",
                ref=assets[shot.video],
                name=_text(f"{rank} {shot.id}"),
                offset=_seconds(at, rate),
                start=_seconds(first, rate),
                duration=_seconds(count, rate),
                tcFormat="NDF",
            )
            at += count
        sequence.set("duration", _seconds(at, rate))
    text = etree.tostring(root, encoding="unicode", pretty_print=True)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{text}'


def common_rate(cuts: Sequence[Cut], media: Mapping[str, MediaInfo]) -> Fraction:
    """The rate of most cuts, in frames per second, as `_known` gives it."""
    return Counter(_known(media[cut.shot.video].rate) for cut in cuts).most_common(1)[0][0]


def _known(rate: Fraction) -> Fraction:
    """The rate that editing programs know and that is nearest to a multiple of a rate: 25 for 12.5."""
    return min(RATES, key=lambda known: abs(known / rate - max(1, round(known / rate))))


def _format(resources: Any, name: str, rate: Fraction, width: int, height: int) -> None:
    duration = f"{rate.denominator}/{rate.numerator}s"
    etree.SubElement(resources, "format", id=name, frameDuration=duration, width=str(width), height=str(height))


def _asset(resources: Any, name: str, video: str, info: MediaInfo) -> None:
    rate = _known(info.rate)
    _format(resources, f"f{name}", rate, info.width, info.height)
    sound = {"hasAudio": "1", "audioSources": "1", "audioChannels": str(info.channels), "audioRate": str(info.hertz)}
    asset = etree.SubElement(
        resources,
        "asset",
        {"id": name, "name": _text(Path(video).name), "start": "0s", "hasVideo": "1", "format": f"f{name}"}
        | {"duration": _seconds(round(info.duration * rate), rate)}
        | (sound if info.channels else {}),
    )
    etree.SubElement(asset, "media-rep", kind="original-media", src=_address(video))


def _frames(shot: Shot, pad: float, info: MediaInfo, rate: Fraction) -> tuple[int, int]:
    """The first frame of a shot and its number of frames, at least one; padding ends where the video does."""
    first = round(Fraction(shot.start) * rate)
    end = min(shot.end, max(shot.end - pad, info.duration))
    return first, max(1, round(Fraction(end) * rate) - first)


def _seconds(frames: int, rate: Fraction) -> str:
    """Frames as the rational seconds of FCPXML: 1001/30000s."""
    time = frames / rate
    return f"{time.numerator}s" if time.denominator == 1 else f"{time.numerator}/{time.denominator}s"


def _timecode(frames: int, rate: Fraction) -> str:
    """hh:mm:ss:ff without dropped numbers."""
    base = round(rate)
    seconds, frame = divmod(frames, base)
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frame:02}"


def _path(shot: Shot) -> str:
    return str(Path(shot.video).absolute())


def _address(video: str) -> str:
    """A file: address, in which no character of a name can be taken for another thing."""
    return Path(video).absolute().as_uri()


def _line(text: str) -> str:
    """A text without line breaks and other control characters."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text)


def _text(text: str) -> str:
    """A text without what XML forbids."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)
