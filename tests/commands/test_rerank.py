"""Reranking: what every method keeps to, each method's arithmetic, and the command."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_judges
from films import noise_film
from pytest import approx
from stores import store

from avs_cli.core.search.rerankers import rerankers
from avs_cli.core.search.rerankers.candidates import CELLS, Bank, Candidates, GalleryBank, Marks, joined
from avs_cli.core.search.rerankers.neighbours import hubs
from avs_cli.errors import FormatError, SpecError
from avs_cli.io.text.scores import read_verdicts
from avs_cli.io.text.trec import read_run
from avs_cli.types import Block, Shot, ranked

Avs = Callable[..., tuple[int, str]]
METHODS = [
    *rerankers.names(),
    "neighbours:kind=hubs,k=2",
    "neighbours:k=2,expand=1",
    "hubness:kind=qbnorm",
    "hubness:kind=dbnorm",
    "hubness:kind=dbsn,tau=0.2",
    "feedback:kind=nearest",
]


def candidates(count: int, seed: int = 0) -> Candidates:
    """Some shots of several vectors each, with all that a method may ask for."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], rng.integers(1, 4, count).cumsum()])
    shots = [f"s{number}" for number in range(count)]
    vectors = rng.normal(size=(int(offsets[-1]), 5)).astype(np.float32)
    bank = Bank(rng.normal(size=(7, 5)).astype(np.float32), lambda: frozenset(shots))
    outside = rng.random(count)
    block = Block(shots, vectors, offsets)
    marks = Marks(rng.normal(size=(2, 5)), rng.normal(size=(1, 5)))
    odds = rng.normal(size=count)
    around = GalleryBank(rng.normal(size=(4, 5)).astype(np.float32), lambda tau, iterations: np.arange(7) / iterations)
    return Candidates(shots, rng.random(count), block, rng.normal(size=5), bank, outside, marks, odds, around)


