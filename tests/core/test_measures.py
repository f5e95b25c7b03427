"""Measures: small cases worked out by hand, and what every file of the registry promises."""

import math
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from avs_cli.core.evaluation.evaluator import Evaluator, measure_named, measures
from avs_cli.core.evaluation.measures import (
    err,
    hit,
    infndcg,
    ip,
    iprec_rec,
    judged,
    meanr,
    medr,
    mir,
    rbp,
    sumr,
    xinfap,
)
from avs_cli.errors import MismatchError, SpecError, UnknownName
from avs_cli.io.text.trec import read_qrels, read_run, write_run
from avs_cli.types import Judgment, Run, ranked

RELEVANT, IRRELEVANT, UNSAMPLED = Judgment(1), Judgment(0), Judgment(-1)
CONTRACT = pytest.mark.parametrize("name", measures.names())


def pool(**strata: list[int]) -> dict[str, Judgment]:
    """Shots A0, A1 … of stratum A with the relevances given."""
    return {
        f"{stratum}{place}": Judgment(relevance, stratum)
        for stratum, relevances in strata.items()
        for place, relevance in enumerate(relevances)
    }


def test_a_sampled_shot_stands_for_its_stratum() -> None:
    # Stratum B: 3 pooled, 1 judged, so its relevant shot counts threefold; R = 1 + 3.
    judgments = pool(A=[1], B=[1, -1, -1])
    assert xinfap.sample(judgments).relevant == 4
    assert xinfap.score(["A0"], judgments) == 1 / 4
    assert xinfap.score(["B0"], judgments) == 3 / 4
    # B1 at rank 2 is expected to be relevant with B's share (1 + ε) / (1 + 3ε); A0 at rank 3 sees it above.
    share = 2 * (1 + 1e-5) / (1 + 3e-5)
    assert xinfap.score(["B0", "B1", "A0"], judgments) == approx((3 * 1 + 1 * (1 + share) / 3) / 4, abs=1e-12)


def test_precision_before_anything_is_judged_leans_on_the_prior() -> None:
    # One unjudged shot above: its expected relevance is ε / 3ε = 1/3.
    judgments = pool(A=[-1, 1])
    assert xinfap.score(["A0", "A1"], judgments) == approx((2 * (1 + 1 / 3) / 2) / 2)


def test_more_than_1000_relevant_shots_count_as_1000() -> None:
    judgments = {f"s{n}": RELEVANT for n in range(2000)}
    assert xinfap.score([f"s{n}" for n in range(2000)], judgments) == approx(1, abs=1e-4)
    assert xinfap.score(["s0"], judgments) == 1 / 1000


def test_nothing_relevant_or_nothing_judged_is_zero() -> None:
    for judgments in (pool(A=[0, 0]), pool(A=[-1, -1]), {}):
        assert xinfap.score(["A0", "A1"], judgments) == 0
        assert infndcg.score(["A0", "A1"], judgments) == 0
        assert iprec_rec.score(["A0", "A1"], judgments) == 0


def test_infndcg_scales_a_stratum_to_its_shots_in_the_ranking() -> None:
    judgments = pool(A=[1, -1, -1])  # R = 3, ideal gain 1 + 1/log2(3) + 1/2
    ideal = 1 + 1 / math.log2(3) + 0.5
    assert infndcg.score(["A0", "A1"], judgments) == approx(2 * 1 / ideal)
    assert infndcg.score(["A0"], judgments) == approx(1 / ideal)


def test_infndcg_of_fully_judged_grades_is_ndcg() -> None:
    judgments = {"a": Judgment(2), "b": Judgment(1), "c": IRRELEVANT}
    gain, ideal = 1 + 2 / math.log2(3), 2 + 1 / math.log2(3)
    assert infndcg.score(["b", "a", "c"], judgments) == approx(gain / ideal)


def test_inferred_precision_of_a_short_list_is_over_the_cutoff() -> None:
    judgments = pool(A=[1, 0, 1, 0])
    assert ip.score(["A0", "A1"], judgments, k=4) == approx(1 / 4, abs=1e-5)
    assert ip.score(["A0", "A1", "A2"], judgments, k=2) == approx(1 / 2, abs=1e-5)
    assert ip.score([], judgments) == 0


def test_interpolated_precision_is_the_best_from_the_level_on() -> None:
    judgments = {"a": RELEVANT, "b": RELEVANT, "x": IRRELEVANT}
    assert iprec_rec.score(["x", "a", "b"], judgments, recall=0.4) == approx(2 / 3, abs=1e-4)
    assert iprec_rec.score(["a"], judgments, recall=0.6) == 0


