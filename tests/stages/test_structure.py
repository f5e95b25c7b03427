"""Queries with structure, searched: each is what its parts give when they are searched for apart."""

import sys
from pathlib import Path

import numpy as np
import pytest
from colours import colour_gallery, jpeg, use_colours

from avs_cli.core.search.exact import top_shots
from avs_cli.core.search.queries import ABSENT
from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.io.store.reader import open_gallery
from avs_cli.reporting import Reporter
from avs_cli.stages.extract import extract_texts
from avs_cli.stages.search import search, searching
from avs_cli.stages.search_steps import rank_steps
from avs_cli.stages.sequences import sequence
from avs_cli.stages.topic_texts import followed, read, steps_of
from avs_cli.types import Shot, Topic, Variant

VECTORS = {
    "red": (1.0, 0.1, 0.0), "rose": (0.9, 0.2, 0.3), "green": (0.0, 1.0, 0.1), "lime": (0.3, 1.0, 0.0),
    "blue": (0.1, 0.0, 1.0), "violet": (0.6, 0.0, 0.8),
}  # fmt: skip
SHOTS = {id: Shot(id, f"{k // 3}.mp4", 10.0 * (k % 3), 10.0 * (k % 3) + 6) for k, id in enumerate(VECTORS)}


class Notes(Reporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture(autouse=True)
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_colours(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return colour_gallery(tmp_path / "g.h5", VECTORS, SHOTS)


def ranking(query: str | Topic, **settings: object) -> dict[str, float]:
    topics = {"query": query} if isinstance(query, str) else [query]
    return search("g.h5", topics, threads=1, **settings)["query"]  # type: ignore[arg-type]


def test_parts_are_wordings_with_weights_and_pictures_too(tmp_path: Path) -> None:
    parts = (Variant(1.0, "r g"), Variant(0.5, "b"), Variant(-ABSENT, "g"), Variant(-2.0, "g b"))
    assert ranking("r g +b ^0.5 -g -g b ^2") == ranking(Topic("query", "", variants=parts))
    (tmp_path / "blue sea.png").write_bytes(jpeg((0, 0, 1), kind="PNG"))
    assert read({"1": "g ^0.5 +r g -b"})[0].query == "r g"
    with_picture = Topic("query", "", variants=(Variant(1.0, "r"), Variant(2.0, "blue sea.png")))
    assert ranking('r like:"blue sea.png" ^2') == ranking(with_picture)
    assert ranking("blue sea.png") == ranking('like:"blue sea.png"')


def test_shots_are_examples_as_with_like_and_weigh_more_or_less() -> None:
    assert ranking("r like:blue like:lime") == search("g.h5", {"query": "r"}, like=["blue", "lime"], threads=1)["query"]
    assert ranking("like:blue") == search("g.h5", like=["blue"], threads=1)["query"]
    unit = {id: np.array(one) / np.linalg.norm(one) for id, one in VECTORS.items()}
    moved = np.array([1, 0, 0]) + (3 * unit["blue"] + unit["lime"]) / 2 - 0.5 * unit["green"]
    found = ranking("r like:blue ^3 like:lime -like:green")
    expected = {id: unit[id] @ moved / np.linalg.norm(moved) for id in ("red", "rose", "violet")}
    # The vectors of sentences have three numbers and no more, those of the store 32 bits.
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_sequence_is_that_of_the_runs_of_its_steps() -> None:
    apart = search("g.h5", {"r": "r", "b": "b -g", "g": "g"}, threads=1)
    run = {id: {"query": scores} for id, scores in apart.items()}
    two = sequence(run["r"], run["b"], "g.h5", 5)["query"]
    assert ranking("r > b -g < 5s") == two
    three = sequence(run["r"], sequence(run["b"], run["g"], "g.h5", 4), "g.h5", 30)["query"]
    assert ranking("r > b -g > g < 4s") == three and [*three] == ["red", "lime"]
    assert ranking("r > b -g > g < 4s", depth=1) == {"red": three["red"]}
    assert search("g.h5", [followed("r", ["b -g", "g"], 4)], threads=1)["query"] == ranking("r > b -g < 4s > g < 4s")
    # A step leaves out its own examples, and a shot without a time is in no sequence.
    assert "rose" not in ranking("r like:rose > g")


def test_plain_topics_and_sequences_share_a_file_and_a_search(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("1 r\n2 r > g < 5s\n3 b > b < 1s\n4 g -b\n")
    notes = Notes()
    run = search("g.h5", "t.txt", depth=2, threads=1, report=notes)
    assert run == {
        "1": ranking("r", depth=2),
        "2": ranking("r > g < 5s", depth=2),
        "3": {},
        "4": ranking("g -b", depth=2),
    }
    assert notes.messages == ["no shot is followed by what is to follow within 1 s, for topic 3"]


def test_scores_of_all_shots_are_those_of_rankings_whoever_computes_them() -> None:
    asked = {topic.id: steps_of(topic) for topic in read({"1": "r > like:red > b", "2": "g", "3": "g -r > b < 9s"})}
    with open_gallery(["g.h5"]) as shots:
        draw = np.random.default_rng(0)
        vectors = {topic: draw.normal(size=(len(steps), 3)) for topic, steps in asked.items()}

        def best(some: np.ndarray, depth: int) -> list[dict[str, float]]:
            return top_shots([some], shots, depth, 1)[0]

        for depth in (1, sys.maxsize - 1):
            here = rank_steps(asked, vectors, shots, depth, best, 1, Notes())
            assert here == rank_steps(asked, vectors, shots, depth, best, None, Notes())


def test_what_is_to_be_absent_may_be_left_to_the_model_or_to_the_vector() -> None:
    assert ranking("r r g -b -g b", negation="sentence") == ranking("r r g without b or g b")
    subtracted, optimized = ranking("r r b -b"), ranking("r r b -b", negation="deo")
    assert optimized != subtracted != ranking("r r b")
    assert optimized["blue"] < ranking("r r b")["blue"]
    assert ranking("r g", negation="deo") == ranking("r g")


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("a > ", SpecError, "query, character 3: '>': nothing follows it"),
        ("-r", MismatchError, "the query only says what is to be absent; say what to look for"),
        ("r > -b", MismatchError, "the query only says what is to be absent"),
        ("r like:pink", MismatchError, "the gallery has no shot 'pink'"),
        ("r +gone.png", MismatchError, "gone.png: no such image"),
    ],
)
def test_a_query_that_cannot_be_searched_is_refused(query: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ranking(query)


def test_errors_of_a_file_name_it_and_the_topic(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("661 r > b\n662 r ^0\n")
    with pytest.raises(FormatError, match=r"^t.txt: topic 662, character 3: '\^0': a weight is above 0"):
        search("g.h5", "t.txt")


def test_steps_are_for_searches_in_galleries_of_vectors_alone(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="topic 1 is a sequence, which only avs search in a gallery of vectors"):
        extract_texts({"1": "a > b"}, "t.h5", "colour")
    with pytest.raises(MismatchError, match="topic 1 is a query with shots as examples, which only"):
        extract_texts({"1": "a like:b"}, "t.h5", "colour")
    with pytest.raises(MismatchError, match="topic 1 is a sequence or has examples"):
        search("g.h5", {"1": "r > b"}, at_least=0.5)
    (tmp_path / "t.txt").write_text("1\tr -b\tA narrative > as it is.\n")
    with pytest.raises(MismatchError, match="topic 1 is no plain sentence; use --field query"):
        read("t.txt", "both")
    assert read("t.txt", "narrative")[0].query == "A narrative > as it is."
    # Stored topics have the vectors of their structure, and captions none.
    name = extract_texts({"1": "r -b"}, "t.h5", "colour", dtype="float32", threads=1)
    with searching("g.h5", vectors=name, threads=1) as found:
        assert found.run["1"] == pytest.approx(ranking("r -b"), abs=1e-6)
    (tmp_path / "c.txt").write_text("a#enc#0 r -b\na#enc#1 r > b\n")
    assert [one.query for one in read("c.txt")] == ["r -b", "r > b"] and not read("c.txt")[0].variants
