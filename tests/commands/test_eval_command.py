"""avs eval as a user meets it: tables, files for programs and papers, pictures, notes and refusals."""

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from xml.etree import ElementTree

import pytest
from pytest import approx

from avs_cli.cli import exit_code
from avs_cli.core.evaluation.evaluator import Evaluator, Gaps, Scores, measure_named
from avs_cli.core.evaluation.plots import figure
from avs_cli.core.evaluation.reports import compare, mean_name, qrels_names
from avs_cli.types import Judgment

QRELS = """1661 0 a 1 1
1661 0 b 1 0
1661 0 c 1 1
1662 0 a 1 1
1662 0 b 1 0
1663 0 a 1 0
1663 0 b 1 1
"""
# Average precision of 1661, 1662, 1663: good 5/6, 1, 1/2; poor 1/4 (it lacks c), 1/2, 1/2.
GOOD = "1661 Q0 a 1 3 g\n1661 Q0 b 2 2 g\n1661 Q0 c 3 1 g\n1662 Q0 a 1 2 g\n1662 Q0 b 2 1 g\n"
GOOD += "1663 Q0 a 1 2 g\n1663 Q0 b 2 1 g\n"
POOR = "1661 Q0 b 1 3 p\n1661 Q0 a 2 2 p\n1662 Q0 b 1 2 p\n1662 Q0 a 2 1 p\n1663 Q0 a 1 2 p\n1663 Q0 b 2 1 p\n"


class Result:
    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    for name, text in (("qrels", QRELS), ("good.run", GOOD), ("poor.trec", POOR)):
        (tmp_path / name).write_text(text)

    def call(*arguments: str) -> Result:
        code = exit_code(["eval", *arguments])
        return Result(code, *capsys.readouterr())

    return call


def test_one_run_is_a_line_per_measure(run) -> None:
    result = run("qrels", "good.run", "-m", "AP", "-m", "P@1")
    assert result.out == "AP           0.7778\nP@1          0.6667\n"
    assert result.code == 0


def test_the_default_measure_is_ap_of_whole_and_xinfap_of_sampled_judgments(run, tmp_path: Path) -> None:
    assert run("qrels", "good.run").out.split() == ["AP", "0.7778"]
    (tmp_path / "sampled").write_text(QRELS + "1663 0 c 1 -1\n")
    assert run("sampled", "good.run").out.split() == ["xinfAP", "0.7778"]
    (tmp_path / "strata").write_text("1661 0 a 1 1\n1661 0 b 2 0\n")
    assert run("strata", "good.run").out.split() == ["xinfAP", "1.0000"]


def test_several_runs_are_ranked_and_tested_against_the_best(run) -> None:
    result = run("qrels", "poor.trec", "good.run", "-m", "AP")
    rows = [line.split() for line in result.out.splitlines() if line.split()[:1] in (["good"], ["poor"])]
    # The two topics that differ, by 7/12 and 1/2: two of four sign patterns are as far from 0.
    assert rows == [["good", "0.7778"], ["poor", "0.4167", "0.5000"]]
    assert "p against good: paired randomization test, Holm-corrected" in result.out


def test_the_baseline_is_a_choice(run) -> None:
    result = run("qrels", "poor.trec", "good.run", "-m", "AP", "--baseline", "poor", "--json")
    content = json.loads(result.out)
    assert (content["baseline"], content["test"]) == ("poor", "randomization")
    assert [entry.get("p") for entry in content["runs"]] == [{"AP": 0.5}, None]


def test_other_tests_go_by_name(run) -> None:
    p = {}
    for test in ("randomization", "t", "tukey"):
        content = json.loads(run("qrels", "poor.trec", "good.run", "-m", "AP", "--test", test, "--json").out)
        p[test] = content["runs"][1]["p"]["AP"]
    differences = [7 / 12, 1 / 2, 0.0]
    t = mean(differences) / (stdev(differences) / 3**0.5)
    # At 2 degrees of freedom the tail has a closed form. Tukey's is the same for two runs.
    assert p["t"] == approx(1 - t / (2 + t**2) ** 0.5)
    assert p["tukey"] == approx(p["t"], abs=1e-6)
    assert p["randomization"] == 0.5