def in_order(given: Candidates, order: list[int]) -> Candidates:
    assert given.block is not None and given.block.offsets is not None
    assert given.outside is not None and given.verdicts is not None
    ends = given.block.offsets
    rows = [given.block.vectors[ends[k] : ends[k + 1]] for k in order]
    shots = [given.shots[k] for k in order]
    block = Block(shots, np.concatenate(rows), np.concatenate([[0], np.cumsum([len(some) for some in rows])]))
    outside, odds = given.outside[order], given.verdicts[order]
    return Candidates(
        shots, given.scores[order], block, given.query, given.bank, outside, given.marks, odds, given.around
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_each_shot_a_score_whatever_their_order(name: str) -> None:
    rerank = rerankers.load(name)
    given = candidates(30)
    scores = rerank(given)
    assert scores.shape == (30,)
    assert np.isfinite(scores).all()
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_allclose(rerank(in_order(given, order.tolist())), scores[order], atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_one_shot_alone_is_ranked_too(name: str) -> None:
    assert np.isfinite(rerankers.load(name)(candidates(1))).all()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("neighbours", "give --gallery"),
        ("framemax", "give --gallery"),
        ("feedback", "give --gallery"),
        ("diverse", "give --gallery"),
        ("hubness", "give --topics FILE or --vectors STORE"),
        ("scores", "give --scores FILE"),
        ("judge", "give --gallery STORE and --topics FILE"),
    ],
)
def test_what_a_method_lacks_is_asked_for(name: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        rerankers.load(name)(Candidates(["a"], np.ones(1)))


@pytest.mark.parametrize(
    "spec",
    [
        "neighbours:k=0",
        "neighbours:expand=0",
        "neighbours:share=-1",
        "hubness:k=0",
        "hubness:iterations=0",
        "feedback:like=-1",
        "diverse:fold=-1",
    ],
)
def test_numbers_that_mean_nothing_are_refused(spec: str) -> None:
    with pytest.raises(SpecError, match=r"is at least \d, not"):
        rerankers.load(spec)(candidates(3))


def pairs(vectors: list[list[float]], query: list[float], bank: list[list[float]], best: str = "a") -> Candidates:
    shots = "abcdefg"[: len(vectors)]
    others = Bank(np.array(bank, np.float32), lambda: frozenset([best]))
    return Candidates(shots, np.ones(len(shots)), Block(shots, np.array(vectors, np.float32)), np.array(query), others)


def test_a_shot_that_many_are_near_to_gets_the_logarithm_of_their_number() -> None:
    # Each is nearest to itself; b is also the second of a's, c's and d's lists, a that of b's.
    likeness = np.array([[1, 0.9, 0.1, 0], [0.9, 1, 0.8, 0.7], [0.1, 0.8, 1, 0], [0, 0.7, 0, 1]])
    assert hubs(likeness, 2) == approx(np.log([1 + 3, 1 + 5, 1 + 2, 1 + 2]))


def test_equal_verdicts_keep_the_order_of_the_run_and_others_stay_as_they_are() -> None:
    odds = np.array([2.0, -1.0, 2.0, 2.0, -1.0, 2.5])
    given = Candidates("abcdef", np.array([1.0, 6.0, 3.0, 2.0, 7.0, 0.0]), verdicts=odds)
    scores = rerankers.load("judge")(given)
    assert [given.shots[k] for k in np.argsort(-scores)] == ["f", "c", "d", "a", "e", "b"]
    # The first of each kind has the verdict itself.
    assert scores[[2, 4, 5]] == approx([2.0, -1.0, 2.5])
    assert np.abs(scores - odds).max() < 0.25


def test_nnn_takes_off_what_the_nearest_other_queries_give_a_shot() -> None:
    given = pairs([[1, 0], [0.6, 0.8]], [1, 0], [[0, 1], [1, 0], [-1, 0]])
    # Cosines 1 and .6; of those of the others, 0 1 -1 and .8 .6 -.6, the two highest have means .5 and .7.
    assert rerankers.load("hubness:k=2,alpha=0.5")(given) == approx([1 - 0.25, 0.6 - 0.35])


def test_qbnorm_divides_by_the_others_softmax_where_the_best_shot_is_a_favourite() -> None:
    vectors, query, bank = [[1, 0], [0.6, 0.8]], [1, 0], [[0, 1], [1, 0]]
    beta = 2.0
    shares = [np.exp(beta * 1) / (1 + np.exp(beta * 1)), np.exp(beta * 0.6) / (np.exp(beta * 0.8) + np.exp(beta * 0.6))]
    rerank = rerankers.load("hubness:kind=qbnorm,beta=2")
    assert np.exp(rerank(pairs(vectors, query, bank))) == approx(shares, rel=1e-6)
    assert rerank(pairs(vectors, query, bank, best="b")) == approx([1, 0.6])


def test_dbnorm_multiplies_the_softmaxes_over_the_other_queries_and_over_the_other_shots() -> None:
    given = pairs([[1, 0], [0.6, 0.8]], [1, 0], [[0, 1], [1, 0]])
    given = replace(given, around=GalleryBank(np.array([[0, 1], [-1, 0]], np.float32), lambda tau, iterations: tau))
    # Cosines 1 and .6; of the queries 0 1 and .8 .6; of the other shots 0 -1 and .8 -.6.
    of_queries = [np.exp(2) / (1 + np.exp(2)), np.exp(1.2) / (np.exp(1.6) + np.exp(1.2))]
    of_shots = [np.exp(3) / (1 + np.exp(-3)), np.exp(1.8) / (np.exp(2.4) + np.exp(-1.8))]
    rerank = rerankers.load("hubness:kind=dbnorm,beta=2,gallery_beta=3")
    assert np.exp(rerank(given)) == approx(np.multiply(of_queries, of_shots), rel=1e-6)


def test_a_temperature_is_above_zero() -> None:
    with pytest.raises(SpecError, match="tau is above 0, not 0"):
        rerankers.load("hubness:kind=dbsn,tau=0")(candidates(3))


def test_a_large_bank_is_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    given, rerank = candidates(30), rerankers.load("hubness:k=3")
    whole = rerank(given)
    monkeypatch.setattr("avs_cli.core.search.rerankers.candidates.CELLS", 15)
    assert CELLS > 15
    np.testing.assert_allclose(rerank(given), whole, atol=1e-6)


def test_new_scores_are_the_weighted_sum_and_the_rest_stays_below_in_its_order() -> None:
    run = {"a": 9.0, "b": 8.0, "c": 5.0, "d": 4.0, "e": 2.0}
    again = joined(run, ["a", "b", "c"], np.array([0.0, 10.0, 5.0]), 0.4)
    # Stretched: a 1, b .75, c 0 in the run; 0, 1, .5 by the method.
    assert again == approx({"b": 0.6 * 0.75 + 0.4, "a": 0.6, "c": 0.4 * 0.5, "d": -1, "e": -2})
    assert [*again] == ["b", "a", "c", "d", "e"]


# The command


@pytest.fixture
def avs(avs_here: Callable[..., Any]) -> Avs:
    """The exit code of a command, and what it told."""

    def run(*arguments: object) -> tuple[int, str]:
        ran = avs_here(*arguments)
        return ran.returncode, ran.stderr

    return run


@pytest.fixture
def files(avs: Avs) -> None:
    """A run whose order is a b c, and shots of which c has the best frame and a the worst."""
    Path("a.run").write_text("".join(f"1661 Q0 {shot} 0 {score} x\n" for shot, score in (("a", 3), ("b", 2), ("c", 1))))
    store("frames.h5", "tiny", {"a": [[0, 1], [0.1, 1]], "b": [[1, 1]], "c": [[1, 0], [-1, 0]]}, frames=True)
    store("means.h5", "tiny", {"a": [0, 1], "b": [1, 1], "c": [0, 0]})
    store("topics.h5", "tiny", {"661": [1, 0]})
    store("bank.h5", "tiny", {"x": [0, 1], "y": [1, 1]})


def test_the_best_frame_joins_the_runs_score(avs: Avs, files: None) -> None:
    line = ("rerank", "a.run", "--method", "framemax", "-g", "frames.h5", "--vectors", "topics.h5", "-o", "out.run")
    code, told = avs(*line, "--weight", 0.6)
    assert (code, told) == (0, "avs: 1 topic renamed: 661 read as 1661\n")
    # The run's scores, stretched, are 1 .5 0; the best frames' cosines are about .0995, .7071 and 1.
    low = 0.1 / np.sqrt(1.01)
    middle = (np.sqrt(0.5) - low) / (1 - low)
    expected = {"a": 0.4, "b": 0.4 * 0.5 + 0.6 * middle, "c": 0.6}
    assert read_run("out.run")["1661"] == approx(expected, rel=1e-3)
    assert avs(*line, "--depth", 2, "--weight", 1)[0] == 0
    assert [*read_run("out.run")["1661"]] == ["b", "a", "c"]
    code, told = avs(*line[:4], "-g", "means.h5", *line[6:])
    assert (code, "needs a frame-level gallery" in told) == (3, True)


def test_hubness_takes_a_bank_and_neighbours_the_topics(avs: Avs, files: None) -> None:
    line = ("rerank", "a.run", "-g", "means.h5", "--weight", 1, "-o", "out.run")
    code, told = avs(*line, "--method", "hubness:k=1,alpha=1", "--bank", "bank.h5", "--vectors", "topics.h5")
    assert code == 0, told
    # Cosines 0, .7071, 0 minus the highest of the bank's, 1, 1, 0: stretched, c first, then b, then a.
    assert [*read_run("out.run")["1661"]] == ["c", "b", "a"]
    assert avs(*line, "--vectors", "topics.h5", "--method", "neighbours")[0] == 0
    assert avs(*line, "--method", "neighbours:kind=hubs,k=1")[0] == 0
    assert set(read_run("out.run")["1661"]) == {"a", "b", "c"}


@pytest.mark.parametrize(
    "text", ["a 0.1\nc 0.9\n", "661 a 0.1\n661 c 0.9\n", "1661 Q0 c 1 9 m\n1661 Q0 a 2 1 m\n", "661 a 0.1 c 0.9\n"]
)
def test_verdicts_come_from_a_file_and_shots_without_stay_below(avs: Avs, files: None, text: str) -> None:
    Path("verdicts").write_text(text)
    line = ("rerank", "a.run", "--method", "scores", "--scores", "verdicts", "-o", "out.run", "--weight", 0.75)
    assert avs(*line) == (0, "avs: a.run: 1 shots have no score in --scores and stay below those that have one\n")
    assert read_run("out.run")["1661"] == approx({"c": 0.75, "a": 0.25, "b": -1})


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [("a 1\nb\n", 2, "1 columns, but 2"), ("a x\n", 1, "not a finite"), ("1 a 1\n1 a 2\n", 2, "duplicate shot")],
)
def test_bad_verdicts_name_their_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    (tmp_path / "verdicts").write_text(text)
    with pytest.raises(FormatError, match=what) as error:
        read_verdicts(str(tmp_path / "verdicts"))
    assert error.value.line == line