CAPTION_CASE = (["v1", "v2", "v3", "v4", "v5", "v6"], {"v4": RELEVANT, "v6": RELEVANT})


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (lambda *case: hit.score(*case, k=1), 0),
        (lambda *case: hit.score(*case, k=5), 1),
        (medr.score, 4),
        (meanr.score, 4),
        (mir.score, 1 / 4),
        (sumr.score, 200),
    ],
)
def test_caption_measures_look_at_the_first_right_answer(score, expected: float) -> None:
    assert score(*CAPTION_CASE) == expected


def test_a_right_answer_that_is_not_returned_stands_behind_the_end() -> None:
    ranking, judgments = ["v1", "v2"], {"v9": RELEVANT}
    assert (hit.score(ranking, judgments, k=10), mir.score(ranking, judgments), sumr.score(ranking, judgments)) == (
        0,
        0,
        0,
    )
    assert medr.score(ranking, judgments) == 3


# What every measure promises.


@CONTRACT
def test_a_measure_is_documented_and_gives_a_finite_number(name: str) -> None:
    module = measures.module(name)
    assert module.__doc__ and module.score.__doc__
    for ranking in ([], ["s1"], ["x", "s1", "s2"]):
        for judgments in ({}, {"s1": RELEVANT}, {"s1": UNSAMPLED}, {"s1": IRRELEVANT, "s2": Judgment(3, "2")}):
            assert math.isfinite(measures.load(name)(ranking, judgments))


# Measures of sampled pools, which have a `part` of their own.
SAMPLED = [name for name in measures.names() if hasattr(measures.module(name), "part")]


def test_measures_of_sampled_pools_share_one_walk_over_a_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"infndcg", "inum-rel", "inum-rel-ret", "ip", "iprec-rec", "xinfap"} <= {*SAMPLED}
    calls = []
    for name in ("infer", "sample"):
        function = getattr(xinfap, name)

        def counted(*arguments, name=name, function=function):
            calls.append(name)
            return function(*arguments)

        monkeypatch.setattr(xinfap, name, counted)
    judgments = pool(A=[1, 0, -1], B=[1, -1, 0])
    evaluator = Evaluator({"1": judgments}, SAMPLED)
    rankings = ["B0", "x", "A1", "A0", "B1"], ["x", "A0"]
    for ranking in rankings:
        means = evaluator.evaluate({"1": {shot: -float(rank) for rank, shot in enumerate(ranking)}}).means
        walks = calls.copy()
        assert means == {name: measures.load(name)(ranking, judgments) for name in SAMPLED}
        calls[:] = walks
    # The sample of a topic is the same for every run.
    assert calls == ["sample", "infer", "infer"]


@CONTRACT
def test_a_mean_of_one_topic_is_its_value(name: str) -> None:
    qrels = {"1": {"a": RELEVANT, "b": IRRELEVANT}}
    scores = Evaluator(qrels, [name]).evaluate({"1": {"b": 2.0, "a": 1.0}})
    assert scores.means[name] == scores.by_topic[name]["1"]


# Properties. Some shots are pooled, some of these judged; scores collide on purpose.

SHOTS = [f"shot{n:05}_{n % 7}" for n in range(40)]
relevances = st.sampled_from([-1, -1, 0, 0, 1, 1, 2])
topics = st.dictionaries(
    st.sampled_from(SHOTS), st.builds(Judgment, relevances, st.sampled_from(["1", "2", "3"])), min_size=1, max_size=30
)
runs = st.dictionaries(st.sampled_from(SHOTS), st.integers(0, 12).map(float), min_size=1, max_size=40)
NAMES = [*measures.names(), "iP@100", "iprec-rec@0.5", "AP", "P@10", "nDCG@20", "R@1000", "RR", "Bpref"]


def evaluated(scores: Mapping[str, float], judgments: dict[str, Judgment], names: list[str]) -> dict[str, float]:
    return Evaluator({"1": judgments}, names).evaluate({"1": dict(scores)}).means