def test_three_runs_are_corrected_for_being_three(run, tmp_path: Path) -> None:
    (tmp_path / "other.run").write_text(POOR)
    content = json.loads(run("qrels", "good.run", "poor.trec", "other.run", "-m", "AP", "--json").out)
    assert [entry["p"]["AP"] for entry in content["runs"][1:]] == [1.0, 1.0]


def cells(text: str) -> list[list[str]]:
    """The lines of a printed table, without its rules."""
    return [found for line in text.splitlines() if (found := line.split()) and "─" not in line]


def test_topics_and_their_means_are_one_table(run) -> None:
    result = run("qrels", "good.run", "-m", "AP", "-m", "P@1", "-q")
    assert cells(result.out) == [
        ["good"], ["topic", "AP", "P@1"], ["1661", "0.8333", "1.0000"], ["1662", "1.0000", "1.0000"],
        ["1663", "0.5000", "0.0000"], ["all", "0.7778", "0.6667"],
    ]  # fmt: skip
    both = run("qrels", "good.run", "poor.trec", "-m", "AP", "-q")
    assert cells(both.out)[1:] == [
        ["topic", "good", "poor"], ["1661", "0.8333", "0.2500"], ["1662", "1.0000", "0.5000"],
        ["1663", "0.5000", "0.5000"], ["all", "0.7778", "0.4167"], ["p", "0.5000"],
    ]  # fmt: skip
    assert both.out.startswith("AP; p against good: paired randomization test, Holm-corrected")


def test_a_small_p_is_no_zero(run, tmp_path: Path) -> None:
    topics = range(100, 140)
    (tmp_path / "many").write_text("".join(f"{t} 0 {shot} 1 {int(shot == 'a')}\n" for t in topics for shot in "ab"))
    for name in "ab":
        (tmp_path / f"{name}.run").write_text("".join(f"{topic} Q0 {name} 1 1 t\n" for topic in topics))
    # The least p of 20,000 samples is 1/20001.
    assert ["b", "0.0000", "<0.0001"] in cells(run("many", "a.run", "b.run", "-m", "P@1").out)


# Several qrels, one for each year.


@pytest.fixture
def years(run, tmp_path: Path) -> Callable[..., Result]:
    """TV19 has the topics 1661 and 1662, TV20 has 1663; AP is 11/12 and 1/2 for good, 3/8 and 1/2 for poor."""
    lines = QRELS.splitlines(keepends=True)
    (tmp_path / "years").mkdir()
    for name, chosen in (("tv19.qrels", lines[:5]), ("avs.qrels.main.tv20", lines[5:])):
        (tmp_path / "years" / name).write_text("".join(chosen))
    return run


YEARS = ["--qrels", "years/tv19.qrels", "--qrels", "years/avs.qrels.main.tv20"]


def test_each_qrels_is_a_column_and_the_mean_counts_them_alike(years) -> None:
    result = years(*YEARS, "good.run", "poor.trec", "-m", "AP")
    assert result.code == 0
    assert [row[:5] for row in cells(result.out)[1:]] == [
        ["run", "TV19", "TV20", "MEAN(TV19–20)", "p"],
        ["good", "0.9167", "0.5000", "0.7083"],
        ["poor", "0.3750", "0.5000", "0.4375", "0.5000"],
    ]
    one = years(*YEARS, "good.run", "-m", "AP", "-m", "P@1")
    assert cells(one.out) == [
        [
            "run",
            "AP",
            "TV19",
            "AP",
            "TV20",
            "AP",
            "MEAN(TV19–20)",
            "P@1",
            "TV19",
            "P@1",
            "TV20",
            "P@1",
            "MEAN(TV19–20)",
        ],
        ["good", "0.9167", "0.5000", "0.7083", "1.0000", "0.0000", "0.5000"],
    ]


def test_a_folder_of_qrels_serves_as_option_and_as_first_argument(years) -> None:
    for arguments in (["--qrels", "years", "good.run"], ["years", "good.run"]):
        title, header, row = cells(years(*arguments, "-m", "AP").out)
        assert title == ["AP"]  # which the columns, called after qrels, do not say
        # By the names of the files.
        assert header == ["run", "TV20", "TV19", "MEAN(TV19–20)"]
        assert row == ["good", "0.5000", "0.9167", "0.7083"]