def test_marks_put_what_resembles_liked_shots_first_and_the_marked_ones_at_the_ends(avs: Avs, files: None) -> None:
    Path("a.run").write_text(
        "".join(f"{topic} Q0 {shot} 0 {9 - n} x\n" for topic in (1661, 1662) for n, shot in enumerate("abcde"))
    )
    store("five.h5", "tiny", {"a": [0, 1], "b": [1, 2], "c": [2, 1], "d": [1, 0], "e": [1, -1], "f": [1, 0.1]})
    # Marked too: f, which is not in the run, and z, which is not in the gallery. g was pooled and not judged.
    Path("marks.qrels").write_text("661 0 f 1 1\n661 0 e 1 0\n661 0 d 1 1\n661 0 z 1 1\n661 0 c 1 -1\n")
    line = ("rerank", "a.run", "-g", "five.h5", "--qrels", "marks.qrels", "-o", "out.run", "--weight", 1)
    for method in ("feedback", "feedback:kind=nearest"):
        code, told = avs(*line, "--method", method)
        assert (code, told.splitlines()) == (
            0,
            [
                "avs: a.run: the gallery lacks 1 of the 4 judged shots, which are left out: z",
                "avs: a.run: no judged shots for 1 of 2 topics, which stay as they are: 1662",
            ],
        )
        assert [*read_run("out.run")["1661"]] == ["d", "c", "b", "a", "e"]
        assert read_run("out.run")["1662"] == read_run("a.run")["1662"]


