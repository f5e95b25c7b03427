"""Subtitles from files and streams: formats, encodings, markup and names; nothing in them ends in a traceback."""

import random
from pathlib import Path

import pytest
from films import subtitled_film

from avs_cli.errors import FormatError
from avs_cli.io.video.subtitles import cues, read_side, side_files
from avs_cli.types import Cues, Failure, Piece

SRT = """1
00:00:01,000 --> 00:00:02,500
{\\an8}Hello <i>world</i>
<font color="red">second</font> line

2
00:00:03.250 --> 00:00:04.000 X1:10 X2:20
C:\\Network {not a tag} \\N

3
00:00:05,000 --> 00:00:06,000

4
00:00:07,000 --> 00:00:08,000
שלום עולם 你好 \U0001f469\u200d\U0001f467 e\u0301
"""
VTT = """WEBVTT - a title

NOTE a comment
of two lines

STYLE
::cue { color: red }

an identifier
00:01.000 --> 00:02.500 align:start position:10%
<v Bob>Hello <c.yellow>world</c></v>
second <00:02.000>line

00:03.250 --> 00:04.000
C:\\Network {not a tag} \\N &lt;b&gt; &amp;amp;

01:00:07.000 --> 01:00:08.000
שלום עולם 你好 \U0001f469\u200d\U0001f467 e\u0301
"""
ASS = """[Script Info]
ScriptType: v4.00+

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\pos(1,2)\\b1}Hello{\\b0} world\\Nsecond line
Comment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,of the translator
Dialogue: 0,0:00:03.25,0:00:04.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0{\\p0}commas, and\\hspaces
Dialogue: 0,0:00:05.00,0:00:06.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0
"""
LAST = "שלום עולם 你好 \U0001f469\u200d\U0001f467 e\u0301"
HELLO = Piece("Hello world\nsecond line", 1.0, 2.5)


def read(name: str, text: str, encoding: str = "utf-8") -> list[Piece]:
    return read_side(name, text.encode(encoding))[0]


@pytest.mark.parametrize(
    ("name", "text", "rest"),
    [
        ("a.srt", SRT, [Piece("C:\\Network {not a tag} \\N", 3.25, 4.0), Piece(LAST, 7.0, 8.0)]),
        ("a.vtt", VTT, [Piece("C:\\Network {not a tag} \\N <b> &amp;", 3.25, 4.0), Piece(LAST, 3607.0, 3608.0)]),
        ("a.ass", ASS, [Piece("commas, and spaces", 3.25, 4.0)]),
        ("a.SSA", ASS, [Piece("commas, and spaces", 3.25, 4.0)]),
    ],
)
def test_every_format_gives_its_texts_without_markup(name: str, text: str, rest: list[Piece]) -> None:
    assert read(name, text) == [HELLO, *rest]
    assert read(name, text.replace("\n", "\r\n"), "utf-8-sig") == [HELLO, *rest]
    assert read(name, text, "utf-16") == [HELLO, *rest]


def test_a_file_that_is_not_utf_8_is_western_and_noted() -> None:
    pieces, note = read_side("a.srt", "1\n00:00:01,000 --> 00:00:02,000\ncafé – 5 €\n".encode("cp1252"))
    assert pieces[0].text == "café – 5 €"
    assert note == "a.srt: not UTF-8, read as Windows-1252 (Western European)"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no subtitles at all", "has no subtitles"),
        (b"\xff\xfea", "not UTF-16"),
        (b"\x89PNG\0\0\0\xff", "not text"),
        (b"1\n00:00:01,000 --> 00:00:02,000\n" + b"x" * 70_000 + b"\n", "a text of 7.* bytes"),
    ],
)
def test_a_file_without_subtitles_is_one_line(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=f"a.srt: {message}"):
        read_side("a.srt", data)
    assert read_side("a.srt", b" \n") == ([], "")