def test_one_qrels_by_option_is_one_by_position(years) -> None:
    by_position = years("years/tv19.qrels", "good.run", "poor.trec", "-m", "AP", "--json")
    by_option = years("--qrels", "years/tv19.qrels", "good.run", "poor.trec", "-m", "AP", "--json")
    assert (by_option.out, by_option.err) == (by_position.out, by_position.err)


def test_years_in_json_csv_and_latex(years) -> None:
    arguments = [*YEARS, "good.run", "poor.trec", "-m", "AP"]
    content = json.loads(years(*arguments, "--json").out)
    assert (content["qrels"], content["mean"]) == (["TV19", "TV20"], "MEAN(TV19–20)")
    good, poor = content["runs"]
    assert good["scores"]["AP"] == approx((11 / 12 + 1 / 2) / 2, abs=1e-9)
    assert good["qrels"]["TV19"] == {"scores": {"AP": approx(11 / 12, abs=1e-9)}}
    # Two topics that differ, in each year of them: 2 of 4 sign patterns; no topic of TV20 differs.
    assert (poor["p"], poor["qrels"]["TV19"]["p"], poor["qrels"]["TV20"]["p"]) == (
        {"AP": 0.5},
        {"AP": 0.5},
        {"AP": 1.0},
    )
    values = {
        (row["run"], row["topic"]): row["value"] for row in csv.DictReader(io.StringIO(years(*arguments, "--csv").out))
    }
    assert float(values["poor", "TV19"]) == approx(3 / 8, abs=1e-9)
    assert float(values["poor", "all"]) == approx(7 / 16, abs=1e-9)
    latex = years(*arguments, "--latex").out
    assert latex.startswith("\\begin{tabular}{lrrr}")
    assert r"Run & TV19 & TV20 & MEAN(TV19--20) \\" in latex
    assert r"poor & 0.3750 & \textbf{0.5000} & 0.4375 \\" in latex
    assert latex.endswith("\n% values: AP\n")
    assert "AP; p against good" in years(*arguments).out


def test_topics_of_each_year_stand_above_its_mean(years) -> None:
    result = years(*YEARS, "good.run", "poor.trec", "-m", "AP", "-q")
    assert [row[0] for row in cells(result.out)[2:]] == ["1661", "1662", "TV19", "1663", "TV20", "MEAN(TV19–20)", "p"]
    assert ["TV19", "0.9167", "0.3750"] in cells(result.out)


def test_a_year_of_one_topic_has_values_and_no_t_test(years) -> None:
    content = json.loads(years(*YEARS, "good.run", "poor.trec", "-m", "AP", "--test", "t", "--json").out)
    assert "p" in content["runs"][1]["qrels"]["TV19"] and "p" not in content["runs"][1]["qrels"]["TV20"]


def test_a_run_without_a_years_topics_has_no_mean_and_is_last(years, tmp_path: Path) -> None:
    (tmp_path / "old.run").write_text(GOOD.partition("1663")[0])
    result = years(*YEARS, "old.run", "poor.trec", "-m", "AP")
    assert [row for row in cells(result.out) if row[0] in ("old", "poor")] == [
        ["poor", "0.3750", "0.5000", "0.4375"], ["old", "0.9167"],
    ]  # fmt: skip
    assert "avs: old.run: 1 judged topic (1663) missing\n" in result.err
    content = json.loads(years(*YEARS, "old.run", "poor.trec", "-m", "AP", "--json").out)
    assert content["runs"][1]["scores"] == {"AP": None}
    zero = years(*YEARS, "old.run", "poor.trec", "-m", "AP", "--missing", "zero")
    assert ["old", "0.9167", "0.0000", "0.4583"] in cells(zero.out)
    refused = years(*YEARS, "old.run", "poor.trec", "-m", "AP", "--agreement", "P@1")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        3, "avs: old has no topic of some of the qrels, so its mean has no rank among the others",
    )  # fmt: skip