def test_near_duplicates_follow_after_all_others_and_what_is_like_the_first_waits(avs: Avs, files: None) -> None:
    Path("a.run").write_text("".join(f"1 Q0 {shot} 0 {9 - n} x\n" for n, shot in enumerate("abcdef")))
    # b and e are copies of a; c is near to a and d is not.
    store("six.h5", "tiny", {"a": [9, 0], "b": [1, 0.01], "c": [1, 1], "d": [0, 1], "e": [1, 0], "f": [-1, -9]})
    line = ("rerank", "a.run", "-g", "six.h5", "-o", "out.run", "--method")
    assert avs(*line, "diverse:novelty=0") == (0, "")
    assert [*read_run("out.run")["1"]] == ["a", "c", "d", "f", "b", "e"]
    assert avs(*line, "diverse:novelty=0.5") == (0, "")
    # Relevance .6 and cosine .71 of c, .4 and 0 of d, 0 and less than 0 of f.
    assert [*read_run("out.run")["1"]] == ["a", "d", "f", "c", "b", "e"]
    assert avs(*line, "diverse:novelty=0", "--depth", 3) == (0, "")
    assert [*read_run("out.run")["1"]] == ["a", "c", "b", "d", "e", "f"]
    assert avs(*line, "diverse:novelty=0", "--weight", 0) == (0, "")
    assert [*read_run("out.run")["1"]] == [*"abcdef"]
    assert "diverse: novelty is at most 1, not 2" in avs(*line, "diverse:novelty=2")[1]