def test_files_belong_to_the_video_that_they_are_named_after(tmp_path: Path) -> None:
    names = [
        "movie.srt", "movie.en.srt", "movie.pt-BR.forced.vtt", "movie.SDH.ass", "movie.part2.srt", "movie.part2.en.srt",
        "movie.draft7.srt", "movies.srt", ".movie.srt", "movie.txt", "other.en.SRT",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    videos = [str(tmp_path / name) for name in ("movie.mp4", "movie.mkv", "movie.part2.mp4", "other.webm", "none.mp4")]
    found = {
        Path(video).name: {Path(file.path).name: file.language for file in files}
        for video, files in side_files(videos).items()
    }
    of_movie = {"movie.SDH.ass": "", "movie.en.srt": "en", "movie.pt-BR.forced.vtt": "pt-br", "movie.srt": ""}
    assert found == {
        "movie.mp4": of_movie,
        "movie.mkv": of_movie,
        "movie.part2.mp4": {"movie.part2.srt": "", "movie.part2.en.srt": "en"},
        "other.webm": {"other.en.SRT": "en"},
        "none.mp4": {},
    }


def test_streams_and_files_are_read_together_or_by_language(tmp_path: Path) -> None:
    spoken = [(0.5, 1.5, "Hello <i>world</i>"), (4.0, 6.0, LAST)]
    film = subtitled_film(tmp_path / "a.mkv", 8, spoken)
    (tmp_path / "a.eng.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nHello world\n")  # the copy of a stream
    (tmp_path / "a.de-AT.vtt").write_text("WEBVTT\n\n00:02.000 --> 00:03.000\nGrüße\n")
    unmarked = [(0.5, 1.5, "Hello world"), spoken[1]]
    other = subtitled_film(tmp_path / "b.mp4", 8, unmarked, codec="mov_text")
    plain = subtitled_film(tmp_path / "c.mp4", 2, [])
    (tmp_path / "d.mp4").write_bytes(b"no video")
    videos = [str(film), str(other), str(plain), str(tmp_path / "d.mp4")]

    def found(*languages: str) -> list[Cues | Failure]:
        return [result for _, result in cues(videos, languages, 2, 60)]

    first = [Piece("Hello world", 0.5, 1.5), Piece("Grüße", 2.0, 3.0), Piece(LAST, 4.0, 6.0)]
    a, b, c, d = found()
    assert isinstance(a, Cues) and (a.pieces, a.tracks) == (first, 3)
    assert isinstance(b, Cues) and (b.pieces, b.tracks) == ([first[0], first[2]], 1)
    assert c == Cues([], 0, ())
    assert isinstance(d, Failure) and d.message.startswith(f"{videos[3]}: not a video")
    a, b, *_ = found("de", "en")
    assert isinstance(a, Cues) and (a.pieces, a.tracks) == ([first[1]], 1)
    assert isinstance(b, Cues) and not b.tracks


def mutated(text: str, chance: random.Random) -> bytes:
    """The text with a few accidents."""
    data = bytearray(text.encode(chance.choice(["utf-8", "utf-8", "utf-16"])))
    for _ in range(chance.choice([1, 2, 5])):
        place = chance.randrange(len(data))
        odd = [b"-->", b"\n\n", b"99999999999:00:00,000", b"{\\p1}", b"<" * 99, b"\0", b"-1", b"\xff\xfe"]
        odd += [b"", b"\n", bytes([chance.randrange(256)]), bytes(data[place : place + 20] * 3)]
        data[place : place + chance.choice([0, 1, 8])] = chance.choice(odd)
    return bytes(data[: chance.choice([len(data), len(data), chance.randrange(len(data))])])


def test_no_accident_to_a_file_of_subtitles_ends_in_a_traceback() -> None:
    read_well = 0
    for number in range(150):
        chance = random.Random(number)
        name, text = chance.choice([("a.srt", SRT), ("a.vtt", VTT), ("a.ass", ASS)])
        data = mutated(text, chance)
        try:
            pieces, _ = read_side(name, data)
        except FormatError:
            continue
        except Exception as error:
            raise AssertionError(f"{number}: {data!r}") from error
        read_well += bool(pieces)
        assert all(0 <= piece.start <= piece.end and piece.text.strip() for piece in pieces)
    assert read_well > 50
