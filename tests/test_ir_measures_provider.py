"""Our measures in ir_measures: NIST's numbers, our evaluator's numbers, and ir_measures' own command."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ir_measures
import pytest
from pytest import approx

from avs_cli import ir_measures_provider
from avs_cli.core.evaluation import evaluator
from avs_cli.core.evaluation.reports import NIST_ROWS
from avs_cli.io.pipe import read_text
from avs_cli.io.text import trec
from avs_cli.ir_measures_provider import MEASURES, iP, read_qrels, xinfAP

# Stratum 1: all judged. Stratum 2: 3 pooled, 1 judged, so its relevant shot stands for 3.
FIVE_COLUMNS = """\
1661 0 a 1 1
1661 0 b 2 1
1661 0 c 2 -1
1661 0 d 2 -1
1662 0 a 1 0
1662 0 e 1 1
"""
RUN = "1661 Q0 a 1 2.0 x\n1661 Q0 z 2 1.0 x\n"


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "avs_cli.ir_measures_provider", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True)


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    (tmp_path / "a.qrels").write_text(FIVE_COLUMNS)
    (tmp_path / "a.run").write_text(RUN)
    return tmp_path


def test_what_ir_measures_lacks_is_there_and_what_it_has_is_its_own() -> None:
    assert MEASURES.keys() >= {
        "hit", "infNDCG", "inum_rel", "inum_rel_ret", "iP", "iprec_rec", "MeanR", "MedR", "mir", "num_ret", "SumR",
        "xinfAP",
    }  # fmt: skip
    # A new file in our registry is a new measure here.
    spelled = {name.lower().replace("_", "-") for name in ir_measures.measures.registry}
    assert spelled >= set(evaluator.measures.names())
    for name in ("ERR", "Judged", "RBP", "AP"):
        assert not isinstance(ir_measures.parse_measure(name), ir_measures_provider.AvsMeasure)
    assert ir_measures.parse_measure("iP@100") == iP @ 100 == iP(cutoff=100)
    assert ir_measures.parse_measure("iprec_rec@0.5").params == {"recall": 0.5}


def test_a_stratum_counts_by_its_sample(judged: Path) -> None:
    qrels = [*read_qrels(str(judged / "a.qrels"))]
    assert qrels[1] == ir_measures.Qrel("1661", "b", 1, "2")
    values = {
        (metric.query_id, str(metric.measure)): metric.value
        for metric in ir_measures.iter_calc([xinfAP, iP @ 2, ir_measures.AP], qrels, ir_measures.read_trec_run(RUN))
    }
    # R = 1 + 3: one relevant shot of four, at rank 1. AP knows no samples and sees two relevant shots.
    assert values["1661", "xinfAP"] == 1 / 4
    assert values["1661", "AP"] == 1 / 2
    assert values["1661", "iP@2"] == approx(1 / 2, abs=1e-4)
    # As everywhere in ir_measures, a judged topic without a ranking counts.
    assert values["1662", "xinfAP"] == values["1662", "AP"] == 0


@pytest.mark.parametrize("form", ["stream", "table", "mapping"])
def test_every_form_of_qrels_that_ir_measures_takes(judged: Path, form: str) -> None:
    stream = [*read_qrels(str(judged / "a.qrels"))]
    run = {"1661": {"b": 2.0, "z": 1.0}}
    if form == "stream":
        assert xinfAP.calc_aggregate(iter(stream), run) == (3 / 4 + 0) / 2
    elif form == "table":
        import pandas

        assert xinfAP.calc_aggregate(pandas.DataFrame(stream), run) == (3 / 4 + 0) / 2
    else:  # which has no strata: 4 pooled, 2 of them judged, both relevant, so R = 4 and b stands for 2
        mapping: dict[str, dict[str, int]] = {}
        for qrel in stream:
            mapping.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
        assert xinfAP.calc_aggregate(mapping, run) == (2 / 4 + 0) / 2


def test_topics_are_summed_up_as_each_measure_has_it() -> None:
    qrels = {topic: {"a": 1, "b": 0} for topic in "123"}
    run = {"1": {"a": 2.0, "b": 1.0}, "2": {"a": 1.0, "b": 2.0}, "3": {"b": 2.0}}
    asked = [MEASURES[name] for name in ("MedR", "MeanR", "num_ret", "inum_rel", "SumR")] + [MEASURES["hit"] @ 1]
    values = {str(measure): value for measure, value in ir_measures.calc_aggregate(asked, qrels, run).items()}
    assert values == {"MedR": 2, "MeanR": (1 + 2 + 2) / 3, "num_ret": 5, "inum_rel": 3, "SumR": 500 / 3, "hit@1": 1 / 3}
    values = {
        str(measure): value for measure, value in ir_measures.calc_aggregate(asked, qrels, {"1": {"a": 1.0}}).items()
    }
    # A rank that nobody reached is behind all others; the pool is what it is.
    assert (values["MedR"], values["inum_rel"], values["num_ret"]) == (float("inf"), 3, 1)


def test_a_run_of_other_topics_has_the_defaults() -> None:
    assert xinfAP.calc_aggregate({"1": {"a": 1}}, {"2": {"a": 1.0}}) == 0


@pytest.mark.parametrize(
    ("case", "number"), [("short-lists", 0), ("short-lists", 1), ("over-1000", 0), ("ties", 0), ("graded", 1)]
)
def test_nists_values_of_each_topic(parity: Callable[[str], Path], case: str, number: int) -> None:
    folder = parity(f"xinfap/{case}")
    qrels, run, expected = (
        str(path if path.exists() else path.with_name(f"{path.name}.gz"))
        for path in (folder / "qrels.txt", folder / f"run{number}.trec", folder / f"run{number}.expected")
    )
    printed = {"xinfAP": "infAP", "infNDCG": "infNDCG", "iP@100": "iP100", "inum_rel_ret": "inum_rel_ret"}
    theirs = {
        (row[1], row[0]): row[2]
        for row in map(str.split, read_text(expected).splitlines())
        if row[0] in printed.values()
    }
    asked = [ir_measures.parse_measure(name) for name in printed]
    values = {
        (metric.query_id, printed[str(metric.measure)]): f"{metric.value:.4f}"
        for metric in ir_measures.iter_calc(asked, read_qrels(qrels), ir_measures.read_trec_run(run))
    }
    assert len(theirs) >= 12
    # NIST leaves out topics that the run lacks, and ends with the means and sums of the others.
    rows = [key for key in theirs if key[0] != "all"]
    assert {key: values[key] for key in rows} == {key: theirs[key] for key in rows}


def test_trecvid_2021_is_what_our_evaluator_and_nists_script_say(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("tv21")
    qrels, run = str(folder / "avs.qrels.main.tv21"), str(folder / "test_run.trec")
    names = ["xinfAP", "infNDCG", "iP@100", "iprec_rec@0.1", "inum_rel", "inum_rel_ret", "num_ret", "MedR", "hit@5"]
    ours = evaluator.Evaluator(trec.read_qrels(qrels), names).evaluate(trec.read_run(run))
    asked = [ir_measures.parse_measure(name) for name in names]
    calculated = ir_measures.calc(asked, read_qrels(qrels), ir_measures.read_trec_run(run))
    assert {str(measure): value for measure, value in calculated.aggregated.items()} == ours.means
    for metric in calculated.per_query:
        assert metric.value == ours.by_topic[str(metric.measure)][metric.query_id]
    row = dict((name, row) for row, name in NIST_ROWS)["xinfAP"]
    assert row.format("all", calculated.aggregated[xinfAP]) in (folder / "test_run.sample_eval.out").read_text()


def test_the_command_of_ir_measures_prints_ours_beside_its_own(judged: Path) -> None:
    ran = command(judged / "a.qrels", judged / "a.run", "xinfAP", "AP", "iP@2", "-q")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert sorted(ran.stdout.splitlines()) == [
        "1661\tAP\t0.5000", "1661\tiP@2\t0.5000", "1661\txinfAP\t0.2500",
        "1662\tAP\t0.0000", "1662\tiP@2\t0.0000", "1662\txinfAP\t0.0000",
        "all\tAP\t0.2500", "all\tiP@2\t0.2500", "all\txinfAP\t0.1250",
    ]  # fmt: skip


def test_in_four_columns_the_second_is_the_stratum(judged: Path) -> None:
    lines = [line.split() for line in FIVE_COLUMNS.splitlines()]
    four = "".join(f"{topic} {stratum} {shot} {relevance}\n" for topic, _, shot, stratum, relevance in lines)
    (judged / "four.qrels").write_text(four)
    ran = command(judged / "four.qrels", judged / "a.run", "xinfAP")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "xinfAP\t0.1250\n", "")


@pytest.mark.parametrize(
    ("broken", "measure", "message"),
    [
        (FIVE_COLUMNS + "1662 0 f 1\n", "xinfAP", "a.qrels:7: 4 columns instead of 5"),
        (FIVE_COLUMNS, "iP@0", "cutoff 0: must be at least 1"),
    ],
)
def test_a_mistake_is_told_in_a_line(judged: Path, broken: str, measure: str, message: str) -> None:
    (judged / "a.qrels").write_text(broken)
    ran = command(judged / "a.qrels", judged / "a.run", measure)
    assert ran.returncode == 1 and message in ran.stderr and ran.stderr.count("\n") == 1