def test_the_query_moves_where_topics_are_given_and_shots_of_several_vectors_have_their_best(
    avs: Avs, files: None
) -> None:
    Path("marks.qrels").write_text("1661 0 b 1\n")
    store("topics.h5", "tiny", {"1661": [-1, 0]})
    line = ("rerank", "a.run", "-g", "frames.h5", "--qrels", "marks.qrels", "-o", "out.run", "--weight", 1)
    assert avs(*line, "--method", "feedback") == (0, "")
    assert [*read_run("out.run")["1661"]] == ["b", "a", "c"]
    # (-1, 0) + .75 (.7, .7) is about (-.47, .53): .75 for the first vector of a, .66 for the second of c.
    assert avs(*line, "--method", "feedback:like=0.75", "--vectors", "topics.h5") == (0, "")
    assert [*read_run("out.run")["1661"]] == ["b", "a", "c"]
    # (-1, 0) + .2 (.7, .7) is about (-.86, .14).
    assert avs(*line, "--method", "feedback:like=0.2", "--vectors", "topics.h5") == (0, "")
    assert [*read_run("out.run")["1661"]] == ["b", "c", "a"]


def test_several_runs_keep_their_names_in_a_folder(avs: Avs, files: None) -> None:
    Path("b.run").write_text("1661 Q0 b 1 1 x\n1662 Q0 c 1 1 x\n")
    Path("verdicts").write_text("a 1\nb 2\n")
    line = ("rerank", "a.run", "b.run", "--method", "scores", "--scores", "verdicts")
    assert avs(*line, "-o", "folder")[0] == 0
    assert sorted(path.name for path in Path("folder").iterdir()) == ["a.run", "b.run"]
    assert read_run("folder/b.run") == {"1661": {"b": 1.0}, "1662": {"c": 1.0}}
    assert avs(*line)[0] == 2


def test_topics_select_what_is_reranked(avs: Avs, files: None) -> None:
    Path("b.run").write_text("1661 Q0 b 1 1 x\n1662 Q0 a 1 2 x\n1662 Q0 c 2 1 x\n1663 Q0 c 1 1 x\n")
    Path("verdicts").write_text("a 1\nb 2\nc 9\n")
    line = ("rerank", "b.run", "--method", "scores", "--scores", "verdicts", "-o", "out.run")
    assert avs(*line)[0] == 0
    whole = read_run("out.run")
    Path("topics.txt").write_text("662 a dog\n664 a cat\n")
    code, told = avs(*line, "--topics", "topics.txt")
    assert (code, read_run("out.run")) == (0, {"1662": whole["1662"]})
    assert "1 of 2 selected topics are in no run: 664" in told
    assert "left out 2 topics of the runs" in told
    assert avs(*line, "--topics", "661-662")[0] == 0
    assert read_run("out.run") == {topic: whole[topic] for topic in ("1661", "1662")}