def test_the_mean_over_years_is_what_its_p_is_of() -> None:
    """One topic in one year, three in the other: the difference of the means is (-0.1 + (0.5 + 0.4 + 0.3) / 3) / 2."""
    differences = {"1": -0.1, "2": 0.5, "3": 0.4, "4": 0.3}
    gaps = Gaps(4, 0, {10: 0.0}, [], [])
    scores = {
        "good": Scores({"AP": {topic: 0.3 + d for topic, d in differences.items()}}, {"AP": 0.0}, gaps),
        "poor": Scores({"AP": dict.fromkeys(differences, 0.3)}, {"AP": 0.0}, gaps),
    }
    years = {"TV19": ["1"], "TV20": ["2", "3", "4"]}
    report = compare(scores, [measure_named("AP")], "poor", parts=years)
    assert report.entries[0].scores.means["AP"] - 0.3 == approx(0.15)
    weighted = [a * 0.1 / 2 + (b * 0.5 + c * 0.4 + d * 0.3) / 6 for a, b, c, d in itertools.product((1, -1), repeat=4)]
    assert report.entries[0].p["AP"] == sum(abs(total) >= 0.15 - 1e-9 for total in weighted) / 16 == 6 / 16
    # Had all topics counted alike, 4 of the 16 patterns would be as far from 0 as 1.1.
    assert compare(scores, [measure_named("AP")], "poor").entries[0].p["AP"] == 4 / 16


@pytest.mark.parametrize("test", ["randomization", "t", "tukey"])
def test_every_test_takes_three_runs_of_several_years(years, tmp_path: Path, test: str) -> None:
    # A year of one topic has no t-test and no Tukey's, so TV20 gets a second.
    with open(tmp_path / "years" / "avs.qrels.main.tv20", "a") as qrels:
        qrels.write("1664 0 a 1 1\n")
    for name, text, shot in (("good", GOOD, "a"), ("poor", POOR, "b"), ("other", POOR, "a")):
        (tmp_path / f"{name}.run").write_text(text + f"1664 Q0 {shot} 1 1 t\n")
    runs = ["good.run", "poor.run", "other.run"]
    content = json.loads(years(*YEARS, *runs, "-m", "AP", "--test", test, "--json").out)
    assert [entry["run"] for entry in content["runs"]] == ["good", "other", "poor"]
    for entry in content["runs"][1:]:
        assert all(0 < p["AP"] <= 1 for p in (entry["p"], *(year["p"] for year in entry["qrels"].values())))


@pytest.mark.parametrize(
    ("names", "mean_of"),
    [
        (["TV19", "TV20", "TV21"], "MEAN(TV19–21)"),
        (["TV16", "TV17", "TV19"], "MEAN(TV16–17, TV19)"),
        (["TV08", "TV09"], "MEAN(TV08–09)"),
        (["covid", "robust"], "MEAN"),
        (["TV19", "V3C1"], "MEAN"),
    ],
)
def test_the_mean_says_of_what(names: list[str], mean_of: str) -> None:
    assert mean_name(names) == mean_of


def test_qrels_are_called_by_their_year_or_their_file() -> None:
    paths = ["a/avs.qrels.tv19", "tv20.qrels.gz", "b/qrels.covid-round1.txt", "qrels.txt"]
    assert qrels_names(paths) == ["TV19", "TV20", "covid-round1", "qrels.txt"]
    assert qrels_names(["a/tv19.qrels", "b/tv19.qrels"]) == ["a/tv19.qrels", "b/tv19.qrels"]


# Topics selected.


@pytest.mark.parametrize("given", ["1661-1662", "661,1662", "topics.txt"])
def test_selected_topics_are_all_that_count(run, tmp_path: Path, given: str) -> None:
    (tmp_path / "topics.txt").write_text("661 a dog\n662 a cat\n")
    result = run("qrels", "good.run", "-m", "AP", "--topics", given)
    assert (result.out, result.err) == ("AP           0.9167\n", "avs: good.run: 2 topics\n")


def test_selected_topics_that_nobody_judged_are_counted_or_refused(run, years) -> None:
    result = run("qrels", "good.run", "-m", "AP", "--topics", "1662-1665")
    assert "avs: 2 of 4 selected topics are not judged\n" in result.err
    refused = run("qrels", "good.run", "--topics", "701-702")
    assert (refused.code, refused.err) == (3, "avs: --topics selects 701, 702, none of which is judged in qrels\n")
    # A year without any of them is no column.
    assert ["run", "TV19", "MEAN(TV19)"] in cells(years(*YEARS, "good.run", "-m", "AP", "--topics", "1661").out)


