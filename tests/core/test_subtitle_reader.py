"""Which shot has which subtitle, and what every reader of words offers."""

import inspect
from collections.abc import Iterator, Sequence

import pytest

from avs_cli.core.words import ReadingSetting, ShotWords, readers
from avs_cli.core.words.subtitles import SubtitleReader, divided
from avs_cli.types import Cues, Failure, Piece, Shot


def shots(*spans: tuple[float, float]) -> list[Shot]:
    return [Shot(f"s{number}", "a.mp4", start, end) for number, (start, end) in enumerate(spans, start=1)]


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        (1.0, 3.0, "s1"),
        (9.0, 11.0, "s1 s2"),  # a second on either side of the cut
        (7.0, 10.4, "s1"),  # lingers less than half a second after the cut
        (9.6, 13.0, "s2"),
        (9.7, 10.3, "s1 s2"),  # half of itself on either side
        (9.5, 11.0, "s1 s2"),
        (10.0, 12.0, "s2"),
        (5.0, 25.0, "s1 s2 s3"),
        (20.0, 20.3, "s3"),  # half of a short shot
        (10.0, 10.0, "s2"),  # of unknown duration
        (30.0, 31.0, ""),
    ],
)
def test_a_shot_has_the_subtitles_that_it_shows_for_a_while(start: float, end: float, shown: str) -> None:
    of_video = shots((0, 10), (10, 20), (20, 20.4))
    found = divided([Piece("x", start, end)], of_video)
    assert [shot.id for shot, pieces in zip(of_video, found, strict=True) if pieces] == shown.split()


def test_shots_may_overlap_and_come_in_any_order() -> None:
    of_video = shots((50, 60), (0, 100), (10, 20), (20, 30))
    pieces = [Piece("first", 11, 12), Piece("second", 51, 52), Piece("third", 70, 71)]
    found = [[piece.text for piece in own] for own in divided(pieces, of_video)]
    assert found == [["second"], ["first", "second", "third"], ["first"], []]


class Given:
    """Subtitles of videos, as files would give them."""

    def __init__(self, **videos: Cues | Failure):
        self.videos = videos

    def cues(
        self, videos: Sequence[str], languages: Sequence[str], workers: int, timeout: float
    ) -> Iterator[tuple[str, Cues | Failure]]:
        yield from ((video, self.videos[video]) for video in videos)


def test_a_video_without_subtitles_is_noted_and_one_that_cannot_be_read_fails_with_its_shots() -> None:
    given = Given(
        a=Cues([Piece("x", 0, 1)], 1, ["a.srt: odd"]),
        b=Failure("b", "decode", "b: broken"),
        c=Cues([], 0),
        d=Cues([], 1),
    )
    videos = {video: [Shot(f"{video}{n}", video, n, n + 1.0) for n in range(2)] for video in "abcd"}
    found = list(SubtitleReader(ReadingSetting(given), ()).read(videos))
    assert found[0] == "a.srt: odd" and found[-1] == "1 of 4 videos have no subtitles"
    assert [(one.id, one.message) for one in found if isinstance(one, Failure)] == [
        ("b0", "b: broken"),
        ("b1", "b: broken"),
    ]
    words = {one.shot.id: [piece.text for piece in one.pieces] for one in found if isinstance(one, ShotWords)}
    assert words == {"a0": ["x"], "a1": [], "c0": [], "c1": [], "d0": [], "d1": []}


@pytest.mark.parametrize("name", readers.names())
def test_every_reader_says_what_it_heeds_and_downloads(name: str) -> None:
    module = readers.module(name)
    assert {*module.USES} <= {"fps", "max_frames", "weights", "device", "threads", "workers", "timeout"}
    assert module.REMARK
    assert next(iter(inspect.signature(module.load).parameters)) == "setting"