def test_topics_from_stdin_are_read_once_for_their_ids_and_their_texts(
    avs: Avs, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("shots.txt").write_text("s1 a dog runs\ns2 a cat sleeps\n")
    assert avs("extract", "--model", "minilm", "--text", "shots.txt", "-o", "shots.h5")[0] == 0
    Path("b.run").write_text("661 Q0 s1 1 2 x\n661 Q0 s2 2 1 x\n662 Q0 s2 1 1 x\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"661 a puppy\n")))
    code, told = avs("rerank", "b.run", *NEAR, "-g", "shots.h5", "--topics", "-", "-o", "out.run")
    assert (code, told) == (0, "avs: left out 1 topic of the runs, which --topics does not select\n")
    assert [*read_run("out.run")] == ["661"]


def test_vectors_of_more_topics_rerank_those_that_are_selected(avs: Avs, files: None) -> None:
    Path("b.run").write_text("1661 Q0 a 1 2 x\n1661 Q0 b 2 1 x\n1662 Q0 a 1 2 x\n")
    line = ("rerank", "b.run", *NEAR, "-g", "means.h5", "--vectors", "topics.h5", "-o", "out.run")
    assert "no query for 1 of its topics: 1662" in avs(*line)[1]
    assert avs(*line, "--topics", "661")[0] == 0
    assert list(read_run("out.run")) == ["1661"]


NEAR = ("--method", "neighbours")
DUAL = ("--method", "hubness:kind=dbsn")


def test_topics_of_another_model_rerank_with_a_warning_when_it_is_allowed(avs: Avs, files: None) -> None:
    store("other.h5", "other", {"1661": [1, 0]}, {"model": "other", "spec": "other"})
    line = ("rerank", "a.run", "-g", "means.h5", "--vectors", "other.h5", *NEAR, "-o", "out.run")
    code, told = avs(*line)
    assert (code, told.count("use --allow-mismatch to continue with a warning")) == (3, 1)
    code, told = avs(*line, "--allow-mismatch")
    assert code == 0
    assert told == (
        'avs: other.h5 and means.h5::tiny are incompatible: model is "other" and "tiny"; continuing anyway\n'
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["none.run", *NEAR], 3, "none.run"),
        (["a.run", *NEAR], 2, "give --gallery STORE"),
        (["a.run", *NEAR, "-g", "means.h5"], 2, "give --topics FILE or --vectors STORE"),
        (["a.run", *NEAR, "--vectors", "topics.h5"], 2, "give --gallery STORE"),
        (["a.run", "-g", "means.h5", "--vectors", "topics.h5", "--weights", "b.run", *NEAR], 2, "--weights"),
        (["a.run", "-g", "means.h5", "--topics", "1661", "--weights", "b.run", *NEAR], 2, "--weights"),
        (["a.run", "-g", "means.h5", "--method", "neighbors"], 2, "did you mean 'neighbours'?"),
        (["a.run", "-g", "means.h5", "--vectors", "topics.h5", "--topics", "t.txt", *NEAR], 3, "t.txt: no such file"),
        (["a.run", "-g", "means.h5", "--vectors", "topics.h5", "--topics", "731-750", *NEAR], 3, "no run has any"),
        (["a.run", "b.run", "--topics", "1662", *NEAR, "-g", "means.h5", "-o", "folder"], 3, "a.run has none of the"),
        (["a.run", "-g", "means.h5", "--topics", "1661", *NEAR], 2, "give --topics FILE or --vectors STORE"),
        (["a.run", "-g", "means.h5", "--vectors", "topics.h5", "--method", "hubness"], 2, "give --bank STORE"),
        (["a.run", "-g", "means.h5", "--vectors", "topics.h5", *DUAL], 2, "give --bank STORE"),
        (["a.run", "-g", "means.h5", "--vectors", "topics.h5", *DUAL, "--bank", "bank.h5"], 2, "give --gallery-bank"),
        (["a.run", "-g", "bank.h5", "--vectors", "topics.h5", *NEAR], 3, "lacks 3 of the shots of a.run: a, b, c"),
        (["a.run", "-g", "means.h5", "--vectors", "bank.h5", *NEAR], 3, "no query for 1 of its topics: 1661"),
        (
            ["a.run", "-g", "means.h5", "--vectors", "other.h5", *NEAR],
            3,
            "other.h5 and means.h5::tiny are incompatible: model",
        ),
        (["a.run", "--allow-mismatch", *NEAR], 2, "--allow-mismatch has no effect without --gallery"),
        (["a.run", "--method", "feedback", "-g", "means.h5"], 2, "feedback needs judged shots; give --qrels FILE"),
        (["a.run", "--method", "feedback", "--qrels", "marks"], 2, "give --gallery STORE"),
        (
            ["a.run", "--method", "feedback", "--qrels", "other.qrels", "-g", "means.h5"],
            3,
            "a.run: no shot is judged for its topics 1661; there are judgments of 1662",
        ),
        (["a.run", "-g", "means.h5", "--qrels", "marks", *NEAR], 2, "--qrels has no effect with --method neighbours"),
        (["a.run", "--method", "scores"], 2, "--scores FILE and --method scores need each other"),
        (
            ["a.run", "-g", "means.h5", "--scores", "a.run", *NEAR],
            2,
            "--scores FILE and --method scores need each other",
        ),
        (["a.run", "a.run", "-o", "folder", *NEAR], 2, "two runs have the same name"),
        (["-", "-g", "-", *NEAR], 2, "- is stdin, which can be read once"),
    ],
)
def test_mistakes_are_told_in_one_line(avs: Avs, files: None, arguments: list[str], code: int, told: str) -> None:
    store("other.h5", "other", {"661": [1, 0]}, {"model": "other", "spec": "other"})
    store("topics.h5", "tiny", {"1661": [1, 0]})
    Path("b.run").write_text("1662 Q0 c 1 1 x\n")
    Path("marks").write_text("1661 0 a 1\n")
    Path("other.qrels").write_text("1662 0 a 1\n")
    found, message = avs("rerank", *arguments)
    assert (found, len(message.splitlines())) == (code, 1), message
    assert told in message


