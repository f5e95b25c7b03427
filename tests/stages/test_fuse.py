"""Fusion from Python: what it gives is what `avs fuse` writes."""

import logging
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from avs_cli.core.fusion import fitting
from avs_cli.core.fusion.ltr.folds import split
from avs_cli.core.fusion.methods import methods
from avs_cli.errors import MismatchError, SpecError, UnknownName
from avs_cli.io.text.trec import read_qrels, read_run, write_run
from avs_cli.stages import evaluate, fuse
from avs_cli.types import FUSER_INPUTS, Fuser, Judgment, Run

Here = Callable[..., Any]
NAMES = ("one", "two", "three")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """one.run … of topics 1661-1667 and q.txt of the first six: each run sees relevance through its own noise."""
    rng = random.Random(0)
    runs: dict[str, Run] = {name: {} for name in NAMES}
    judged = []
    for topic in map(str, range(1661, 1668)):
        relevant = {f"shot{n}": rng.random() < 0.3 for n in range(30)}
        for noise, run in enumerate(runs.values(), start=1):
            run[topic] = {shot: right + noise * rng.gauss(0, 0.5) for shot, right in relevant.items()}
        if topic < "1667":
            judged += [f"{topic} 0 {shot} {int(right)}\n" for shot, right in relevant.items()]
    for name, run in runs.items():
        write_run(str(tmp_path / f"{name}.run"), run)
    (tmp_path / "q.txt").write_text("".join(judged))
    monkeypatch.chdir(tmp_path)
    return tmp_path


PATHS = [f"{name}.run" for name in NAMES]


def written(run: Run, depth: int = 1000) -> str:
    """The run as the command writes it."""
    write_run("python.run", run, "fused", depth)
    return Path("python.run").read_text()


# Merge takes runs over disjoint shots, which these are not; its own tests have such runs.
@pytest.mark.parametrize("method", [name for name in methods.names() if name != "merge"])
def test_each_method_fuses_paths_and_values_as_the_command_does(avs_here: Here, folder: Path, method: str) -> None:
    spec = "weighted:weights=3/2/1" if method == "weighted" else method
    learns = fitting.learns(spec)
    run = fuse.fuse(PATHS, method=spec, qrels="q.txt" if learns else None)
    given = [read_run(path) for path in PATHS]
    assert fuse.fuse(given, spec, qrels=read_qrels("q.txt") if learns else None) == run
    done = avs_here("fuse", *PATHS, "--method", spec, *(("--qrels", "q.txt") if learns else ()))
    assert done.stdout == written(run) != ""