def test_json_has_everything_in_full_precision(run) -> None:
    content = json.loads(run("qrels", "good.run", "-m", "AP", "-q", "--json").out)
    entry = content["runs"][0]
    assert content["measures"] == ["AP"]
    assert entry["scores"]["AP"] == approx(7 / 9, abs=1e-9)
    assert entry["topics"]["AP"]["1661"] == approx(5 / 6, abs=1e-9)
    assert entry["gaps"] == {
        "topics": 3, "ties": 0, "unjudged": {"10": 0.0, "100": 0.0, "1000": 0.0}, "missing": [], "unknown": [],
    }  # fmt: skip


def test_csv_is_one_value_a_row(run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("qrels", "good.run", "poor.trec", "-m", "AP", "-q", "--csv").out)))
    assert len(rows) == 2 * (3 + 1)
    assert {(row["run"], row["topic"]): float(row["value"]) for row in rows}["good", "all"] == approx(7 / 9, abs=1e-9)
    assert [row["p"] for row in rows if row["topic"] == "all"] == ["", "0.5"]


def test_latex_marks_the_best_and_what_differs(run, tmp_path: Path) -> None:
    many = "".join(f"{topic} 0 {shot} 1 {int(shot == 'a')}\n" for topic in range(100, 109) for shot in "ab")
    (tmp_path / "many").write_text(many)
    (tmp_path / "a_1.run").write_text("".join(f"{topic} Q0 a 1 1 t\n" for topic in range(100, 109)))
    (tmp_path / "b.run").write_text("".join(f"{topic} Q0 b 1 1 t\n" for topic in range(100, 109)))
    result = run("many", "b.run", "a_1.run", "-m", "P@1", "--latex")
    assert r"a\_1 & \textbf{1.0000} \\" in result.out
    # All nine topics differ alike: 2 of 512 patterns, p = 0.0039.
    assert r"b & 0.0000$^{\dagger}$ \\" in result.out
    assert result.out.startswith(r"\begin{tabular}{lr}")


def test_nists_rows_come_without_topics_too(run) -> None:
    lines = run("qrels", "good.run", "--format", "nist").out.splitlines()
    assert lines[0] == "infAP\t\tall\t\t0.7778"
    assert [line.split("\t")[0] for line in lines[1:3]] == ["infNDCG", "iprec@rec0.00"]
    assert lines[-1] == "num_ret\t\tall\t        7"
    assert all("\tall\t" in line for line in lines)


def test_a_line_per_run_says_what_the_mean_hides(run, tmp_path: Path) -> None:
    (tmp_path / "gaps.run").write_text("1661 Q0 a 1 1 t\n1661 Q0 x 2 1 t\n9999 Q0 a 1 1 t\n")
    result = run("qrels", "gaps.run", "-m", "AP")
    assert result.err == (
        "avs: gaps.run: 1 topic, 1 tie broken by shot id; unjudged: 50% of the top 10, 50% of the top 100, 50% of the "
        "top 1000; 2 judged topics (1662, 1663) missing; 1 topic (9999) without judgments\n"
    )
    # x has the greater id, so it stands above a.
    assert result.out == "AP           0.2500\n"
    assert run("qrels", "gaps.run", "-m", "AP", "--missing", "zero").out == "AP           0.0833\n"


