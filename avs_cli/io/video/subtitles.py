"""Subtitles of videos: text streams, and .srt, .vtt, .ass and .ssa files beside the videos; FFmpeg parses both.

movie.mp4      movie.srt  movie.en.vtt  movie.en.forced.srt      files of this video, the language before the suffix

Times are in seconds from the first frame of the video, and files count from there. Markup is removed.
"""

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av

from avs_cli.errors import FormatError
from avs_cli.io.pipe import regular
from avs_cli.io.store.texts import wrong_piece
from avs_cli.io.video.frames import LONGEST, STAGE, is_picture, opened_container, packets_of
from avs_cli.io.video.workers import Broken, about, apart
from avs_cli.types import Cues, Failure, Piece

FORMATS = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}
# How files begin that may have no subtitles.
EMPTY = ("WEBVTT", "[Script Info]")
# A film has some 100 kB of subtitles.
LARGEST = 64 << 20

# What may stand between the name of a video and the suffix of a file of its subtitles, beside languages.
_KINDS = frozenset({"cc", "default", "forced", "foreign", "full", "hi", "sdh"})
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][a-z0-9]{2,8})*")
# FFmpeg gives all subtitles as those of ASS: tags in braces, and signs that begin with a backslash. A brace of WebVTT
# is `\{{}`; a backslash that is text has a word joiner behind it.
_TAG = re.compile(r"\{\\(?!\u2060)[^}]*\}")
_ASS_TAG = re.compile(r"\{[^}]*\}")
_DRAWING = re.compile(r"\{[^}]*\\p[1-9][^}]*\}.*?(?=\{[^}]*\\p0[^}]*\}|$)", re.DOTALL)
_BREAK = re.compile(r"\\[Nn]")
_SRT_TAG = re.compile(r"\{\\[^}\r\n]*\}")


class SideFile(NamedTuple):
    """A file of subtitles beside a video, and its language; "" where its name does not say."""

    path: str
    language: str


class _Job(NamedTuple):
    video: str
    files: tuple[SideFile, ...]
    languages: tuple[str, ...]


def cues(
    videos: Sequence[str], languages: Sequence[str], workers: int, timeout: float
) -> Iterator[tuple[str, Cues | Failure]]:
    """The subtitles of each video, in these languages or in all; a Failure for a video that cannot be read."""
    files = side_files(videos)
    jobs = [_Job(video, tuple(files[video]), tuple(languages)) for video in videos]
    for job, found in apart(_read, jobs, workers, timeout, _size):
        if isinstance(found, Broken):
            yield job.video, Failure(job.video, STAGE, about(job.video, found.message))
        else:
            yield job.video, found


def side_files(videos: Iterable[str]) -> dict[str, list[SideFile]]:
    """Video -> the files of its subtitles, in the order of their names. Each folder is listed once."""
    found: dict[str, list[SideFile]] = {video: [] for video in videos}
    folders: dict[Path, dict[str, list[str]]] = {}
    for video in found:
        path = Path(video)
        folders.setdefault(path.parent, {}).setdefault(path.stem, []).append(video)
    for folder, stems in folders.items():
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in FORMATS and not name.startswith("."):
                for video, language in owners(stem, stems):
                    found[video].append(SideFile(str(folder / name), language))
    return found


