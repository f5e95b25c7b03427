"""Subtitles: the text streams of a video, and the files beside it that are named after it."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from avs_cli.core.words import ReadingSetting, ShotWords
from avs_cli.types import Failure, Piece, Shot

USES = ("workers", "timeout")
REMARK = "text streams of videos and files beside them; nothing to download"
# A shot has a subtitle that it shows for this long, or for half of its own or of the subtitle's duration.
SHOWN = 0.5


def load(setting: ReadingSetting, language: str = "") -> "SubtitleReader":
    """A reader of subtitles.

    language  as streams and files name it, several separated by `/`: "en/eng"; "" for all
    """
    return SubtitleReader(setting, tuple(filter(None, language.lower().split("/"))))


class SubtitleReader:
    """Reads subtitles that come with videos."""

    def __init__(self, setting: ReadingSetting, languages: Sequence[str]):
        self.setting, self.languages = setting, languages
        self.provenance: Mapping[str, Any] = {"model": "subtitles", "languages": list(languages), "shown": SHOWN}

    def read(self, videos: Mapping[str, Sequence[Shot]]) -> Iterator[ShotWords | Failure | str]:
        """As that of `WordReader`; notes the videos that have no subtitles."""
        found = self.setting.media.cues(list(videos), self.languages, self.setting.workers, self.setting.timeout)
        lacking = 0
        for video, cues in found:
            shots = videos[video]
            if isinstance(cues, Failure):
                yield from (Failure(shot.id, cues.stage, cues.message) for shot in shots)
                continue
            yield from cues.notes
            lacking += not cues.tracks
            yield from map(ShotWords, shots, divided(cues.pieces, shots))
        if lacking:
            in_these = f" in {' or '.join(self.languages)}" if self.languages else ""
            yield f"{lacking} of {len(videos)} videos have no subtitles{in_these}"


def divided(pieces: Sequence[Piece], shots: Sequence[Shot]) -> list[list[Piece]]:
    """The pieces that each shot shows; one across a cut is in the shots on both sides, if they show enough of it.

    pieces  of one video, in order of their times
    shots   of the video, in any order
    """
    order = sorted(range(len(shots)), key=lambda number: shots[number].start)
    starts = [shots[number].start for number in order]
    # The latest end so far: shots may overlap.
    ends = list(accumulate((shots[number].end for number in order), max))
    found: list[list[Piece]] = [[] for _ in shots]
    for piece in pieces:
        for place in range(bisect_left(ends, piece.start), bisect_right(starts, piece.end)):
            number = order[place]
            if _shows(shots[number], piece):
                found[number].append(piece)
    return found


def _shows(shot: Shot, piece: Piece) -> bool:
    shown = min(shot.end, piece.end) - max(shot.start, piece.start)
    if piece.start == piece.end:
        return shot.start <= piece.start < shot.end
    return shown > 0 and shown >= min(SHOWN, (piece.end - piece.start) / 2, (shot.end - shot.start) / 2)
