"""Galleries that stay open, as a notebook uses them: the answers are those of the commands' stages."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from colours import colour_gallery, jpeg, use_colours
from stores import store

from avs_cli.core.search.queries import ABSENT
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.store.texts import TextItem
from avs_cli.io.store.writer import TextWriter
from avs_cli.io.text.trec import read_qrels, read_run
from avs_cli.stages.fuse import fuse
from avs_cli.stages.live import Live, Question, line_of
from avs_cli.stages.rerank import rerank
from avs_cli.stages.search import search
from avs_cli.stages.sequences import sequence
from avs_cli.types import Piece, Shot, Topic, Variant

# Letters are colours: "r" is red.
VECTORS = {
    "red": (1.0, 0.1, 0.0), "rose": (0.9, 0.2, 0.3), "green": (0.0, 1.0, 0.1), "lime": (0.3, 1.0, 0.0),
    "blue": (0.1, 0.0, 1.0), "violet": (0.6, 0.0, 0.8),
}  # fmt: skip
SHOTS = {
    "red": Shot("red", "warm/fire.mp4", 0, 5), "rose": Shot("rose", "warm/fire.mp4", 5, 9),
    "green": Shot("green", "cold/wood.mp4", 0, 5), "lime": Shot("lime", "cold/wood.mp4", 60, 65),
    "blue": Shot("blue", "cold/sea.mp4", 0, 5), "violet": Shot("violet", "cold/sea.mp4", 20, 25),
}  # fmt: skip


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    colour_gallery(folder / "one.h5", VECTORS, SHOTS)
    turned = {id: (g, r, b) for id, (r, g, b) in VECTORS.items()}
    colour_gallery(folder / "two.h5", turned, SHOTS, 2.0)
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: Path) -> Path:
    use_colours(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for path in stores.iterdir():
        shutil.copy(path, tmp_path / path.name)
    for shot in SHOTS.values():
        Path(shot.video).parent.mkdir(exist_ok=True)
        Path(shot.video).touch()
    return tmp_path


@pytest.fixture
def live(folder: Path) -> Iterator[Live]:
    with Live("one.h5", threads=1) as opened:
        yield opened


def best(live: Live, question: Question, **settings: Any) -> list[str]:
    return [*live.search(question, **settings).ranking]


def test_an_answer_is_the_run_of_a_search(live: Live) -> None:
    answer = live.search(Question("r r b"))
    assert dict(answer.ranking) == search("one.h5", {"query": "r r b"}, threads=1)["query"]
    assert answer.shots["violet"] == SHOTS["violet"]
    assert (len(live), live.features, answer.topic, answer.confidence, answer.doubt) == (6, ["colour"], "1", {}, "")


def test_shots_of_several_vectors_and_large_galleries_are_read_from_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"model": "mean colour", "gain": 1.0, "spec": "colour"}
    store("frames.h5", "colour", {"a": [[1, 0, 0], [0, 0, 1]], "b": [[1, 1, 0], [1, 1, 1]]}, made, frames=True)
    for name in ("frames.h5", "one.h5"):
        with Live(name, threads=1) as live:
            assert dict(live.search(Question("b")).ranking) == search(name, {"query": "b"}, threads=1)["query"]
        monkeypatch.setattr("avs_cli.stages.live.HELD", 1)


def test_what_follows_a_dash_is_subtracted_as_wordings_with_negative_weights_are(live: Live) -> None:
    topic = Topic("query", "r b", variants=(Variant(1.0, "r b"), Variant(-ABSENT, "b"), Variant(-ABSENT, "g g")))
    assert dict(live.search(Question("r b -b  -g g")).ranking) == search("one.h5", [topic], threads=1)["query"]
    assert best(live, Question("r b -b"))[0] == "rose" and best(live, Question("r b"))[0] == "violet"
    # A hyphen within a word, or alone, excludes nothing.
    assert dict(live.search(Question("r-b -")).ranking) == search("one.h5", {"query": "r-b"}, threads=1)["query"]


def test_features_are_fused_by_reciprocal_ranks_and_can_be_chosen(folder: Path) -> None:
    with Live(["one.h5", "two.h5"], threads=1) as live:
        runs = {name: search(f"{name}.h5", {"query": "r"}, threads=1) for name in ("one", "two")}
        answer = live.search(Question("r"))
        assert dict(answer.ranking) == fuse(runs, "rrf")["query"]
        assert best(live, Question("r", features=("colour-2",))) == [*runs["two"]["query"]]
        with pytest.raises(SpecError, match="no feature 'clip'"):
            live.search(Question("r", features=("clip",)))


def test_words_of_shots_are_fused_with_what_is_seen(folder: Path) -> None:
    with TextWriter("words.h5", "subtitles", {"model": "subtitles", "spec": "subtitles"}) as writer:
        said = {"blue": "r is for rust", "green": "nothing", "elsewhere": "r"}
        writer.add([TextItem(SHOTS.get(id), id, [Piece(text, 0, 1)]) for id, text in said.items()])
        writer.finish([*said])
    with Live(["one.h5", "words.h5"], threads=1) as live:
        assert live.features == ["colour", "subtitles"]
        seen, heard = (search("one.h5", {"query": "r"}, threads=1), {"query": {"blue": 1.0}})
        assert dict(live.search(Question("r")).ranking) == fuse({"seen": seen, "heard": heard}, "rrf")["query"]
        assert best(live, Question("r", features=("subtitles",))) == ["blue"]
        assert best(live, Question("r", features=("subtitles",), folder="warm")) == []
        assert live.pieces(Question("r -b"), ["blue", "green", "red"]) == {"blue": [Piece("r is for rust", 0, 1)]}
        # Without these words, and for other examples, only vectors count.
        assert dict(live.search(Question("b r g")).ranking) == search("one.h5", {"query": "b r g"}, threads=1)["query"]
        assert best(live, Question("r", like=("blue",))) == best(
            live, Question("r", like=("blue",), features=("colour",))
        )
        live.mark(Question("r"), "lime", True)
        assert "lime" in best(live, Question("r"))[:2] and live.search(Question("r"), fold=True).behind


def test_a_picture_and_shots_are_examples(live: Live, folder: Path) -> None:
    (folder / "p.png").write_bytes(jpeg((0, 0, 1), kind="PNG"))
    assert best(live, Question(pictures=("p.png",)))[0] == "blue"
    assert best(live, Question(like=("violet",)))[:2] == ["blue", "rose"]
    assert "violet" not in best(live, Question("b", like=("violet",)))
    with pytest.raises(MismatchError, match="no shot 'pink'"):
        live.search(Question(like=("pink",)))
    # The name of an example is a shot's, also where there is such a file.
    for question in (Question("r like:p.png"), Question("r", like=("p.png",))):
        with pytest.raises(MismatchError, match=r"no shot 'p\.png'"):
            live.search(question)


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("r like:blue", Question("r", like=("blue",))),
        ("r -b > b < 20s", Question("r -b", then="b", within=20)),
        ("r like:lime > b -r > b", Question("r", like=("lime",), then="b -r > b")),
    ],
)
def test_a_line_may_say_what_has_fields_of_its_own(live: Live, line: str, question: Question) -> None:
    answer = live.search(question)
    assert live.search(Question(line)).ranking == answer.ranking
    assert Question(line).topic() == question.topic()
    assert dict(answer.ranking) == search("one.h5", {"query": line}, threads=1)["query"]


@pytest.mark.parametrize("text", ["/etc/passwd.png", "p.png", "r -p.png", "../p.JPG"])
def test_a_text_is_never_the_name_of_a_file(live: Live, folder: Path, text: str) -> None:
    (folder / "p.png").write_bytes(jpeg((0, 0, 1), kind="PNG"))
    with pytest.raises(SpecError, match="reads like the name of a picture"):
        live.search(Question(text))


@pytest.mark.parametrize(
    ("where", "there"),
    [
        ({"file": "cold/sea.mp4"}, {"blue", "violet"}),
        ({"folder": "warm"}, {"red", "rose"}),
        ({"folder": "cold", "since": 5.0}, {"lime", "violet"}),
        ({"until": 0.0}, {"red", "green", "blue"}),
        ({"file": "cold/sea.mp4", "folder": "warm"}, set()),
    ],
)
def test_a_place_narrows_the_search_down(live: Live, where: Any, there: set[str]) -> None:
    answer = live.search(Question("r", **where))
    assert set(answer.ranking) == there
    everywhere = live.search(Question("r")).ranking
    assert dict(answer.ranking) == {shot: score for shot, score in everywhere.items() if shot in there}


def test_files_and_folders_are_counted(live: Live) -> None:
    answer = live.search(Question("r"))
    assert {one.name: one.shots for one in answer.folders} == {"cold": 4, "warm": 2}
    assert {one.name: one.shots for one in answer.files} == {shot.video: 2 for shot in SHOTS.values()}


def test_marks_are_kept_and_teach_as_rerank_does(live: Live) -> None:
    question = Question("r b")
    before = live.search(question)
    assert not before.taught
    live.mark(question, "green", True)
    live.mark(question, "violet", False)
    after = live.search(question)
    qrels = read_qrels("marks.qrels")
    run = {"query": dict(before.ranking)}
    again = rerank(run, "one.h5", method="feedback", qrels={"query": qrels["1"]}, topics={"query": "r b"}, threads=1)
    assert (dict(after.ranking), after.taught) == (again["query"], True)
    assert (next(iter(after.ranking)), [*after.ranking][-1]) == ("green", "violet")
    assert live.search(question, by_marks=False).ranking == before.ranking
    assert live.search(Question("b")).ranking == live.search(Question("b"), by_marks=False).ranking
    live.undo(question)
    live.undo(question)
    assert live.undo(question) is None
    assert live.search(question).ranking == before.ranking
    with pytest.raises(MismatchError, match="no shot 'pink'"):
        live.mark(question, "pink", True)


def test_a_sequence_is_that_of_search_then(live: Live) -> None:
    question = Question("r", then="b", within=20)
    runs = [search("one.h5", {"query": text}, threads=1) for text in ("r", "b")]
    answer = live.search(question)
    assert dict(answer.ranking) == sequence(*runs, "one.h5", 20)["query"]
    assert [*answer.ranking] == ["red", "blue"] and answer.confidence == {}
    assert best(live, Question("r", then="b", folder="warm")) == ["red"]
    assert best(live, Question("r", then="b", folder="warm", since=1)) == []
    live.mark(question, "blue", True)
    assert best(live, question)[0] == "blue"
    assert [line_of(topic) for topic, *_ in live.marked()] == ["r > b < 20s"]
    assert best(live, Question("r > b < 20s")) == best(live, question)


def test_near_duplicates_are_behind_the_best_of_them_unless_they_are_judged(live: Live) -> None:
    answer = live.search(Question("r"), fold=True)
    assert answer.behind == {"rose": "red", "green": "lime"}
    assert answer.ranking == live.search(Question("r")).ranking
    live.mark(Question("r"), "green", False)
    assert live.search(Question("r"), fold=True).behind == {"rose": "red"}


def test_topics_of_marks_lead_back_to_their_questions(live: Live) -> None:
    for question in (Question("r b"), Question("r -b -g g"), Question(like=("red",)), Question("r", like=("red",))):
        live.mark(question, "blue", True)
    live.mark(Question("r b"), "red", False)
    found = [(topic.query, liked, disliked, line_of(topic)) for topic, liked, disliked in live.marked()]
    assert found == [
        ("r like:red", 1, 0, "r like:red"),
        ("like:red", 1, 0, "like:red"),
        ("r", 1, 0, "r -b -g g"),
        ("r b", 1, 1, "r b"),
    ]


def test_marks_of_other_weights_lead_back_to_theirs(live: Live) -> None:
    topic = Topic("1", "r", variants=(Variant(1.0, "r"), Variant(-0.5, "b")))
    assert line_of(topic) == "r -b ^0.5"
    assert Question("r -b ^0.5").topic().variants == topic.variants
    assert line_of(Topic("2", "a > ")) == ""


def test_topics_of_marks_search_the_same_from_the_command_line(live: Live) -> None:
    questions = [Question("r b"), Question("r g -b -g g"), Question("r +g ^0.5 like:red"), Question("r > b")]
    found = {live.mark(question, "blue", True).topic: best(live, question, by_marks=False) for question in questions}
    again = search("one.h5", "marks.topics.jsonl", threads=1)
    assert {topic: [*ranking] for topic, ranking in again.items()} == found


def test_confidences_cut_off_and_doubt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVS_CACHE", str(folder / "cache"))
    use_colours(monkeypatch, calibrated=True)
    monkeypatch.setattr("avs_cli.stages.topics.sentences", lambda: ["r g b", "rr gg b", "g b"])
    with Live("one.h5", threads=1) as live:
        sure = live.search(Question("r"))
        assert live.calibrated and sure.confidence["red"] > 0.5 > sure.confidence["blue"] and sure.doubt == ""
        cut = live.search(Question("r"), at_least=0.5).ranking
        assert [*cut] == [shot for shot in sure.ranking if sure.confidence[shot] >= 0.5]
        assert live.search(Question("r g b")).doubt.startswith("Probably nothing relevant")
        assert live.search(Question("r -b")).confidence == {}
        assert len(live.search(Question("r -b"), at_least=0.5).ranking) == 6


def test_answers_leave_as_runs_and_cut_lists(live: Live) -> None:
    answer = live.search(Question("r"))
    live.write(answer, "run", "out.run")
    assert read_run("out.run") == {"1": dict(answer.ranking)}
    live.write(answer, "csv", "out.csv", 2)
    assert [line.split(",")[2] for line in Path("out.csv").read_text().splitlines()] == ["shot", "red", "rose"]


def test_numbers_stand_for_thumbnails_and_videos_of_one_version(live: Live) -> None:
    assert live.thumbnail(live.version, live.number("red")) == jpeg(VECTORS["red"])
    assert live.video(live.version, live.video_number("lime")) == Path("cold/wood.mp4")
    for number in (-1, 6, 10**9):
        assert live.thumbnail(live.version, number) is None and live.video(live.version, number) is None
    assert live.thumbnail("another", 0) is None and live.video("another", 0) is None


def test_a_gallery_that_changes_is_opened_again(live: Live, hearing: Callable[[], Any]) -> None:
    version = live.version
    colour_gallery(Path("one.h5.new"), {"pink": (1.0, 0.5, 0.5)}, {"pink": SHOTS["red"]._replace(id="pink")})
    Path("one.h5.new").rename("one.h5")
    assert best(live, Question("r")) == ["pink"]
    assert live.version != version and live.thumbnail(version, 0) is None and len(live) == 1


def test_a_gallery_that_is_gone_or_broken_stays_open_as_it_was(folder: Path, hearing: Callable[[], Any]) -> None:
    notes = hearing()
    with Live("one.h5", threads=1, report=notes) as live:
        Path("one.h5").unlink()
        Path("one.h5").write_bytes(b"damaged")
        assert len(best(live, Question("r"))) == len(best(live, Question("b"))) == 6
        assert [note for note in notes.notes if "stays open" in note] == notes.notes[-1:]


def test_questions_of_several_threads_while_the_gallery_changes(live: Live) -> None:
    failures: list[Exception] = []

    def ask(name: int) -> None:
        try:
            for count in range(20):
                answer = live.search(Question("r" * (1 + count % 5), like=("red",) if name % 2 else ()))
                live.thumbnail(answer.version, 0)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(3):
        colour_gallery(Path("new.h5"), VECTORS | {f"more{turn}": (0.5, 0.5, 0.5)}, SHOTS)
        Path("new.h5").rename("one.h5")
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("question", [Question(), Question("  "), Question(" -r")])
def test_an_empty_question_is_refused(live: Live, question: Question) -> None:
    with pytest.raises(SpecError, match="type what to look for"):
        live.search(question)


def test_features_without_sentences_are_left_out_with_a_note(folder: Path, hearing: Callable[[], Any]) -> None:
    notes = hearing()
    store("sound.h5", "sound", {"red": [1, 0], "blue": [0, 1]}, {"model": "ears"})
    with Live(["one.h5", "sound.h5"], threads=1, report=notes) as live:
        assert (live.features, best(live, Question("r"))[0]) == (["colour"], "red")
        assert any("sound is left out" in note for note in notes.notes)
    with pytest.raises(MismatchError, match="no feature that reads sentences"):
        Live("sound.h5", threads=1, report=notes)
