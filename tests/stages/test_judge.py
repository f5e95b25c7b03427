"""Judging: who is asked about which shots, what is kept, how a budget ends it, and what is refused."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import noise_film
from pytest import approx
from stores import store

from avs_cli.core.judges import ShotQuestion
from avs_cli.errors import AvsError, MismatchError, SpecError
from avs_cli.io.text.scores import read_verdicts
from avs_cli.reporting import Reporter
from avs_cli.stages.judge import Judging, duration, judge_shots
from avs_cli.stages.rerank import rerank, rerank_runs
from avs_cli.types import Run, Sampling, Shot, Topic, Whole, ranked

TOPICS = [Topic("1", "a dog"), Topic("2", "a cat")]
RUN: Run = {"1": {"s1": 4.0, "s2": 3.0, "s3": 2.0, "s4": 1.0}, "2": {"s4": 3.0, "s3": 2.0, "s1": 1.0}}


class Notes(Reporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str) -> None:
        self.messages.append(message)


class ScriptedJudge:
    """Gives what a table says, and 0 for other shots; keeps what it was asked, batch by batch.

    seconds  that the first batches take
    """

    name = "the script"
    sampling: Sampling | None = None
    pixels = Whole(32)

    def __init__(self, table: Mapping[tuple[str, str], float], seconds: Sequence[float] = ()):
        self.table, self.seconds = table, iter(seconds)
        self.asked: list[list[ShotQuestion]] = []

    @property
    def provenance(self) -> Mapping[str, Any]:
        return {"model": "script", "table": sorted(map(str, self.table))}

    def log_odds(self, questions: Sequence[ShotQuestion]) -> np.ndarray:
        self.asked.append(list(questions))
        time.sleep(next(self.seconds, 0))
        return np.array([self.table.get((one.topic.query, one.shot), 0.0) for one in questions])

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(one.topic.id, one.shot) for batch in self.asked for one in batch]


def orders(run: Run) -> dict[str, str]:
    return {topic: " ".join(scores) for topic, scores in run.items()}


TABLE = {("a dog", "s2"): 3.0, ("a dog", "s3"): -1.0, ("a cat", "s1"): 2.0, ("a cat", "s4"): -2.0}


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Four shots of two seconds in two films; one film has the first three."""
    monkeypatch.chdir(tmp_path)
    shots = [
        Shot(f"s{n}", "a.mp4" if n < 4 else "b.mp4", 2.0 * ((n - 1) % 3), 2.0 * ((n - 1) % 3) + 2) for n in range(1, 5)
    ]
    store("g.h5", "tiny", {shot.id: [1, 0] for shot in shots}, shots=shots)
    return "g.h5"


def test_shots_are_asked_rank_by_rank_and_those_judged_come_first_in_the_order_of_verdicts(gallery: str) -> None:
    one = ScriptedJudge(TABLE)
    again = rerank(RUN, gallery, method="judge", topics=TOPICS, depth=3, judging=Judging("v.jsonl", 0, 2, (), one))
    assert one.pairs == [("1", "s1"), ("2", "s4"), ("1", "s2"), ("2", "s3"), ("1", "s3"), ("2", "s1")]
    # A batch of one first, to see how long the others take.
    assert [len(batch) for batch in one.asked] == [1, 2, 2, 1]
    assert orders(again) == {"1": "s2 s1 s3 s4", "2": "s1 s3 s4"}
    # Log-odds 3, 0, -1 of the first, min-max normalised; s4 was not judged.
    assert again["1"] == approx({"s2": 1.0, "s1": 0.25, "s3": 0.0, "s4": -1.0})


