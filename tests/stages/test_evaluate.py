"""Evaluation from Python: what it gives is what `avs eval` prints."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest import approx

from avs_cli.core.evaluation import reports
from avs_cli.errors import MismatchError, SpecError, UnknownName
from avs_cli.io.text.trec import read_qrels, read_run
from avs_cli.stages.evaluate import evaluate, plot

Here = Callable[..., Any]
QRELS = "1661 0 a 1 1\n1661 0 b 1 0\n1661 0 c 1 1\n1662 0 a 1 1\n1662 0 b 1 0\n"
# Average precision of 1661 and 1662: good 5/6 and 1, poor 1/4 (it lacks c) and 1/2.
GOOD = "1661 Q0 a 1 3 g\n1661 Q0 b 2 2 g\n1661 Q0 c 3 1 g\n1662 Q0 a 1 2 g\n1662 Q0 b 2 1 g\n"
POOR = "1661 Q0 b 1 3 p\n1661 Q0 a 2 2 p\n1662 Q0 b 1 2 p\n1662 Q0 a 2 1 p\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("qrels", QRELS), ("good.run", GOOD), ("poor.run", POOR)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_means_and_topics_are_read_by_run_and_measure() -> None:
    table = evaluate("qrels", ["poor.run", "good.run"], ["AP", "P@1"])
    assert table.means["good"] == approx({"AP": 11 / 12, "P@1": 1}) and table.means["poor"]["AP"] == approx(3 / 8)
    assert table.by_topic["good"]["AP"] == approx({"1661": 5 / 6, "1662": 1})
    assert [entry.run for entry in table.report.entries] == ["good", "poor"] and table.report.baseline == "good"


def test_the_report_is_what_the_command_prints(avs_here: Here) -> None:
    line = ("eval", "qrels", "good.run", "poor.run", "-m", "AP", "-m", "P@1", "--agreement", "nDCG")
    table = evaluate("qrels", ["good.run", "poor.run"], ["AP", "P@1"], agreement="nDCG")
    assert reports.as_json(table.report, False, table.agreement) == avs_here(*line, "--json").stdout
    assert json.loads(avs_here(*line, "--json").stdout)


def test_values_serve_as_well_as_paths() -> None:
    value = evaluate(read_qrels("qrels"), {"g": read_run("good.run"), "poor": Path("poor.run")})
    assert value.means == {"g": {"AP": approx(11 / 12)}, "poor": {"AP": approx(3 / 8)}}
    assert evaluate("qrels", read_run("good.run")).means == {"run 1": {"AP": approx(11 / 12)}}
    assert evaluate("qrels", [read_run("good.run")]).means == {"run 1": {"AP": approx(11 / 12)}}
    assert evaluate(Path("qrels"), "good.run").means == {"good": {"AP": approx(11 / 12)}}


def test_several_qrels_have_their_columns(folder: Path) -> None:
    (folder / "tv22.qrels").write_text("1701 0 a 1 1\n")
    (folder / "both.run").write_text(GOOD + "1701 Q0 b 1 2 g\n1701 Q0 a 2 1 g\n")
    table = evaluate(["qrels", "tv22.qrels"], "both.run", ["AP"])
    assert table.means["both"]["AP"] == approx((11 / 12 + 1 / 2) / 2)
    assert {name: column.means["AP"] for name, column in table.report.entries[0].columns.items()} == approx(
        {"qrels": 11 / 12, "TV22": 1 / 2}
    )


def test_a_figure_is_the_one_that_the_command_draws(avs_here: Here) -> None:
    plot("python.svg", evaluate("qrels", ["good.run", "poor.run"], ["AP"], curves=True))
    assert avs_here("eval", "qrels", "good.run", "poor.run", "-m", "AP", "--plot", "command.svg").returncode == 0
    assert Path("python.svg").read_bytes() == Path("command.svg").read_bytes()


def test_gaps_are_notes_of_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "avs_cli"):
        evaluate("qrels", "good.run", topics="1661,1669")
    assert caplog.messages == ["1 of 2 selected topics are not judged", "good.run: 1 topic"]


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(SpecError, match="no run given"):
        evaluate("qrels", [])
    with pytest.raises(MismatchError, match="run 1: none of its topics is judged"):
        evaluate("qrels", [{"9": {"a": 1.0}}])
    with pytest.raises(UnknownName):
        evaluate("qrels", "good.run", ["xinfPA"])
    with pytest.raises(UnknownName):
        evaluate("qrels", ["good.run", "poor.run"], baseline="best")
