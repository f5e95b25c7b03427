"""Marks are qrels that other commands read, whole at any moment, and can be taken back."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from avs_cli.errors import FormatError, SpecError
from avs_cli.io.text.marks import IRRELEVANT, RELEVANT, MarksFile
from avs_cli.io.text.topics import read_topics
from avs_cli.io.text.trec import read_qrels
from avs_cli.types import Judgment, Topic, Variant

DOG, CAT = Topic("", "a dog"), Topic("", "a cat", variants=(Variant(1.0, "a cat"), Variant(-0.5, "dogs")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "marks.qrels"


def test_marks_are_qrels_with_a_topic_for_each_query(path: Path) -> None:
    marks = MarksFile(path)
    assert not path.exists()
    assert marks.mark(DOG, "s2", RELEVANT).topic == "1"
    assert marks.mark(CAT, "s1", IRRELEVANT).topic == "2"
    marks.mark(DOG, "s1", IRRELEVANT)
    assert path.read_text() == "1 0 s2 1\n1 0 s1 0\n2 0 s1 0\n"
    assert read_qrels(str(path)) == {"1": {"s2": RELEVANT, "s1": IRRELEVANT}, "2": {"s1": IRRELEVANT}}
    assert read_topics(str(path.with_name("marks.topics.jsonl"))) == [Topic("1", "a dog"), Topic("2", *CAT_FIELDS)]


CAT_FIELDS = (CAT.query, "", CAT.variants)


def test_a_later_session_knows_the_topics_and_goes_on(path: Path) -> None:
    MarksFile(path).mark(DOG, "s1", RELEVANT)
    again = MarksFile(path)
    assert again.mark(DOG, "s2", RELEVANT).topic == "1"
    assert again.mark(CAT, "s2", RELEVANT).topic == "2"
    assert path.read_text() == "1 0 s1 1\n1 0 s2 1\n2 0 s2 1\n"


def test_undo_takes_the_changes_of_a_query_back_one_by_one(path: Path) -> None:
    marks = MarksFile(path)
    marks.mark(DOG, "s1", RELEVANT)
    marks.mark(DOG, "s1", IRRELEVANT)
    marks.mark(CAT, "s9", RELEVANT)
    undone = marks.undo(DOG)
    assert undone is not None and (undone.before, undone.after) == (RELEVANT, IRRELEVANT)
    assert read_qrels(str(path)) == {"1": {"s1": RELEVANT}, "2": {"s9": RELEVANT}}
    marks.undo(DOG)
    assert marks.undo(DOG) is None
    assert path.read_text() == "2 0 s9 1\n"
    MarksFile(path).undo(CAT)
    assert not path.exists()


def test_a_mark_that_is_taken_back_is_no_line(path: Path) -> None:
    marks = MarksFile(path)
    marks.mark(DOG, "s1", RELEVANT)
    marks.mark(DOG, "s2", RELEVANT)
    marks.mark(DOG, "s1", None)
    assert path.read_text() == "1 0 s2 1\n"
    marks.undo(DOG)
    assert path.read_text() == "1 0 s2 1\n1 0 s1 1\n"


def test_judgments_of_others_stay_as_they_are(path: Path) -> None:
    path.write_text("1731 0 s5 2 -1\n1731 0 s6 1 1\n")
    marks = MarksFile(path)
    assert marks.mark(DOG, "s1", RELEVANT).topic == "1732"
    assert path.read_text() == "1731 0 s5 2 -1\n1731 0 s6 1 1\n1732 0 s1 1 1\n"
    with path.open("a") as other:
        other.write("1732 0 s7 1 1\n")
    marks.mark(DOG, "s2", RELEVANT)
    assert read_qrels(str(path))["1732"] == {"s1": RELEVANT, "s7": Judgment(1, "1"), "s2": RELEVANT}


def test_texts_of_any_script_and_with_any_signs_are_read_back(path: Path) -> None:
    texts = ["犬が浜辺を走る", 'a "quoted" | piped, {braced} text', "1 2 3", "überall – 50 %"]
    marks = MarksFile(path)
    for text in texts:
        marks.mark(Topic("", text), "s1", RELEVANT)
    assert [topic.query for topic in read_topics(str(marks.beside))] == texts
    assert [MarksFile(path).topic(Topic("", text)) for text in texts] == ["1", "2", "3", "4"]


def test_what_is_no_qrels_and_what_is_packed_is_refused(path: Path) -> None:
    path.write_text("not a qrels\n")
    with pytest.raises(FormatError, match="3 columns"):
        MarksFile(path)
    with pytest.raises(SpecError, match="plain file"):
        MarksFile(path.with_name("marks.qrels.gz"))


@pytest.mark.parametrize("called", ["os.replace", "os.fsync"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_kill_at_any_moment_leaves_whole_files(path: Path, called: str, count: int) -> None:
    """A process is killed at the `count`-th call, after it has made three marks at most."""
    MarksFile(path).mark(DOG, "s0", RELEVANT)
    child = os.fork()
    if not child:
        try:
            _kill_at(called, count)
            marks = MarksFile(path)
            for number in range(1, 4):
                marks.mark(CAT, f"s{number}", RELEVANT)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    marks = MarksFile(path)
    assert marks.qrels["1"] == {"s0": RELEVANT}
    assert [*marks.qrels.get("2", {})] == [f"s{n}" for n in range(1, 1 + len(marks.qrels.get("2", {})))]
    assert set(marks.qrels) <= set(marks.topics)
    assert all(json.loads(line) for line in marks.beside.read_text().splitlines())


def _kill_at(called: str, count: int) -> None:
    name = called.partition(".")[2]
    of: Callable[..., object] = getattr(os, name)
    calls = iter(range(1, 100))

    def ending(*arguments: object) -> object:
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return of(*arguments)

    setattr(os, name, ending)
