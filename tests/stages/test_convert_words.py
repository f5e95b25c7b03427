"""Words of shots as JSON lines and subtitles: there and back without a change, and damaged files in one line."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avs_cli.errors import AvsError, FormatError, MismatchError, SpecError
from avs_cli.io.store.texts import TextItem, TextStore
from avs_cli.io.store.writer import TextWriter
from avs_cli.io.text.shots import write_shots
from avs_cli.stages.convert import convert
from avs_cli.types import Piece, Shot

TEXTS = [
    *("שלום עולם", "你好, 世界", "नमस्ते", "e\u0301 vs é", "\U0001f469\u200d\U0001f467", "a & b < c > d", "1984"),
    *("C:\\Network \\N", "{curly} {{twice}}", "- two\n- speakers", "\u202eright to left\u202c"),
    *("line\u2028separator", "&amp; &lt;i&gt;"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, texts: list[str], feature: str = "subtitles", boxes: bool = False) -> list[TextItem]:
    """Two shots of each of two videos, the texts among them, and one shot without any."""
    shots = [Shot(f"{video}_{n}", f"{video}.mp4", 100.0 * n, 100.0 * n + 100) for video in "ab" for n in range(2)]
    pieces: list[list[Piece]] = [[] for _ in shots]
    for number, text in enumerate(texts):
        which = number % 3
        start = shots[which].start + number + 0.125
        box = tuple(np.float32([0.1, 0.2, 0.3, 0.4]).tolist()) if boxes else None
        sure = float(np.float32(0.97)) if boxes and number % 2 else None
        pieces[which].append(Piece(text, start, start + 0.75, box, sure))
    made = [TextItem(shot, shot.id, own) for shot, own in zip(shots, pieces, strict=True)]
    with TextWriter(path, feature, {"model": feature}) as writer:
        writer.add(made)
        writer.finish([item.id for item in made])
    return made


def read(path: str) -> dict[str, tuple[Piece, ...]]:
    with TextStore(path) as store:
        return dict(store.items())


def test_json_lines_are_exact() -> None:
    write("a.h5", [*TEXTS, " \t", "\x00", "\ufeff"], "ocr", boxes=True)
    convert("a.h5", "a.jsonl")
    first = json.loads(Path("a.jsonl").read_text(encoding="utf-8").split("\n")[0])
    assert first["pieces"][0] == {
        "text": TEXTS[0], "start": 0.125, "end": 0.875, "box": [0.1, 0.2, 0.3, 0.4],
    }  # fmt: skip
    convert("a.jsonl", "b.h5::ocr")
    assert Path("b.h5").read_bytes() == Path("a.h5").read_bytes()
    convert("a.jsonl", "b.h5::ocr")
    Path("a.jsonl").write_text(Path("a.jsonl").read_text(encoding="utf-8").replace("1984", "1985"), encoding="utf-8")
    with pytest.raises(MismatchError, match="with different texts"):
        convert("a.jsonl", "b.h5::ocr")


@pytest.mark.parametrize("layout", ["srt", "vtt"])
def test_subtitles_of_a_folder_come_back_to_the_shots_of_a_table(layout: Any) -> None:
    made = write("a.h5", TEXTS)
    convert("a.h5", "subs/", layout=layout)
    assert sorted(path.name for path in Path("subs").iterdir()) == [f"a.{layout}", f"b.{layout}"]
    write_shots("shots.tsv", [item.shot for item in made if item.shot])
    convert("subs", "b.h5", shots="shots.tsv")
    wanted = {item.id: tuple(item.pieces) for item in made}
    assert read("b.h5") == wanted
    assert Path("b.h5").read_bytes() == Path("a.h5").read_bytes()
    convert("subs", "c.h5")
    assert {id: len(pieces) for id, pieces in read("c.h5").items()} == {"a": 9, "b": 4}


def test_what_cannot_be_written_is_one_line() -> None:
    write("a.h5", TEXTS)
    with pytest.raises(SpecError, match="texts of 2 videos; write to a folder"):
        convert("a.h5", "a.srt")
    with pytest.raises(SpecError, match="--layout bigfile is of vectors"):
        convert("a.h5", "folder/", layout="bigfile")
    with pytest.raises(SpecError, match=r"to \.jsonl, \.srt or \.vtt"):
        convert("a.h5", "a.npy")
    convert("a.h5", "a.jsonl")
    with pytest.raises(SpecError, match="words are converted to a feature store"):
        convert("a.jsonl", "a.npy")
    write_shots("shots.tsv", [Shot("x_1", "x.mp4", 0.0, 1.0)])
    Path("a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nx\n")
    with pytest.raises(MismatchError, match=r"shots\.tsv has no video for a\.srt"):
        convert("a.srt", "b.h5", shots="shots.tsv")
    Path("lines.jsonl").write_text('{"shot": "s", "pieces": []}\n')
    convert("lines.jsonl", "c.h5")
    with pytest.raises(FormatError, match="no shots that say which video"):
        convert("c.h5", "c.srt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"shot": "s", "pieces": [{"text": "x", "start": 2, "end": 1}]}', "a time, box or confidence is out of range"),
        ('{"shot": "s", "pieces": [{"text": "x", "start": 0, "end": 1, "box": [0, 0, 2, 1]}]}', "out of range"),
        ('{"shot": "s", "pieces": [{"text": "x", "start": 0, "end": 1, "box": [0, 0, 1]}]}', "not "),
        ('{"shot": "s", "pieces": [{"text": 7, "start": 0, "end": 1}]}', "not "),
        ('{"shot": "s", "pieces": [{"text": "\\ud800", "start": 0, "end": 1}]}', "not "),
        ('{"shot": "s", "pieces": [], "video": "a.mp4"}', "not "),
        ('{"shot": "first", "pieces": []}', "duplicate shot 'first'"),
        ("[]", "not "),
    ],
)
def test_a_wrong_line_is_named(line: str, message: str) -> None:
    Path("a.jsonl").write_text(f'{{"shot": "first", "pieces": []}}\n\n{line}\n')
    with pytest.raises(FormatError, match=f"a.jsonl:3: .*{message}"):
        convert("a.jsonl", "a.h5")
    assert not Path("a.h5").exists()


def test_no_accident_to_json_lines_ends_in_a_traceback() -> None:
    write("a.h5", TEXTS, boxes=True)
    convert("a.h5", "a.jsonl")
    whole = Path("a.jsonl").read_bytes()
    for number in range(150):
        chance = random.Random(number)
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 3])):
            place = chance.randrange(len(data))
            odd = [*b'null NaN 1e999 [ {} " - \\ud800 true \xff'.split(), b"", b"\n", b"9" * 400]
            data[place : place + chance.choice([0, 1, 6])] = chance.choice(odd)
        Path("bad.jsonl").write_bytes(data)
        Path("bad.h5").unlink(missing_ok=True)
        try:
            convert("bad.jsonl", "bad.h5")
            read("bad.h5")
        except (AvsError, OSError):
            continue
        except Exception as error:
            raise AssertionError(f"{number}: {data!r}") from error