def owners(stem: str, stems: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """The videos of a file of subtitles, and its language."""
    tags: list[str] = []
    while stem not in stems:
        stem, dot, tag = stem.rpartition(".")
        if not dot or not (tag.lower() in _KINDS or _LANGUAGE.fullmatch(tag.lower())):
            return
        tags.append(tag.lower())
    language = next((tag for tag in reversed(tags) if tag not in _KINDS), "")
    yield from ((video, language) for video in stems[stem])


def read_side(path: str | Path, data: bytes | None = None) -> tuple[list[Piece], str]:
    """The subtitles of a file in the order of their times, and a note on it or "".

    data  its content, if it has been read

    Raises FormatError for a file that has none, and for one that is no text.
    """
    kind = FORMATS[Path(path).suffix.lower()]
    if data is None:
        size = regular(Path(path)).stat().st_size
        if size > LARGEST:
            raise FormatError(path, f"{size / 1e6:.0f} MB are too much for subtitles")
        data = Path(path).read_bytes()
    text, note = _decoded(path, data)
    if kind == "srt":
        # Positions are no text, and other backslashes are.
        text = _SRT_TAG.sub("", text).replace("\\", "\\\u2060")
    found: list[Piece] = []
    if text.strip():
        try:
            with av.open(io.BytesIO(text.encode()), format=kind) as container:
                found = _pieces(container, container.streams.subtitles[0], 0.0)
        except (av.FFmpegError, IndexError):
            found = []
        if not found and not text.lstrip().startswith(EMPTY):
            raise FormatError(path, "has no subtitles")
    _check(path, found)
    return found, note


def _decoded(path: str | Path, data: bytes) -> tuple[str, str]:
    """The text of a file in UTF-8, UTF-16 with a byte order mark or Windows-1252, and a note on the last."""
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        if wide:
            raise FormatError(path, "not UTF-16 text, as its first bytes say") from None
        text = data.decode("cp1252", errors="replace")
        if "\0" not in text:
            return text, f"{path}: not UTF-8, read as Windows-1252 (Western European)"
    if "\0" in text:
        raise FormatError(path, "not text")
    return text, ""


def _read(job: _Job) -> Iterator[Cues]:
    """In a worker: the subtitles of a video."""
    found: list[Piece] = []
    notes: list[str] = []
    tracks = 0
    for side in job.files:
        if _is_wanted(side.language, job.languages):
            pieces, note = read_side(side.path)
            found += pieces
            notes += [note] if note else []
            tracks += 1
    if not is_picture(job.video):
        pieces, streams = _embedded(job.video, job.languages)
        found += pieces
        tracks += streams
    # A file is often the copy of a stream.
    yield Cues(sorted(dict.fromkeys(found), key=lambda piece: (piece.start, piece.end)), tracks, tuple(notes))


def _is_wanted(language: str, languages: Sequence[str]) -> bool:
    """Whether a language is one of these, or a regional form of one; of none, all are."""
    return not languages or any(language == one or re.split("[-_]", language)[0] == one for one in languages)


def _embedded(video: str, languages: Sequence[str]) -> tuple[list[Piece], int]:
    """The subtitles in the text streams of a video, and the number of these streams."""
    found: list[Piece] = []
    with opened_container(Path(video)) as container:
        pictures = container.streams.video
        if not pictures:
            raise FormatError(video, "contains no video stream")
        start = float(pictures[0].start_time * pictures[0].time_base) if pictures[0].start_time else 0.0
        wanted = [
            stream.index
            for stream in container.streams.subtitles
            if stream.codec_context is not None
            and stream.codec_context.codec.text_sub
            and _is_wanted((stream.language or "").lower(), languages)
        ]
    for index in wanted:
        with opened_container(Path(video)) as container:
            found += _pieces(container, container.streams[index], start)
    _check(video, found)
    return found, len(wanted)


def _pieces(container: Any, stream: Any, start: float) -> list[Piece]:
    """The texts of a stream; a packet that cannot be decoded is left out."""
    found = []
    is_ass = stream.codec_context.name in ("ass", "ssa")
    for packet in packets_of(container, stream):
        if not packet.size or packet.pts is None:
            continue
        begin = max(0.0, float(packet.pts * packet.time_base) - start)
        end = begin + max(0.0, float((packet.duration or 0) * packet.time_base))
        try:
            events = [one.ass.decode(errors="replace") for one in stream.codec_context.decode2(packet) or ()]
        except av.FFmpegError:
            continue
        texts = [plain(event, is_ass) for event in events] if begin <= LONGEST else []
        found += [Piece(text, begin, min(end, LONGEST)) for text in texts if text]
    return found


def _check(path: str | Path, pieces: Sequence[Piece]) -> None:
    """Raises FormatError for a piece that a store cannot hold."""
    if wrong := wrong_piece(pieces):
        raise FormatError(path, wrong)


def plain(event: str, is_ass: bool) -> str:
    """The text of an event of ASS: its ninth field, without tags and drawings; lines without space around them."""
    text = event.split(",", 8)[-1]
    text = _ASS_TAG.sub("", _DRAWING.sub("", text)) if is_ass else _TAG.sub("", text.replace(r"\{{}", "\ufdd0"))
    text = _BREAK.sub("\n", text).replace(r"\h", " ").replace("\\\u2060", "\\").replace("\ufdd0", "{")
    lines = (line.strip() for line in text.replace("\r", "").split("\n"))
    return "\n".join(line for line in lines if line)


def _size(found: Cues) -> int:
    return sum(100 + len(piece.text) for piece in found.pieces)