@settings(max_examples=60, deadline=None)
@given(runs, topics, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(scores: dict[str, float], judgments: dict[str, Judgment], shuffle) -> None:
    rows, judged = list(scores.items()), list(judgments.items())
    shuffle.shuffle(rows)
    shuffle.shuffle(judged)
    assert evaluated(dict(rows), dict(judged), NAMES) == approx(evaluated(scores, judgments, NAMES), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(runs, topics)
def test_new_names_for_shots_move_nothing_but_ties(scores: dict[str, float], judgments: dict[str, Judgment]) -> None:
    apart = {shot: 100.0 - place for place, shot in enumerate(ranked(scores))}
    new = {shot: f"x{sum(map(ord, shot)) % 97}_{shot}" for shot in SHOTS}
    renamed = evaluated({new[s]: v for s, v in apart.items()}, {new[s]: j for s, j in judgments.items()}, NAMES)
    assert renamed == approx(evaluated(apart, judgments, NAMES), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(runs, topics, st.integers(1, 50))
def test_an_unjudged_tail_below_rank_1000_changes_nothing(
    scores: dict[str, float], judgments: dict[str, Judgment], length: int
) -> None:
    names = [name for name in NAMES if name not in ("num-ret", "medr", "meanr", "judged")]
    full: Run = {"1": scores | {f"filler{n}": -1.0 - n for n in range(1000 - len(scores))}}
    longer = full["1"] | {f"tail{n}": -2000.0 - n for n in range(length)}
    # num_ret is the length, Judged without a cutoff a share of it, and an answer not returned ranks behind the end.
    assert evaluated(longer, judgments, names) == evaluated(full["1"], judgments, names)


@settings(max_examples=100, deadline=None)
@given(runs, topics)
def test_xinfap_of_one_fully_judged_stratum_is_ap(scores: dict[str, float], judgments: dict[str, Judgment]) -> None:
    """With d pooled and r relevant shots above, xinfAP takes d·(r + ε)/(d + 3ε) for r.

    That is r + (d·ε - 3ε·r)/(d + 3ε), which lies between r - 2ε and r + ε as r ≤ d. So each precision is off by at most
    2ε / rank, and the mean over R relevant shots by at most 2ε.
    """
    judged = {shot: Judgment(max(judgment.relevance, 0)) for shot, judgment in judgments.items()}
    means = evaluated(scores, judged, ["xinfAP", "AP"])
    assert abs(means["xinfAP"] - means["AP"]) <= 2 * xinfap.EPSILON + 1e-9


# Names.


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("iP@100", "ip:k=100"),
        ("iP100", "ip:k=100"),
        ("xinfAP", "xinfap"),
        ("inum_rel_ret", "inum-rel-ret"),
        ("iprec@rec0.30", "iprec-rec:recall=0.3"),
    ],
)
def test_a_measure_is_called_as_the_field_writes_it(name: str, same: str) -> None:
    judgments = pool(A=[1, 0, -1], B=[1, 1])
    one, other = (evaluated({"B0": 2.0, "A2": 1.0, "A0": 0.5}, judgments, [spelling]) for spelling in (name, same))
    assert one[name] == other[same]


@pytest.mark.parametrize(
    "name", ["AP", "P@10", "P@5", "nDCG@20", "R@1000", "RR", "Bpref", "bpref", "map", "P_10", "Rprec", "P(rel=2)@5"]
)
def test_plain_measures_have_their_usual_names(name: str) -> None:
    assert measure_named(name).plain is not None


@pytest.mark.parametrize(
    ("name", "error", "what"),
    [
        ("xinfAPP", UnknownName, "did you mean 'xinfAP'"),
        ("nDGC@20", UnknownName, "nDCG@20"),
        ("", UnknownName, "unknown measure"),
        ("P", SpecError, "lacks a cutoff"),
        # These two end the process in trec_eval.
        ("P@0", SpecError, "cutoff is not between"),
        ("P@99999999999999999999", SpecError, "cutoff is not between"),
        ("official", UnknownName, "unknown measure"),
        ("__import__('os')", UnknownName, "unknown measure"),
        ("ip:k=many", SpecError, "is not an int"),
        ("ip:depth=3", SpecError, "no parameter 'depth'"),
    ],
)
def test_a_name_that_nobody_knows_gets_a_hint(name: str, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what.replace("(", r"\(")):
        measure_named(name)


@pytest.mark.parametrize("name", ["iP@0", "ip:k=-3", "hit@0", "iprec-rec@2", "iprec-rec@nan"])
def test_cutoffs_and_levels_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(SpecError):
        evaluated({"a": 1.0}, {"a": RELEVANT}, [name])


# Judgment rate and user models.


def test_judged_is_the_share_of_the_first_ranks_that_was_judged() -> None:
    judgments = {"a": RELEVANT, "b": IRRELEVANT, "c": UNSAMPLED}
    assert judged.score(["a", "x", "b", "c"], judgments, k=2) == 1 / 2
    assert judged.score(["a", "x", "b", "c"], judgments) == 2 / 4
    # A shorter ranking is measured by its own length.
    assert judged.score(["a", "c"], judgments, k=10) == 1 / 2
    assert judged.score([], judgments, k=10) == 0


def test_rbp_is_what_a_patient_user_sees() -> None:
    judgments = {"a": Judgment(2), "b": RELEVANT, "c": UNSAMPLED}
    assert rbp.score(["a", "x", "b"], judgments) == approx(0.2 * (1 + 0.8**2))
    assert rbp.score(["a", "x", "b"], judgments, p=0.5) == approx(0.5 * (1 + 0.25))
    assert rbp.score(["a", "x", "b"], judgments, k=2) == approx(0.2)
    assert rbp.score(["c", "b", "a"], judgments, rel=2) == approx(0.2 * 0.64)


def test_rbp_of_a_real_run_is_trectools(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    from trectools import TrecEval, TrecQrel, TrecRun

    folder = shared_data("trec-covid-r1")
    qrels, run = str(folder / "qrels.covid-round1.txt"), str(folder / "runs" / "crowd1.trec")
    # trectools orders ties by its own rule; places as scores leave none.
    untied = {
        topic: {s: -float(place) for place, s in enumerate(ranked(scores))} for topic, scores in read_run(run).items()
    }
    write_run(str(tmp_path / "untied.run"), untied)
    theirs = TrecEval(TrecRun(str(tmp_path / "untied.run")), TrecQrel(qrels)).get_rbp(
        p=0.9, depth=1000, per_query=True, average_ties=False
    )
    values = {str(topic): value for topic, value in theirs[0].iloc[:, 0].items()}
    ours = Evaluator(read_qrels(qrels), ["RBP(p=0.9)@1000"]).evaluate(read_run(run)).by_topic["RBP(p=0.9)@1000"]
    assert {topic: value for topic, value in ours.items() if value} == approx(values, abs=1e-6)


def test_err_is_the_expected_reciprocal_of_the_rank_that_satisfies() -> None:
    judgments = {"a": Judgment(1), "b": Judgment(2)}
    # At most 2: grade 1 satisfies with probability 1/4, grade 2 with 3/4.
    assert err.score(["a", "b"], judgments, max=2) == approx(1 / 4 + 3 / 4 * 3 / 4 / 2)
    assert err.score(["x", "b", "a"], judgments, k=2, max=2) == approx(3 / 4 / 2)
    # At most 4: 1/16 and 3/16.
    assert err.score(["a", "b"], judgments) == approx(1 / 16 + 15 / 16 * 3 / 16 / 2)
    with pytest.raises(MismatchError, match="shot b has grade 2, above the highest, 1"):
        err.score(["b"], judgments, max=1)


def test_err_of_a_real_run_is_what_trecs_gdeval_prints(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    import ir_measures

    perl, script = shutil.which("perl"), Path(ir_measures.__file__).parent / "bin" / "gdeval.pl"
    if not perl or not script.exists():
        pytest.skip("needs perl and ir_measures' gdeval.pl")
    folder = shared_data("trec-covid-r1")
    qrels, run = folder / "qrels.covid-round1.txt", folder / "runs" / "crowd1.trec"
    rows = [line.split() for line in qrels.read_text().splitlines()]
    (tmp_path / "qrels").write_text("".join(f"{topic} 0 {shot} {rel}\n" for topic, _, shot, rel in rows))
    ran = subprocess.run([perl, script, tmp_path / "qrels", run, "20"], capture_output=True, text=True, check=True)
    printed = [line.split(",") for line in ran.stdout.splitlines()[1:]]
    theirs = {topic: float(value) for _, topic, _, value in printed if topic != "amean"}
    ours = Evaluator(read_qrels(str(qrels)), ["ERR@20"]).evaluate(read_run(str(run))).by_topic["ERR@20"]
    assert len(theirs) == 30
    assert ours == approx(theirs, abs=5.001e-6)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("RBP", "RBP(p=0.8)"),
        ("RBP(p=0.5)@2", "rbp:k=2,p=0.5"),
        ("RBP(p=0.5, rel=2)", "rbp:p=0.5,rel=2"),
        ("ERR(max=3)@20", "err:k=20,max=3"),
        ("Judged@2", "judged:k=2"),
    ],
)
def test_parameters_are_written_as_ir_measures_writes_them(name: str, same: str) -> None:
    judgments = {"a": Judgment(2), "b": RELEVANT, "c": UNSAMPLED}
    scores = {"x": 4.0, "b": 3.0, "a": 2.0, "c": 1.0}
    assert evaluated(scores, judgments, [name])[name] == evaluated(scores, judgments, [same])[same] > 0


@pytest.mark.parametrize(
    "name", ["RBP(p=1)", "RBP(p=-0.1)", "RBP(rel=0)", "ERR(max=0)", "Judged@0", "RBP(q=1)", "ERR@x"]
)
def test_parameters_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(SpecError):
        evaluated({"a": 1.0}, {"a": RELEVANT}, [name])