def test_a_method_that_learns_ranks_judged_topics_out_of_fold(
    avs_here: Here, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = fuse.fuse(PATHS, "segfuse", qrels="q.txt", folds=3, seed=1)
    assert caplog.messages[-1] == (
        "6 judged topics ranked out of fold (3 folds), 1 others by a model fitted on all judged topics"
    )
    qrels = read_qrels("q.txt")
    (part,) = (part for part in split(list(qrels), 3, 1) if "1661" in part)
    seen = {topic: judged for topic, judged in qrels.items() if topic not in part}
    runs = [read_run(path) for path in PATHS]
    whole = fitting.fitted("segfuse", fitting.judged_runs(runs, qrels, "AP"))(runs)
    others = fitting.fitted("segfuse", fitting.judged_runs(runs, seen, "AP"))(runs)
    assert run["1667"] == whole["1667"] and run["1661"] == others["1661"] != whole["1661"]
    line = ("fuse", *PATHS, "--method", "segfuse", "--qrels", "q.txt", "--folds", 3, "--seed", 1)
    assert avs_here(*line).stdout == written(run)


def test_judgments_that_are_needed_or_of_no_use_are_an_error(folder: Path) -> None:
    with pytest.raises(SpecError, match="posfuse learns from judgments, and none are given"):
        fuse.fuse(PATHS, "posfuse")
    with pytest.raises(SpecError, match="rrf does not learn from judgments"):
        fuse.fuse(PATHS, qrels="q.txt")
    with pytest.raises(SpecError, match="MedR cannot weigh runs"):
        fuse.fuse(PATHS, "wmnz", qrels="q.txt", measure="MedR")


def test_a_comparison_has_the_values_that_evaluation_gives_each_method(folder: Path) -> None:
    found = fuse.compare(PATHS, "q.txt", folds=2)
    rows = {row.method: row for row in found.rows}
    assert set(methods.names()) - {"merge", "weighted"} <= set(rows)
    for spec in ("rrf", "combsum:norm=zscore", "segfuse", "borda:weights=measure"):
        run = fuse.fuse(PATHS, spec, qrels="q.txt" if rows[spec].learns else None, folds=2)
        table = evaluate.evaluate("q.txt", {"fused": run}, ["AP", "nDCG@20", "P@10"])
        assert rows[spec].values == pytest.approx(table.means["fused"])
    linear = fuse.learn(PATHS, "q.txt", steps="1", folds=2).run
    means = evaluate.evaluate("q.txt", {"fused": linear}).means["fused"]
    assert rows["--ltr --steps 1"].values["AP"] == pytest.approx(means["AP"])
    assert [row.gap for row in found.rows] == sorted((row.gap for row in found.rows), reverse=True)
    assert found.rows[0].p is None and all(0 <= row.p <= 1 for row in found.rows[1:] if row.p is not None)
    single = max((evaluate.evaluate("q.txt", [path]).means[Path(path).stem]["AP"], path) for path in PATHS)
    assert rows[f"best run ({Path(single[1]).stem})"].values["AP"] == pytest.approx(single[0])
    assert not found.best_unlearned.learns and found.best_unlearned.method in rows
    again = fuse.compare(list(reversed(PATHS)), "q.txt", folds=2)
    assert {row.method: row.values for row in again.rows} == {row.method: row.values for row in found.rows}


def test_marks_of_few_topics_teach_and_those_that_cannot_are_named(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    judged = read_qrels("q.txt")
    liked = {topic: [shot for shot, one in judged[topic].items() if one.relevance] for topic in judged}
    marks = {topic: {shot: Judgment(1) for shot in liked[topic][:2]} for topic in ("1661", "1662", "1663")}
    learned = fuse.learn(PATHS, marks, steps="1", fitted=True)
    assert learned.run.keys() == {str(topic) for topic in range(1661, 1668)}
    dull = {topic: dict.fromkeys(of_topic, Judgment(0)) for topic, of_topic in marks.items()}
    with pytest.raises(MismatchError, match="no shot of the runs' 3 judged topics is relevant, so there is nothing to"):
        fuse.learn(PATHS, dull)
    caplog.clear()
    # The model for 1661 has seen 1662 alone, which has no relevant shot: its runs have equal weights.
    mixed = fuse.learn(PATHS, {"1661": marks["1661"], "1662": dull["1662"]}, steps="1", reported=True)
    assert "1 of 2 judged topics have no relevant shot and teach nothing: 1662" in caplog.text
    equal = fuse.apply(
        Fuser(NAMES, "AP", FUSER_INPUTS[0], (1 / 3, 1 / 3, 1 / 3)), {n: read_run(f"{n}.run") for n in NAMES}
    )
    assert [*mixed.run["1661"]] == [*equal["1661"]]
    with pytest.raises(MismatchError, match=r"1 judged topic: .* or rerank this one by its judgments"):
        fuse.learn(PATHS, {"1661": marks["1661"]})
    assert fuse.fit(PATHS, {"1661": marks["1661"]}).topics == ("1661",)


def test_depth_and_topics_cut_runs_as_the_command_does(avs_here: Here, folder: Path) -> None:
    run = fuse.fuse(PATHS, topics="661-663", depth=7)
    assert {topic: len(scores) for topic, scores in run.items()} == {"1661": 7, "1662": 7, "1663": 7}
    assert written(run) == avs_here("fuse", *PATHS, "--topics", "661-663", "--depth", 7).stdout


@pytest.mark.parametrize("second", ["logistic", "lambdamart"])
def test_a_fitted_model_is_what_save_writes_and_applies_as_load_does(
    avs_here: Here, folder: Path, second: Literal["logistic", "lambdamart"]
) -> None:
    fuser = fuse.fit(PATHS, "q.txt", steps="2", second=second)
    fuse.write_fuser("python.json", fuser)
    line = ("fuse", *PATHS, "--ltr", "--steps", "2", "--step-2", second, "--qrels", "q.txt", "--save", "saved.json")
    assert avs_here(*line).returncode == 0
    assert Path("python.json").read_bytes() == Path("saved.json").read_bytes()
    assert (len(fuser.boosters) == 2, bool(fuser.coefficients)) == (second == "lambdamart", second == "logistic")
    assert fuser.runs == ("one", "three", "two") and len(fuser.topics) == 6
    assert written(fuse.apply(fuser, PATHS)) != written(fuse.apply(replace(fuser, mix=0.0), PATHS))
    assert fuse.read_fuser("saved.json").reach == fuser.reach
    loaded = avs_here("fuse", *PATHS, "--load", "saved.json").stdout
    assert written(fuse.apply(fuser, PATHS)) == written(fuse.apply(Path("saved.json"), PATHS)) == loaded != ""


def test_learning_gives_runs_values_and_qrels_by_name(avs_here: Here, folder: Path) -> None:
    runs = {name: read_run(f"{name}.run") for name in NAMES}
    learned = fuse.learn(runs, read_qrels("q.txt"), folds=3, reported=True)
    line = ("fuse", *PATHS, "--ltr", "--qrels", "q.txt", "--folds", 3, "-o", "fused.run", "--report", "report.json")
    assert avs_here(*line).returncode == 0
    assert written(learned.run) == Path("fused.run").read_text() and learned.report is not None
    fuse.write_report("python.json", learned.report)
    assert Path("python.json").read_bytes() == Path("report.json").read_bytes()
    assert learned.fuser is not None and learned.fuser.measure == "AP"  # for topic 1667, which nobody judged


def test_notes_go_to_the_logger(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "avs_cli"):
        fuse.fuse(PATHS, topics="666-669")
        fuse.apply(fuse.fit(PATHS, "q.txt", steps="1"), PATHS)
    assert caplog.messages == [
        "2 of 4 selected topics are in no run: 668, 669",
        "the fuser was fitted on 6 of these 7 topics, so their scores are optimistic",
    ]


def test_wrong_runs_are_refused(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"at least two runs, got only one\.run"):
        fuse.fuse("one.run")
    with pytest.raises(SpecError, match="got only none"):
        fuse.fuse([])
    with pytest.raises(MismatchError, match=r"two runs are named one\.run"):
        fuse.fuse(["one.run", "one.run"])
    with pytest.raises(UnknownName):
        fuse.fuse(PATHS, "rff")
    with pytest.raises(MismatchError, match="no topic in common, such as a and b"):
        fuse.fuse({"a": {"1": {"x": 1.0}}, "b": {"2": {"x": 1.0}}})
    fuser = fuse.fit(PATHS, "q.txt", steps="1")
    with pytest.raises(MismatchError, match="the fuser was fitted on a run named three, which is missing"):
        fuse.apply(fuser, PATHS[:2])
    with pytest.raises(MismatchError, match="the fuser was not fitted on a run named four"):
        fuse.apply(fuser, {name: read_run("one.run") for name in (*NAMES, "four")})