def test_of_many_runs_exceptions_are_said_and_a_summary(run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.run").write_text(GOOD.partition("1663")[0])
    (tmp_path / "far.run").write_text(GOOD + "9999 Q0 a 1 1 t\n1661 Q0 x 4 1 t\n")
    result = run("qrels", "good.run", "one.run", "far.run", "two.run", "-m", "AP")
    # far: 1 of 8 shots unjudged, and x ties with c.
    assert result.err.splitlines() == [
        "avs: one.run, two.run (2 runs): 1 judged topic (1663) missing",
        "avs: far.run: 1 topic (9999) without judgments",
        "avs: 4 runs of 2–3 topics; 1 tie broken by shot id in 1 run; unjudged on average: 3% of the top 10, 3% of the "
        "top 100, 3% of the top 1000",
    ]
    alike = run("qrels", "one.run", "two.run", "-m", "AP")
    assert alike.err.splitlines() == ["avs: all runs: 1 judged topic (1663) missing", "avs: 2 runs of 2 topics"]
    (tmp_path / "new.run").write_text("".join(f"166{n} Q0 {shot} 1 1 t\n" for n in (1, 2, 3) for shot in "axyz"))
    assert "avs: more than half of the top 10 unjudged: new.run (1 run)" in run("qrels", "one.run", "new.run").err


def test_topics_of_three_digits_are_found_and_it_is_said(run, tmp_path: Path) -> None:
    (tmp_path / "short.run").write_text(GOOD.replace("166", "66"))
    result = run("qrels", "short.run")
    assert result.out.split() == ["AP", "0.7778"]
    assert "avs: short.run: 3 topics renamed: 661-663 read as 1661-1663; " in result.err


@pytest.mark.parametrize("number", ["enc#0", "0"])
def test_captions_serve_as_topics(run, tmp_path: Path, number: str) -> None:
    (tmp_path / "captions.txt").write_text(f"v1#{number} a dog\nv2#{number} a cat\n")
    (tmp_path / "captions.run").write_text(
        f"v1#{number} Q0 v1 1 2 t\nv1#{number} Q0 v2 2 1 t\nv2#{number} Q0 v1 1 2 t\nv2#{number} Q0 v2 2 1 t\n"
    )
    result = run("captions.txt", "captions.run")
    assert dict(line.split() for line in result.out.splitlines()) == {
        "R@1": "0.5000", "R@5": "1.0000", "R@10": "1.0000", "MedR": "1.5000", "MeanR": "1.5000", "mir": "0.7500",
        "SumR": "250.0000",
    }  # fmt: skip


def test_many_runs_are_shared_out_and_come_back_in_order(run, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"r{number:02}.run").write_text(GOOD if number % 3 else POOR)
    names = [f"r{number:02}.run" for number in range(20)]
    result = run("qrels", *names, "-m", "AP", "--csv")
    means = {row["run"]: float(row["value"]) for row in csv.DictReader(io.StringIO(result.out))}
    assert means == approx({f"r{n:02}": 7 / 9 if n % 3 else 5 / 12 for n in range(20)}, abs=1e-9)
    assert result.err == "avs: 20 runs of 3 topics\n"
    (tmp_path / "r11.run").write_text("1661 Q0 a 1 high t\n")
    bad = run("qrels", *names)
    assert (bad.code, bad.out) == (3, "")
    assert bad.err == "avs: r11.run:1: score 'high' is not a finite number\n"


def test_agreement_with_another_measure_and_with_published_scores(run, tmp_path: Path) -> None:
    (tmp_path / "published").write_text("poor 0.9\ngood 0.1\n")
    (tmp_path / "board.csv").write_text("run,P@5,MAP\ngood,0.1,0.7\npoor,0.9,0.5\n")
    for other, tau in (("P@1", 1.0), ("published", -1.0), ("board.csv:MAP", 1.0), ("board.csv:P@5", -1.0)):
        content = json.loads(run("qrels", "good.run", "poor.trec", "-m", "AP", "--agreement", other, "--json").out)
        assert content["agreement"] == {"AP": {"tau": tau, "tau_ap": tau}}
        assert content["measures"] == ["AP"]
    table = run("qrels", "good.run", "poor.trec", "-m", "AP", "--agreement", "published").out
    assert ["AP", "-1.0000", "-1.0000"] in [line.split() for line in table.splitlines()]
    (tmp_path / "published").write_text("poor 0.9\n")
    result = run("qrels", "good.run", "poor.trec", "--agreement", "published")
    assert (result.code, result.err.splitlines()[-1]) == (
        3, "avs: no score for the run 'good' (1 of 2 are missing)",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["qrels", "good.run", "--json", "--csv"], 2, "--json and --csv are mutually exclusive"),
        (["qrels", "good.run", "poor.trec", "--format", "nist"], 2, "takes one run"),
        (["qrels", "good.run", "--format", "nist", "-m", "AP"], 2, "its own measures"),
        (["qrels", "good.run", "--agreement", "P@1"], 2, "at least two runs"),
        (["qrels", "good.run", "--plot", "plot.bmp"], 2, "must be .svg, .png or .pdf"),
        (["qrels", "good.run", "poor.trec", "--baseline", "goood"], 2, "did you mean 'good'"),
        (["qrels", "good.run", "-m", "xinfapp"], 2, "unknown measure 'xinfapp'"),
        (["qrels", "good.run", "poor.trec", "--test", "chi"], 2, "chi"),
        (["qrels"], 2, "no run given; usage: avs eval QRELS RUN..."),
        (["--qrels", "qrels", "qrels"], 3, "score tag); with --qrels, all arguments are runs"),
        (["--qrels", "qrels", "--qrels", "qrels", "good.run"], 3, "topic 1661 is judged in qrels too"),
        (["--qrels", "qrels", "--qrels", "captions", "good.run"], 3, "some are captions and some are qrels"),
        (["folder", "good.run"], 3, "folder: contains no files"),
        (["--qrels", "qrels", "--qrels", "other", "good.run", "--format", "nist"], 2, "for one qrels"),
        (["-", "-"], 2, "- is stdin, which can be read once"),
        (["qrels", "good.run", "--topics", "731-730"], 2, "from a lower to a higher id"),
        (["absent", "good.run"], 3, "absent: no such file"),
        (["qrels", "absent.run"], 3, "absent.run: no such file"),
        (["good.run", "good.run"], 3, "good.run:1: 6 columns instead of 5"),
        (["qrels", "qrels"], 3, "qrels:1: 5 columns instead of 6"),
        (["empty", "good.run"], 3, "empty: contains no lines"),
        (["qrels", "."], 3, "is a directory"),
        (
            ["qrels", "elsewhere.run"],
            3,
            "elsewhere.run: none of its topics is judged: the run has 7, the qrels have 1661",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run, tmp_path: Path, arguments, code: int, what: str) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "elsewhere.run").write_text("7 Q0 a 1 1 t\n")
    (tmp_path / "other").write_text("1700 0 a 1\n")
    (tmp_path / "captions").write_text("v1#enc#0 a dog\n")
    (tmp_path / "folder").mkdir()
    result = run(*arguments)
    assert result.code == code
    assert what in result.err.splitlines()[-1]
    assert "Traceback" not in result.err and result.out == ""