def test_what_was_judged_is_not_judged_again_and_travels(gallery: str) -> None:
    first, notes = ScriptedJudge(TABLE), Notes()
    judged = judge_shots({"r": RUN}, gallery, TOPICS, first, depth=2, judging=Judging("v.jsonl"), report=notes)
    assert (judged.calls, judged.left, judged.failures) == (4, 0, [])
    assert judged.log_odds == {"1": {"s1": 0.0, "s2": 3.0}, "2": {"s4": -2.0, "s3": 0.0}}
    assert read_verdicts("v.jsonl") == judged.log_odds
    assert notes.messages[0] == "the script: 4 calls, for 2 topics at depth 2; 0 verdicts are in v.jsonl"
    second, notes = ScriptedJudge(TABLE), Notes()
    deeper = judge_shots({"r": RUN}, gallery, TOPICS, second, depth=3, judging=Judging("v.jsonl"), report=notes)
    assert second.pairs == [("1", "s3"), ("2", "s1")]
    assert notes.messages[0] == "the script: 2 calls, for 2 topics at depth 3; 4 verdicts are in v.jsonl"
    # Another judge, other words and another time are other verdicts, in the same file.
    other = ScriptedJudge({})
    judge_shots({"r": RUN}, gallery, [Topic("1", "a wolf"), TOPICS[1]], other, depth=3, judging=Judging("v.jsonl"))
    assert len(other.pairs) == 6
    line = {"method": "judge", "topics": TOPICS, "depth": 3}
    by_judge = rerank(RUN, gallery, judging=Judging("v.jsonl", judge=ScriptedJudge(TABLE)), **line)  # type: ignore[arg-type]
    assert by_judge == rerank(RUN, method="scores", scores=deeper.log_odds, depth=3, weight=1)


def test_several_runs_share_what_they_have_in_common(gallery: str) -> None:
    one = ScriptedJudge(TABLE)
    runs = {"a": {"1": {"s1": 2.0, "s2": 1.0}}, "b": {"1": {"s2": 2.0, "s3": 1.0}}}
    again = rerank_runs(runs, gallery, method="judge", topics=TOPICS, judging=Judging(judge=one))
    assert one.pairs == [("1", "s1"), ("1", "s2"), ("1", "s3")]
    assert {name: [*run["1"]] for name, run in again.items()} == {"a": ["s2", "s1"], "b": ["s2", "s3"]}


def test_a_budget_ends_at_the_same_rank_for_all_topics_and_the_next_call_goes_on(gallery: str) -> None:
    one, notes = ScriptedJudge(TABLE, [0, 0.3]), Notes()
    # After .3 s, another batch of .3 s would end too late.
    judging = Judging("v.jsonl", 0.4 / 60, 2, (), one)
    again = rerank(RUN, gallery, method="judge", topics=TOPICS, judging=judging, report=notes)
    assert one.pairs == [("1", "s1"), ("2", "s4"), ("1", "s2")]
    assert re.match(r"0\.1[5-9] s a call: about 1 s for the other 4; the budget allows about 0$", notes.messages[1])
    assert notes.messages[2:] == [
        "the budget of 0.00666667 minutes is spent: 3 verdicts are new and 4 are lacking; every topic is judged to "
        "rank 1, and the same command goes on",
        "the run: 4 shots have no verdict and stay below those that have one",
    ]
    assert orders(again) == {"1": "s2 s1 s3 s4", "2": "s4 s3 s1"}
    rest = ScriptedJudge(TABLE)
    rerank(RUN, gallery, method="judge", topics=TOPICS, judging=Judging("v.jsonl", judge=rest))
    assert rest.pairs == [("2", "s3"), ("1", "s3"), ("2", "s1"), ("1", "s4")]