# A judge


@pytest.fixture
def judged(avs: Avs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The command line of a judge with small weights, over two films of three shots each, and topics and a run."""
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    tiny_judges.MAKERS["qwen3-vl-reranker"](tmp_path / "weights")
    Path("films").mkdir()
    draw = np.random.default_rng(0)
    for channel, name in enumerate("xy"):
        noise_film(Path(f"films/{name}.mp4"), draw, channel, 12)
    shots = [Shot(f"{name}{n}", f"films/{name}.mp4", 2.0 * n, 2.0 * n + 2) for name in "xy" for n in range(3)]
    store("g.h5", "tiny", {shot.id: [1, 0] for shot in shots}, shots=shots)
    Path("t.txt").write_text("661 a dog runs\n662 a cat\n")
    Path("a.run").write_text(
        "".join(f"{topic} Q0 {shot.id} 0 {9 - n} x\n" for topic in (1661, 1662) for n, shot in enumerate(shots))
    )
    line = ["rerank", "a.run", "--topics", "t.txt", "-g", "g.h5", "--weights", "weights", "--threads", 1, "--depth", 5]
    return [*line, "--method", "judge:frames=2,size=32", "--batch-size", 3]


def test_a_judge_reranks_and_its_verdicts_travel(avs: Avs, judged: list[object]) -> None:
    code, told = avs(*judged, "--verdicts", "v.jsonl", "-o", "out.run")
    assert code == 0, told
    first, second = told.splitlines()
    assert re.fullmatch(
        r"avs: qwen3-vl-reranker \(0 million parameters\): 10 calls, for 2 topics at depth 5; "
        r"0 verdicts are in v.jsonl", first,
    ), first  # fmt: skip
    assert re.fullmatch(r"avs: \S+ s a call: about 0 s for the other 6", second), second
    odds = read_verdicts("v.jsonl")
    again = read_run("out.run")
    for topic in ("661", "662"):
        assert [*again[f"1{topic}"]] == [*ranked(odds[topic]), "y2"]
    # On a machine without the model: the same run.
    line = ("rerank", "a.run", "--method", "scores", "--scores", "v.jsonl", "--depth", 5, "--weight", 1)
    assert avs(*line, "-o", "same.run") == (0, "")
    assert Path("same.run").read_bytes() == Path("out.run").read_bytes()
    # Two runs in one call.
    Path("b.run").write_text("1661 Q0 y1 0 2 x\n1661 Q0 x0 0 1 x\n")
    code, told = avs(judged[0], "b.run", *judged[1:], "--verdicts", "v.jsonl", "-o", "both")
    assert (code, "0 calls" in told) == (0, True), told
    assert sorted(read_run("both/b.run")["1661"]) == ["x0", "y1"]


def test_verdicts_survive_a_kill_and_at_most_a_batch_is_lost(
    avs: Avs, judged: list[object], killed: Callable[..., bool]
) -> None:
    assert avs(*judged, "--verdicts", "whole.jsonl", "-o", "whole.run")[0] == 0
    line = [*judged, "--verdicts", "v.jsonl", "-o", "out.run"]
    # One verdict in the first batch of a call, three in the others.
    for count, done, kept in ((2, False, 1), (2, True, 5), (1, False, 5)):
        assert killed(line, "avs_cli.io.text.verdicts.VerdictFile.add", count, done)
        assert sum(len(scores) for scores in read_verdicts("v.jsonl").values()) == kept
        assert not Path("out.run").exists()
    code, told = avs(*line)
    assert (code, "5 calls, for 2 topics at depth 5; 5 verdicts are in v.jsonl" in told) == (0, True), told
    for topic, scores in read_verdicts("whole.jsonl").items():
        assert read_verdicts("v.jsonl")[topic] == approx(scores, abs=1e-5)
    again, whole = read_run("out.run"), read_run("whole.run")
    assert {topic: [*scores] for topic, scores in again.items()} == {topic: [*own] for topic, own in whole.items()}


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--method", "judge"], 2, "--method judge and --verdicts FILE, which keeps what takes it hours, need each"),
        (["--method", "scores", "--scores", "s", "--verdicts", "v"], 2, "--method judge and --verdicts FILE"),
        (["--method", "scores", "--scores", "s", "--budget", 1], 2, "--budget has no effect with --method scores"),
        (["--method", "judge", "--verdicts", "v", "--engine", "dask"], 2, "--engine has no effect with --method judge"),
        (["--method", "judge", "--verdicts", "v", "--bank", "g.h5", "-g", "g.h5"], 2, "--bank has no effect with"),
        (["--method", "judge:model=clip", "--verdicts", "v", "-g", "g.h5", "--topics", "t"], 2, "unknown judge 'clip'"),
        (
            ["--method", "judge:model=qwen3-vl:3b", "--verdicts", "v", "-g", "g.h5", "--topics", "t"],
            2,
            "'3b' is not one",
        ),
        (["--method", "judge", "--verdicts", "v", "-g", "g.h5"], 2, "a judge reads the topics; give --topics FILE"),
        (["--method", "judge", "--verdicts", "a.run", "-g", "g.h5", "--topics", "t"], 2, "would overwrite a.run"),
        (["--method", "judge", "--verdicts", "v", "-g", "g.h5", "--topics", "t"], 4, "hf download Qwen/Qwen3-VL-Rer"),
    ],
)
def test_a_judge_without_what_it_needs_is_refused(
    avs: Avs, files: None, options: list[object], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    store("g.h5", "tiny", {shot: [1, 0] for shot in "abc"}, shots=[Shot(shot, "v.mp4", 0, 1) for shot in "abc"])
    Path("t").write_text("661 a dog\n")
    Path("s").write_text("a 1\n")
    ran = avs("rerank", "a.run", "-o", "out.run", *options)
    assert (ran[0], told in ran[1]) == (code, True), ran
