"""Features of texts in a store: what is written is read exactly, what is broken is refused."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import damaged
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avs_cli.errors import AvsError, FormatError, MismatchError
from avs_cli.io.store.composing import Origin, compose
from avs_cli.io.store.files import FileTable
from avs_cli.io.store.reader import Store, features
from avs_cli.io.store.texts import TextItem, TextStore, open_feature
from avs_cli.io.store.writer import Item, StoreWriter, StoreWriters, TextWriter
from avs_cli.types import Piece, Shot

MADE_BY = {"model": "subtitles", "spec": "subtitles", "versions": {"av": "18"}}
SCRIPTS = [
    *("שלום עולם", "مرحبا بالعالم", "你好, 世界", "こんにちは", "안녕하세요", "नमस्ते"),
    *(
        "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1fa\U0001f1f3",
        "e\u0301 vs é",
        "two\nlines\t\x00",
        "\ufeff",
        " ",
    ),
    "\u202eabc\u202c",
]


def item(i: int) -> TextItem:
    """Item si: i % 4 pieces, some with a box, some with a confidence, each in another script."""
    pieces = [
        Piece(
            SCRIPTS[(i + k) % len(SCRIPTS)],
            i + k / 4,
            i + 1.0,
            (0.125, 0.25, 0.5, 0.75) if (i + k) % 2 else None,
            0.5 if (i + k) % 3 else None,
        )
        for k in range(i % 4)
    ]
    return TextItem(Shot(f"s{i}", f"video{i // 5}.mp4", float(i), i + 1.5), f"s{i}", pieces)


def items(count: int) -> list[TextItem]:
    return [item(i) for i in range(count)]


def write(path: Path, made: Sequence[TextItem], batch: int = 100, feature: str = "subtitles") -> Path:
    with TextWriter(path, feature, MADE_BY) as writer:
        for first in range(0, len(made), batch):
            writer.add(made[first : first + batch])
        writer.finish([one.id for one in made])
    return path


def read(path: Path, feature: str | None = None) -> dict[str, tuple[Piece, ...]]:
    with TextStore(path, feature) as store:
        return dict(store.items())


def test_texts_of_every_script_come_back_exactly(tmp_path: Path) -> None:
    made = items(40)
    path = write(tmp_path / "a.h5", made)
    assert read(path) == {one.id: tuple(one.pieces) for one in made}
    with TextStore(path) as store:
        assert store.read(["s7", "s0", "s3"]) == [tuple(made[i].pieces) for i in (7, 0, 3)]
        assert store.shots()["s7"] == made[7].shot
        assert store.pieces == sum(len(one.pieces) for one in made)
        with pytest.raises(MismatchError, match="no item 's99'"):
            store.read(["s99"])


def test_the_schema_is_the_one_that_is_written_down(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "a.h5", items(6))) as file:
        group = file["subtitles"]
        assert (group.attrs["format"], group.attrs["format_version"]) == ("avs-texts", 1)
        assert sorted(group) == ["ids", "offsets", "pieces", "text"]
        assert group["offsets"][...].tolist() == [0, 0, 1, 3, 6, 6, 7]
        assert group["pieces"].dtype.names == ("start", "end", "box", "confidence", "bytes")
        low = int(group["pieces"]["bytes"][:1].sum())
        assert group["text"][low : low + group["pieces"]["bytes"][1]].tobytes().decode() == item(2).pieces[0].text


@settings(deadline=None, max_examples=5)
@given(st.permutations(range(12)), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_batches_and_arrival_leave_no_trace(
    tmp_path_factory: pytest.TempPathFactory, arrival: list[int], sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("stores")
    made = items(12)
    whole = write(folder / "whole.h5", made)
    left = [made[i] for i in arrival]
    for size in [*sizes, 12]:  # each writer is one that was killed before its end
        with TextWriter(folder / "parts.h5", "subtitles", MADE_BY) as writer:
            writer.add(left[:size])
            left = left[size:]
    with TextWriter(folder / "parts.h5", "subtitles", MADE_BY) as writer:
        assert writer.done == {one.id for one in made}
        assert writer.differing([made[3]._replace(pieces=made[2].pieces), made[5]]) == ["s3"]
        writer.finish([one.id for one in made])
    assert (folder / "parts.h5").read_bytes() == whole.read_bytes()


def test_texts_and_vectors_share_a_store(tmp_path: Path) -> None:
    made = items(6)
    vectors = [Item(one.shot, one.id, np.full(4, 1.0), b"jpeg") for one in made]
    apart = tmp_path / "apart.h5"
    with StoreWriter(apart, "tiny", 4, {"model": "tiny"}) as writer:
        writer.add(vectors)
        writer.finish([one.id for one in made])
    write(apart, made, batch=2)
    at_once = tmp_path / "at-once.h5"
    pair = StoreWriter(at_once, "tiny", 4, {"model": "tiny"}), TextWriter(at_once, "subtitles", MADE_BY)
    with StoreWriters(pair) as writers:
        pair[1].add(made)
        pair[0].add(vectors)
        writers.finish([one.id for one in made])
    assert apart.read_bytes() == at_once.read_bytes()
    assert features(apart) == ["subtitles", "tiny"]
    assert read(apart, "subtitles") == {one.id: tuple(one.pieces) for one in made}
    with open_feature(apart, "subtitles") as store:
        assert isinstance(store, TextStore) and store.thumbnail("s3") == b"jpeg"
    with pytest.raises(MismatchError, match="has texts, and vectors are needed"):
        Store(apart, "subtitles")
    with pytest.raises(MismatchError, match="has vectors, and texts are needed"):
        TextStore(apart, "tiny")
    with pytest.raises(MismatchError, match="vectors are texts and float16 of 4"):
        StoreWriter(apart, "subtitles", 4, MADE_BY).__enter__()


def test_an_index_takes_texts_along_under_other_ids(tmp_path: Path) -> None:
    made = items(8)
    old = write(tmp_path / "old.h5", made)
    new = write(tmp_path / "new.h5", [item(9)])
    shots = [Shot(f"t{i}", "moved.mp4", float(i), i + 1.0) for i in range(3)]
    origins = [Origin(old, ["s7", "", "s3"]), Origin(new, ["", "s9", ""])]
    compose(tmp_path / "both.h5", ["subtitles"], shots, origins, FileTable("content", ("subtitles",), []))
    wanted = {"t0": item(7), "t1": item(9), "t2": item(3)}
    assert read(tmp_path / "both.h5") == {id: tuple(one.pieces) for id, one in wanted.items()}


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (Piece("x", 2.0, 1.0), "out of range"),
        (Piece("x", -1.0, 1.0), "out of range"),
        (Piece("x", 0.0, float("nan")), "out of range"),
        (Piece("x", 0.0, 1.0, (0.0, 0.0, 1.5, 1.0)), "out of range"),
        (Piece("x", 0.0, 1.0, (0.5, 0.0, 0.25, 1.0)), "out of range"),
        (Piece("x", 0.0, 1.0, None, 2.0), "out of range"),
        (Piece("\ud800", 0.0, 1.0), "lone surrogate"),
        (Piece("x" * 70_000, 0.0, 1.0), "70000 bytes"),
    ],
)
def test_a_bad_piece_is_named_and_nothing_is_written(tmp_path: Path, piece: Piece, message: str) -> None:
    with TextWriter(tmp_path / "a.h5", "ocr", MADE_BY) as writer, pytest.raises(FormatError, match=message):
        writer.add([TextItem(None, "s1", [Piece("fine", 0.0, 1.0), piece])])
    assert not (tmp_path / "a.h5").exists()


def replaced(name: str, value: Any) -> Any:
    def change(file: Any) -> None:
        del file["subtitles"][name]
        file["subtitles"][name] = value

    return change


def rows(**values: Any) -> Any:
    def change(file: Any) -> None:
        pieces = file["subtitles/pieces"][...]
        for name, value in values.items():
            pieces[name][2] = value
        file["subtitles/pieces"][...] = pieces

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["subtitles"].attrs.__setitem__("format_version", 2), "texts of version 2"),
        (lambda file: file["subtitles"].attrs.__setitem__("format", "other"), "unknown format"),
        (replaced("pieces", np.zeros((3, 2))), "not a column of"),
        (replaced("pieces", np.zeros(7, "V40")), "not a column of"),
        (replaced("text", np.zeros(7, "i8")), "not a column of bytes"),
        (replaced("offsets", np.array([0, 0, 1, 3, 6, 5, 7])), "offsets do not divide"),
        (replaced("offsets", np.array([0, 0, 1, 3, 6, 6, 99])), "offsets do not divide"),
        (rows(bytes=2**32 - 1), "bytes of text"),
        (rows(start=np.nan), "s2: a time, box, confidence or length is out of range"),
        (rows(box=7.0), "s2: a time, box"),
        (rows(confidence=-1), "s2: a time, box"),
        (lambda file: file["subtitles/text"].__setitem__(slice(0, 2), 0xFF), "s1: a text is not UTF-8"),
    ],
)
def test_texts_that_break_the_schema_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = write(tmp_path / "a.h5", items(6))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(FormatError, match=message):
        read(path)


def test_no_accident_to_the_structure_of_texts_ends_in_a_traceback(tmp_path: Path) -> None:
    sound = write(
        tmp_path / "sound.h5", [one._replace(id=id) for one, id in zip(items(6), damaged.IDS, strict=True)], 9, "tiny"
    )
    data = sound.read_bytes()
    bad = tmp_path / "bad.h5"
    for number in range(150):
        chance = random.Random(number)
        if number % 2:
            shutil.copy(sound, bad)
            what = damaged.damage(bad, chance)
        else:
            changed = bytearray(data)
            for _ in range(chance.choice([1, 3])):
                changed[chance.randrange(chance.choice([2000, 8000, len(data)]))] = chance.randrange(256)
            bad.write_bytes(changed[: chance.choice([len(data), len(data), chance.randrange(len(data))])])
            what = "bytes"
        try:
            for name in features(bad):
                with open_feature(bad, name) as store:
                    if isinstance(store, TextStore):
                        list(store.items())
                    store.shots(), store.thumbnail("video1")
        except (AvsError, OSError):
            pass
        except Exception as error:
            raise AssertionError(f"{number}: {what}") from error
