"""Search among the words of shots: runs as of any search, over one store or the parts of a gallery."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores import store

from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.store.texts import TextItem
from avs_cli.io.store.writer import TextWriter
from avs_cli.io.text.trec import read_run
from avs_cli.stages.search_words import by_feature, excerpt, search_words
from avs_cli.types import Piece, Shot, Topic, Variant, ranked

SAID = {
    "a1": "we sail at dawn", "a2": "dawn of the dead", "b1": "", "b2": "sail sail sail", "c1": "we sail at dawn",
    "c2": "nothing to see",
}  # fmt: skip
MADE_BY = {"model": "subtitles", "spec": "subtitles"}


def write(path: str, said: dict[str, str], feature: str = "subtitles") -> None:
    with TextWriter(path, feature, MADE_BY) as writer:
        shots = [Shot(id, f"{id[0]}.mp4", 0.0, 1.0) for id in said]
        writer.add([TextItem(s, s.id, [Piece(said[s.id], 0, 1)] if said[s.id] else []) for s in shots])
        writer.finish([*said])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("words.h5", SAID)
    return tmp_path


def test_shots_are_ranked_and_ties_broken_as_everywhere(hearing: Callable[[], Any]) -> None:
    report = hearing()
    run = search_words("words.h5", {"1": "sail at dawn", "2": "unheard of", "3": '"of the dead"'}, report=report)
    assert [*run["1"]] == ["c1", "a1"] == ranked(run["1"])
    assert run["1"]["c1"] == run["1"]["a1"] > 0
    assert run["2"] == {} and [*run["3"]] == ["a2"]
    assert report.notes == ["subtitles: no shot has the words of topic 2"]
    some = search_words("words.h5", {"1": "sail at dawn"}, at_least=0, depth=3)
    assert set(some["1"]) <= set(SAID) and len(some["1"]) == 3


def test_the_parts_of_a_gallery_are_searched_as_the_whole() -> None:
    whole = search_words("words.h5", {"1": "sail", "2": "dawn"})
    for name in "abc":
        write(f"{name}.h5", {id: text for id, text in SAID.items() if id[0] == name})
    assert search_words(["c.h5", "a.h5", "b.h5"], {"1": "sail", "2": "dawn"}) == whole
    with pytest.raises(MismatchError, match="'a1' is in both"):
        search_words(["words.h5", "a.h5"], {"1": "sail"})


def test_wordings_of_a_topic_are_added_by_their_weights() -> None:
    each = search_words("words.h5", {"sail": "sail", "dawn": "dawn"})
    topic = Topic("1", "sail", "", (Variant(2.0, "sail"), Variant(0.5, "dawn")))
    together = search_words("words.h5", [topic])["1"]
    assert together == pytest.approx(
        {id: 2 * each["sail"].get(id, 0) + 0.5 * each["dawn"].get(id, 0) for id in ("a1", "a2", "b2", "c1")}
    )
    without = Topic("1", "sail", "", (Variant(1.0, "sail"), Variant(-9.0, "dawn")))
    assert [*search_words("words.h5", [without])["1"]] == ["b2"]


def test_pieces_of_words_find_words_with_errors() -> None:
    assert search_words("words.h5", {"1": "dewn"})["1"] == {}
    assert set(search_words("words.h5", {"1": "dawm"}, ngrams=2)["1"]) == {"a1", "a2", "c1"}
    assert excerpt([Piece("at dawn", 0, 1), Piece("we sail", 1, 2)], "dawm", 2) == "at dawn"
    with pytest.raises(SpecError, match="expected 2 or more"):
        search_words("words.h5", {"1": "dawn"}, ngrams=1)


def test_stores_are_told_apart_by_what_they_hold() -> None:
    write("words.h5", SAID, "ocr")
    store(Path("clip.h5"), "clip", {"a1": [1.0, 0.0]})
    given = ["clip.h5", "words.h5::ocr", "words.h5::subtitles"]
    texts = {"ocr": ["words.h5::ocr"], "subtitles": ["words.h5::subtitles"]}
    assert by_feature(given) == (texts, ["clip.h5"])
    with pytest.raises(MismatchError, match="has vectors, and texts are needed"):
        search_words("clip.h5", {"1": "sail"})


def test_the_command_writes_a_run_of_each_feature(avs_here: Callable[..., Any]) -> None:
    write("words.h5", SAID, "ocr")
    Path("topics.txt").write_text('661 "sail at dawn"\n662 unheard\n')
    ran = avs_here("search", "words.h5::ocr", "--topics", "topics.txt")
    assert ran.returncode == 0 and ran.stderr == "avs: ocr: no shot has the words of topic 662\n"
    assert [line.split()[:4] for line in ran.stdout.splitlines()] == [
        ["661", "Q0", "c1", "1"],
        ["661", "Q0", "a1", "2"],
    ]
    assert avs_here("search", "words.h5::ocr", "words.h5::subtitles", "-q", "sail", "-o", "runs/").returncode == 0
    assert [*read_run("runs/ocr.run")["query"]] == [*read_run("runs/subtitles.run")["query"]] == ["b2", "c1", "a1"]
    for line, message in (
        (["words.h5::ocr", "words.h5::subtitles", "-q", "x"], "give --output FOLDER"),
        (["words.h5::ocr", "-q", "x", "--device", "cpu"], "--device has no effect on features of texts"),
        (["words.h5::ocr", "--like", "a1"], "--like has no effect on a feature of texts"),
        (["words.h5", "-q", "x"], "has 2 features; choose one"),
    ):
        ran = avs_here("search", *line)
        assert ran.returncode in (2, 3) and message in ran.stderr, ran.stderr
