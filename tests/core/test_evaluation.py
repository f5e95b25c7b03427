"""Evaluation of whole runs: means, gaps, ties, missing topics; and the published scores of 43 real runs."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest import approx

from avs_cli.core.evaluation.evaluator import CAPTION_MEASURES, Evaluator, Gaps, run_notes, usual
from avs_cli.errors import MismatchError
from avs_cli.io.text.captions import caption_qrels
from avs_cli.io.text.trec import read_qrels, read_run
from avs_cli.types import Judgment, Qrels

RELEVANT, IRRELEVANT, UNSAMPLED = Judgment(1), Judgment(0), Judgment(-1)
QRELS: Qrels = {
    "1": {"a": RELEVANT, "b": IRRELEVANT},
    "2": {"a": RELEVANT, "c": UNSAMPLED},
    "3": {"z": RELEVANT},
}


def test_the_mean_is_over_topics_of_both_run_and_qrels() -> None:
    run = {"1": {"a": 2.0, "b": 1.0}, "2": {"b": 2.0, "a": 1.0}, "9": {"a": 1.0}}
    scores = Evaluator(QRELS, ["AP", "xinfAP"]).evaluate(run)
    assert scores.by_topic["AP"] == {"1": 1.0, "2": 0.5}
    assert scores.means["AP"] == 0.75
    zero = Evaluator(QRELS, ["AP", "xinfAP"], missing="zero").evaluate(run)
    assert zero.by_topic["AP"] == {"1": 1.0, "2": 0.5, "3": 0.0}
    assert zero.means["AP"] == 0.5
    assert zero.means["xinfAP"] == approx(scores.means["xinfAP"] * 2 / 3)


def test_gaps_say_what_a_mean_hides() -> None:
    run = {"1": {"a": 1.0, "b": 1.0, "x": 1.0}, "2": {"c": 1.0}, "9": {"a": 1.0}}
    gaps = Evaluator(QRELS, ["AP"]).evaluate(run).gaps
    assert gaps.topics == 2
    assert gaps.ties == 2
    # x is not in the pool and c was not sampled: two of four shots.
    assert gaps.unjudged == {10: 0.5, 100: 0.5, 1000: 0.5}
    assert (gaps.missing, gaps.unknown) == (["3"], ["9"])
    assert str(gaps) == (
        "2 topics, 2 ties broken by shot id; unjudged: 50% of the top 10, 50% of the top 100, 50% of the top 1000; "
        "1 judged topic (3) missing; 1 topic (9) without judgments"
    )


def test_of_several_runs_those_with_more_than_half_of_the_top_ten_unjudged_are_named() -> None:
    shares = {"half": (0.5, 0.9), "more": (0.6, 0.2), "few": (0.0, 0.8)}
    gaps = {run: Gaps(2, 0, {10: top, 100: rest, 1000: rest}, [], []) for run, (top, rest) in shares.items()}
    assert run_notes(gaps, dict.fromkeys(gaps, ""))[:-1] == ["more than half of the top 10 unjudged: more (1 run)"]


def test_the_usual_measure_is_xinfap_for_samples_and_strata_and_else_ap() -> None:
    whole = {"a": RELEVANT, "b": IRRELEVANT}
    assert usual({"1": whole}) == "AP"
    assert usual({"1": whole, "2": {"c": UNSAMPLED}}) == "xinfAP"
    assert usual({"1": {**whole, "c": Judgment(0, "2")}}) == "xinfAP"


def test_ties_are_broken_alike_for_plain_and_inferred_measures() -> None:
    qrels = {"1": {"a": IRRELEVANT, "b": RELEVANT}}
    for score in (1.0, 1 + 1e-12):  # trec_eval itself would see a tie in both
        means = Evaluator(qrels, ["AP", "xinfAP"]).evaluate({"1": {"a": score, "b": 1.0}}).means
        assert means["AP"] == approx(means["xinfAP"], abs=1e-4) == approx(1.0 if score == 1.0 else 0.5, abs=1e-4)


def test_a_topic_without_relevant_shots_counts_as_zero_everywhere() -> None:
    qrels = {"1": {"a": RELEVANT}, "2": {"a": IRRELEVANT}}
    names = ["xinfAP", "AP", "P@1", "RR", "Bpref"]
    means = Evaluator(qrels, names).evaluate({"1": {"a": 1.0}, "2": {"a": 1.0}}).means
    assert means == approx(dict.fromkeys(names, 0.5), abs=1e-4)


def test_a_run_of_other_topics_is_a_mismatch_and_says_which() -> None:
    with pytest.raises(MismatchError, match="the run has 8, 9, the qrels have 1, 2, 3"):
        Evaluator(QRELS, ["AP"]).evaluate({"8": {"a": 1.0}, "9": {"a": 1.0}})


def test_an_evaluator_serves_many_runs_and_each_is_its_own() -> None:
    evaluator = Evaluator(QRELS, ["AP", "xinfAP"])
    one, other = {"1": {"a": 2.0, "b": 1.0}}, {"1": {"b": 2.0, "a": 1.0}}
    first = evaluator.evaluate(one)
    evaluator.evaluate(other)
    assert evaluator.evaluate(one) == first


CAPTIONS = {"v1#enc#0": "a", "v1#enc#1": "b", "v2#enc#0": "c"}


def test_captions_find_their_video() -> None:
    run = {
        "v1#enc#0": {"v1": 0.9, "v2": 0.1},
        "v1#enc#1": {"v2": 0.9, "v1": 0.1},
        "v2#enc#0": {"v1": 0.9, "v3": 0.5, "v2": 0.1},
    }
    means = Evaluator(caption_qrels(CAPTIONS, run), CAPTION_MEASURES, captions=True).evaluate(run).means
    # Ranks 1, 2, 3.
    assert means == approx(
        {
            "R@1": 1 / 3,
            "R@5": 1,
            "R@10": 1,
            "MedR": 2,
            "MeanR": 2,
            "mir": (1 + 1 / 2 + 1 / 3) / 3,
            "SumR": 100 / 3 + 200,
        }
    )


def test_a_video_is_right_with_the_best_of_its_captions() -> None:
    run = {"v1": {"v2#enc#0": 0.9, "v1#enc#1": 0.8, "v1#enc#0": 0.1}, "v2": {"v2#enc#0": 0.9}}
    means = Evaluator(caption_qrels(CAPTIONS, run), CAPTION_MEASURES, captions=True).evaluate(run).means
    assert (means["R@1"], means["MedR"], means["mir"]) == (0.5, 1.5, 0.75)


def test_captions_of_equal_score_share_the_best_rank() -> None:
    run = {"v1#enc#0": {"v9": 0.5, "v1": 0.5, "v0": 0.5}}
    means = Evaluator(caption_qrels(CAPTIONS, run), CAPTION_MEASURES, captions=True).evaluate(run).means
    assert (means["R@1"], means["MedR"], means["SumR"]) == (1.0, 1.0, 300.0)


def test_map_of_43_runs_is_what_trec_covid_published(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("trec-covid-r1")
    with open(folder / "leaderboard.csv") as file:
        published = {row["run"]: float(row["MAP"]) for row in csv.DictReader(file)}
    evaluator = Evaluator(read_qrels(str(folder / "qrels.covid-round1.txt")), ["AP"])
    paths = sorted((folder / "runs").glob("*.trec"))
    assert len(paths) == 43
    for path in paths:
        assert evaluator.evaluate(read_run(str(path))).means["AP"] == approx(published[path.stem], abs=2e-4), path.stem


@pytest.mark.parametrize("name", ["AP", "P@10", "nDCG@20", "R@1000", "RR", "Bpref", "Rprec", "infAP", "P(rel=2)@5"])
def test_plain_measures_equal_ir_measures_on_whole_judgments(shared_data: Callable[[str], Path], name: str) -> None:
    import ir_measures

    folder = shared_data("trec-covid-r1")
    path, qrels = str(folder / "runs" / "crowd1.trec"), str(folder / "qrels.covid-round1.txt")
    measure = ir_measures.parse_measure(name)
    theirs = ir_measures.calc_aggregate([measure], ir_measures.read_trec_qrels(qrels), ir_measures.read_trec_run(path))
    assert Evaluator(read_qrels(qrels), [name]).evaluate(read_run(path)).means[name] == approx(
        theirs[measure], abs=1e-9
    )


def test_two_spellings_of_one_measure_both_get_its_value() -> None:
    means = Evaluator(QRELS, ["AP", "map", "P@1", "P_1"]).evaluate({"1": {"b": 2.0, "a": 1.0}}).means
    assert means == {"AP": 0.5, "map": 0.5, "P@1": 0.0, "P_1": 0.0}


def test_a_pool_of_which_nothing_was_judged_has_the_value_zero() -> None:
    # pytrec_eval, given such a topic, may end the process.
    qrels = {"1": {f"s{n}": UNSAMPLED for n in range(20)}}
    names = ["AP", "nDCG@20", "Bpref", "infAP", "xinfAP"]
    for _ in range(50):
        assert Evaluator(qrels, names).evaluate({"1": {"s1": 1.0}}).means == dict.fromkeys(names, 0.0)


def test_gains_of_shots_that_are_not_relevant_count() -> None:
    means = Evaluator({"1": {"a": RELEVANT, "b": IRRELEVANT}}, ["nDCG(gains={0:1})@5"]).evaluate(
        {"1": {"b": 2.0, "a": 1.0}}
    )
    assert means.means["nDCG(gains={0:1})@5"] == 1.0