def test_frames_are_decoded_and_a_shot_that_cannot_be_read_stays_below(gallery: str) -> None:
    noise_film(Path("a.mp4"), np.random.default_rng(0), 0, 12)
    Path("b.mp4").write_bytes(b"no film")
    one, notes = ScriptedJudge(TABLE), Notes()
    one.sampling = Sampling(fps=2.0, max_frames=2)
    judging = Judging("v.jsonl", 0, 8, (), one)
    again = rerank(RUN, gallery, method="judge", topics=TOPICS, judging=judging, report=notes)
    (question,) = one.asked[0]
    assert [frame.shape for frame in question.frames] == [(32, 32, 3)] * 2
    assert question.frames[0][:, :, 0].mean() > 150 > question.frames[0][:, :, 1].mean()
    assert question.seconds == 2.0
    assert {shot for _, shot in one.pairs} == {"s1", "s2", "s3"}
    assert any("b.mp4" in message for message in notes.messages)
    assert orders(again) == {"1": "s2 s1 s3 s4", "2": "s1 s3 s4"}
    Path("a.mp4").rename("moved.mp4")
    with pytest.raises(MismatchError, match=r"1 of 2 videos are not where g.h5 says \(a.mp4\): give --videos FOLDER"):
        rerank(RUN, gallery, method="judge", topics=TOPICS, judging=Judging(judge=one))
    # Not opened where every verdict is known.
    Path("b.mp4").unlink()
    known: Run = {"1": {"s1": 1.0}}
    assert rerank(known, gallery, method="judge", topics=TOPICS, judging=judging) == {"1": {"s1": 1.0}}


@pytest.mark.parametrize(
    ("run", "options", "error", "message"),
    [
        ({"3": {"s1": 1.0}}, {"topics": {"3": "x.jpg"}}, MismatchError, "topic 3 is an example image"),
        ({"1": {"s9": 1.0}}, {}, MismatchError, "does not describe 1 of 1 shots: s9"),
        (RUN, {"topics": None}, SpecError, "give --topics FILE"),
        (RUN, {"topics": "1-2"}, SpecError, "give --topics FILE"),
        (RUN, {"gallery": ()}, SpecError, "give --gallery STORE"),
        (RUN, {"method": "judge:layout=mosaic"}, SpecError, "not one of frames, sheet"),
        (RUN, {"method": "diverse"}, SpecError, "diverse asks no judge"),
        (RUN, {"judging": Judging(budget=-1)}, SpecError, "at least 0 minutes"),
    ],
)
def test_what_a_judge_cannot_do_is_refused(
    gallery: str, run: Run, options: dict[str, Any], error: type[AvsError], message: str
) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save("x.jpg")
    given = {"gallery": gallery, "method": "judge", "topics": TOPICS, "judging": Judging()} | options
    given["judging"] = given["judging"]._replace(judge=ScriptedJudge(TABLE))
    with pytest.raises(error, match=message):
        rerank(run, **given)


def test_every_topic_needs_a_text(gallery: str) -> None:
    with pytest.raises(MismatchError, match="r: no text for 1 of its topics: 2"):
        judge_shots({"r": RUN}, gallery, TOPICS[:1], ScriptedJudge(TABLE))


def test_a_verdict_that_is_no_number_ends_it_and_what_was_judged_before_is_kept(gallery: str) -> None:
    with pytest.raises(AvsError, match="the script gave nan for shot s2 and topic 1"):
        judge_shots(
            {"r": RUN},
            gallery,
            TOPICS,
            ScriptedJudge({("a dog", "s2"): float("nan")}),
            judging=Judging("v.jsonl", 0, 1),
        )
    lines = [json.loads(line) for line in Path("v.jsonl").read_text().splitlines()]
    assert [line.get("shot") for line in lines] == [None, "s1", "s4"]


def test_times_are_said_in_the_unit_that_fits() -> None:
    assert [duration(seconds) for seconds in (7.4, 89, 600, 5400)] == ["7 s", "89 s", "10 min", "1.5 h"]


def test_a_judge_without_errors_puts_the_relevant_first(gallery: str) -> None:
    run: Run = {"1": {"s4": 4.0, "s3": 3.0, "s2": 2.0, "s1": 1.0}}
    one = ScriptedJudge({("a dog", "s1"): 1.0, ("a dog", "s3"): 1.0})
    again = rerank(run, gallery, method="judge", topics=TOPICS, judging=Judging(judge=one))
    # Equal verdicts keep the order of the run.
    assert ranked(again["1"]) == ["s3", "s1", "s4", "s2"]