def test_a_pipe_is_a_run(avs, tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text(QRELS)
    result = avs("eval", "qrels", "-", "-m", "AP", input=GOOD)
    assert (result.returncode, result.stdout) == (0, "AP           0.7778\n")


# Pictures.


def scored(measure: str = "AP"):
    judgments = {f"{topic}": {"a": Judgment(1), "b": Judgment(0)} for topic in range(1, 6)}
    evaluator = Evaluator(judgments, [measure])
    one = {f"{topic}": {"a": float(topic % 2), "b": 0.5} for topic in range(1, 6)}
    other = {f"{topic}": {"a": 0.0, "b": 0.5} for topic in range(1, 6)}
    return evaluator, {"one": one, "other": other}


def test_bars_and_median_are_the_numbers() -> None:
    evaluator, runs = scored()
    scores = {name: evaluator.evaluate(run) for name, run in runs.items()}
    drawing = figure(compare(scores, evaluator.measures), {name: evaluator.curve(run) for name, run in runs.items()})
    bars, recall = drawing.axes
    values = scores["one"].by_topic["AP"]
    assert [bar.get_height() for bar in bars.patches] == list(values.values())
    assert [label.get_text() for label in bars.get_xticklabels()] == list(values)
    # one: 1, 1/2, 1, 1/2, 1 and other: 1/2 everywhere, so the medians of two lie between.
    assert list(bars.lines[0].get_ydata()) == approx([0.75, 0.5, 0.75, 0.5, 0.75])
    assert [list(line.get_ydata()) for line in recall.lines] == [
        [precision for _, precision in evaluator.curve(run)] for run in runs.values()
    ]


def test_one_runs_median_is_over_its_topics() -> None:
    evaluator, runs = scored()
    scores = {"one": evaluator.evaluate(runs["one"])}
    bars, _ = figure(compare(scores, evaluator.measures), {"one": evaluator.curve(runs["one"])}).axes
    assert list(bars.lines[0].get_ydata()) == [1.0, 1.0]


def test_pictures_are_written_whole_and_alike(run, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        assert run("qrels", "good.run", "poor.trec", "--plot", name).code == 0
    for kind in ("svg", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
