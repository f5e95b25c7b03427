"""Late fusion without judgments: normalisations, combiners, and what holds for every one of them."""

import itertools
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avs_cli.core.fusion import fitting
from avs_cli.core.fusion.judged import judged_rankings
from avs_cli.core.fusion.methods import condorcet, methods
from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.errors import MismatchError, SpecError, UnknownName
from avs_cli.types import Judgment, Qrels, Run, ranked

A: Run = {"1": {"a": 9.0, "b": 8.0, "c": 1.0}}
B: Run = {"1": {"b": 0.5, "d": 0.25}}
C: Run = {"1": {"d": 30.0, "a": 20.0, "b": 10.0, "e": 0.0}, "2": {"f": 1.0}}

QRELS: Qrels = {
    "1": {shot: Judgment(int(shot in "abx")) for shot in "abcdx"},
    "2": {shot: Judgment(int(shot in "fh")) for shot in "acfgh"},
}

EVERY = pytest.mark.parametrize("name", methods.names())
# Those that combine several scores of a shot, of which `merge` keeps the only one.
COMBINING = pytest.mark.parametrize("name", [name for name in methods.names() if name != "merge"])
LEARNING = [name for name in methods.names() if fitting.learns(name)]
# Methods that value segments of ranks give several ranks the same score.
STRICT = pytest.mark.parametrize("name", [n for n in methods.names() if not hasattr(methods.module(n), "fit")])
NORMS = pytest.mark.parametrize("norm", normalisations.names())


def order(run: Run, topic: str = "1") -> list[str]:
    return ranked(run[topic])


def fused_by(spec: str, several: list[Run], qrels: Qrels = QRELS) -> Run:
    """Fused by a method, which is fitted on the same topics if it learns."""
    return fitting.fitted(spec, fitting.judged_runs(several, qrels, "AP"))(several)


def runs(count: int = 4) -> st.SearchStrategy[list[Run]]:
    scores = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-3, 3).map(float), min_size=1)
    return st.lists(st.dictionaries(st.sampled_from("12"), scores, min_size=1), min_size=2, max_size=count)


@STRICT
def test_fusing_one_run_keeps_its_order(name: str) -> None:
    run = {"1": {"a": 3.0, "b": 7.0, "c": -2.0, "d": 0.5}}
    assert order(fused_by(name, [run])) == ["b", "a", "d", "c"]


@STRICT
def test_fusing_one_run_keeps_its_order_through_ties(name: str) -> None:
    run = {"1": {"a": 1.0, "b": 2.0, "c": 1.0, "d": 1.0}}
    assert order(fused_by(name, [run])) == ["b", "d", "c", "a"]


@STRICT
def test_a_run_fused_with_itself_keeps_its_order(name: str) -> None:
    assert order(fused_by(name, [A, A, A])) == ["a", "b", "c"]


@COMBINING
@settings(max_examples=15, deadline=None)
@given(several=runs(3))
def test_the_order_of_the_runs_makes_no_difference_to_the_last_bit(name: str, several: list[Run]) -> None:
    found = fused_by(name, several)
    assert all(fused_by(name, list(other)) == found for other in itertools.permutations(several))


@pytest.mark.parametrize("name", ["borda", "condorcet", "mapfuse", "mixed", "weighted", "wmnz"])
@settings(max_examples=10, deadline=None)
@given(several=runs(3), drawn=st.lists(st.floats(0.01, 10), min_size=3, max_size=3))
def test_runs_and_their_weights_may_change_places_together(name: str, several: list[Run], drawn: list[float]) -> None:
    pairs = list(zip(several, drawn, strict=False))
    fuse = methods.load(name)
    found = fuse(several, weights=drawn[: len(several)])
    for other in itertools.permutations(pairs):
        assert fuse([run for run, _ in other], weights=[weight for _, weight in other]) == found


@COMBINING
@pytest.mark.parametrize("silent", [{"2": {"f": 1.0}}, {"1": {}, "2": {"f": 1.0}}])
def test_a_run_that_found_nothing_for_a_topic_might_as_well_not_be_there(name: str, silent: Run) -> None:
    both = [A, {"1": {"b": 0.5, "d": -0.25}, "2": {"f": 3.0, "g": 1.0}}]
    judged = {"1": QRELS["1"]}
    without, among = fused_by(name, both, judged)["1"], fused_by(name, [*both, silent], judged)["1"]
    assert among == pytest.approx(without, rel=1e-12, abs=0) and ranked(among) == ranked(without)


@COMBINING
def test_a_fused_topic_has_every_shot_of_any_run_and_a_topic_of_one_run_stays(name: str) -> None:
    fused = fused_by(name, [A, B, C])
    assert {topic: set(scores) for topic, scores in fused.items()} == {"1": set("abcde"), "2": {"f"}}
    assert all(math.isfinite(score) for scores in fused.values() for score in scores.values())


@COMBINING
def test_a_shot_that_all_runs_put_first_is_first(name: str) -> None:
    fused = fused_by(name, [{"1": {"x": 5.0, "a": 1.0}}, {"1": {"x": 0.9, "b": 0.1}}, {"1": {"x": 2.0, "a": 1.0}}])
    assert order(fused)[0] == "x"


@COMBINING
@pytest.mark.parametrize("huge", [1e308, 1e-308])
def test_huge_and_tiny_scores_overflow_nothing(name: str, huge: float) -> None:
    fused = fused_by(name, [{"1": {"a": huge, "b": -huge, "c": 0.0}}, {"1": {"a": 2.0, "b": 1.0}}])
    assert all(math.isfinite(score) for score in fused["1"].values())


def test_merging_keeps_every_score_and_orders_shots_as_one_search_does() -> None:
    one, two = {"1": {"a": 0.5, "c": 0.25}, "2": {"a": 1.0}}, {"1": {"b": 0.5, "d": -1.0, "a": 0.5}}
    for several in ([one, two], [two, one]):
        merged = methods.load("merge")(several)
        assert merged == {"1": {"a": 0.5, "b": 0.5, "c": 0.25, "d": -1.0}, "2": {"a": 1.0}}
        assert order(merged) == ["b", "a", "c", "d"]
    assert one == {"1": {"a": 0.5, "c": 0.25}, "2": {"a": 1.0}}


def test_a_shot_of_two_scores_is_not_merged() -> None:
    words = "topic 1: shot a has the scores 0.5 and 0.25; merge takes runs over disjoint parts of a gallery"
    with pytest.raises(MismatchError, match=words):
        methods.load("merge")([{"1": {"a": 0.5}}, {"1": {"a": 0.25}}])


def test_average_fusion_takes_scores_as_they_are_and_0_for_shots_that_a_run_lacks() -> None:
    one, two = {"1": {"a": 0.5, "b": 0.25, "c": -0.5}}, {"1": {"b": 0.75, "d": 0.125}}
    assert methods.load("average")([one, two]) == {"1": {"a": 0.25, "b": 0.5, "c": -0.25, "d": 0.0625}}
    # A run of ten times the scores decides alone, where CombSUM gives both runs the same say.
    ten = {"1": {shot: 10 * score for shot, score in two["1"].items()}}
    assert order(methods.load("average")([one, ten])) == ["b", "d", "a", "c"]
    assert methods.load("combsum")([one, ten]) == methods.load("combsum")([one, two])


@NORMS
def test_a_normalisation_keeps_the_order_and_the_shots(norm: str) -> None:
    scores = {"a": 3.0, "b": 7.0, "c": -2.0, "d": 3.0}
    normal = normalisations.load(norm)(scores)
    assert ranked(normal) == ranked(scores) and set(normal) == set(scores)


@NORMS
def test_a_normalisation_takes_equal_scores_one_shot_and_none(norm: str) -> None:
    normalise = normalisations.load(norm)
    assert normalise({}) == {}
    assert math.isfinite(normalise({"a": -4.0})["a"])
    assert ranked(normalise({"a": 0.0, "b": 0.0})) == ["b", "a"]


@NORMS
@pytest.mark.parametrize(
    "name", ["combsum", "combmnz", "combmax", "combmin", "combmed", "combanz", "combgmnz", "weighted", "wmnz", "mixed"]
)
def test_every_combiner_takes_every_normalisation(name: str, norm: str) -> None:
    assert set(fused_by(f"{name}:norm={norm}", [A, B])["1"]) == set("abcd")


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("minmax", [1, 0.25, 0]),
        ("sum", [0.8, 0.2, 0]),
        ("rank", [1, 2 / 3, 1 / 3]),
        ("log", [1, 1 / math.log2(3), 0.5]),
        ("reciprocal", [1 / 61, 1 / 62, 1 / 63]),
        ("reciprocal:k=0", [1, 1 / 2, 1 / 3]),
        ("power", [1, 2**-0.5, 3**-0.5]),
        ("power:p=2", [1, 1 / 4, 1 / 9]),
        # mean 11/3, deviations 13/3, -5/3, -8/3
        ("zscore", [value / math.sqrt((169 + 25 + 64) / 27) for value in (13 / 3, -5 / 3, -8 / 3)]),
    ],
)
def test_normalisations_are_the_arithmetic_that_they_say(norm: str, expected: list[float]) -> None:
    normal = normalisations.load(norm)(
        {"a": 8.0, "b": 2.0, "c": 1.0} if norm == "zscore" else {"a": 5.0, "b": 2.0, "c": 1.0}
    )
    assert [normal[shot] for shot in "abc"] == pytest.approx(expected)


# Shot b: A gives (8 - 1) / 8 = 0.875 of its range, B 1, C (10 - 0) / 30.
@pytest.mark.parametrize(
    ("spec", "b", "c"),
    [
        ("combsum", 0.875 + 1 + 1 / 3, 0),
        ("combmnz", 3 * (0.875 + 1 + 1 / 3), 0),
        ("combanz", (0.875 + 1 + 1 / 3) / 3, 0),
        ("average", (8 + 0.5 + 10) / 3, 1 / 3),  # raw scores; c is in A alone, where it has 1
        ("combmax", 1, 0),
        ("combmed", 0.875, 0),
        ("combmed:norm=rank", 2 / 3, 0),  # b: 2/3, 1, 1/2; c: 1/3, 0, 0
        ("rrf", 1 / 62 + 1 / 61 + 1 / 63, 1 / 63),
        ("rrf:k=0", 1 / 2 + 1 + 1 / 3, 1 / 3),
        ("isr", 3 * (1 / 4 + 1 + 1 / 9), 1 / 9),
        ("borda", 4 + 5 + 3, 3),  # five shots in all
        ("borda:weights=2/1/0.5", 2 * 4 + 5 + 3 / 2, 6),
        ("combmin", 1 / 3, 0),
        ("combgmnz:gamma=2,norm=rank", 9 * (2 / 3 + 1 + 1 / 2), 1 / 3),
        ("log-isr", math.log(3) * (1 / 4 + 1 + 1 / 9), 0),
        ("logn-isr:sigma=0.5", math.log(3.5) * (1 / 4 + 1 + 1 / 9), math.log(1.5) / 9),
        ("rbc:phi=0.5", 1 / 4 + 1 / 2 + 1 / 8, 1 / 8),
        ("wmnz:norm=rank,weights=1/2/4", (1 + 2 + 4) * (2 / 3 + 1 + 1 / 2), 1 / 3),
        ("mixed:norm=rank,weights=1/2/4", math.sqrt(3) * (2 / 3 + 2 + 4 / 2), 1 / 3),
        ("mapfuse:weights=1/2/4", 1 / 2 + 2 + 4 / 3, 1 / 3),
        ("weighted:norm=rank,weights=1/2/4", 2 / 3 + 2 + 4 / 2, 1 / 3),
        ("weighted:norm=rank,weights=0/2/4", 2 + 4 / 2, 0),
    ],
)
def test_combiners_are_the_arithmetic_that_they_say(spec: str, b: float, c: float) -> None:
    fused = methods.load(spec)([A, B, C])["1"]
    assert (fused["b"], fused["c"]) == (pytest.approx(b), pytest.approx(c))


def test_a_missing_shot_counts_as_zero_also_where_others_are_below_it() -> None:
    """By z-score, c is worst in the first run and below 0; the second run does not return it, and 0 is the better."""
    first, second = {"1": {"a": 2.0, "b": 2.0, "c": -1.0}}, {"1": {"a": 3.0, "b": 1.0}}
    assert methods.load("combmax:norm=zscore")([first, second])["1"]["c"] == 0


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("rff", UnknownName),
        ("rrf:k=-1", SpecError),
        ("rrf:k=many", SpecError),
        ("combsum:norm=zcore", UnknownName),
        ("combsum:norm=power:p=0", SpecError),
        ("weighted:weights=1/x/2", SpecError),
        ("weighted:weights=1/2", MismatchError),
        ("weighted:weights=0/0/0", SpecError),
        ("weighted:weights=1/-1/1", SpecError),
        ("borda:weights=1/2", MismatchError),
        ("wmnz", SpecError),
        ("mixed:weights=measure", SpecError),
        ("combgmnz:gamma=nan", SpecError),
        ("logn-isr:sigma=0", SpecError),
        ("rbc:phi=1", SpecError),
    ],
)
def test_specs_that_mean_nothing_are_refused(spec: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        methods.load(spec)([A, B, C])


def beats(first: str, second: str, several: list[Run], weights: list[float]) -> bool:
    """By the definition: the runs that rank it higher weigh more."""
    votes = 0.0
    for run, weight in zip(several, weights, strict=True):
        ranking = ranked(run.get("1", {}))
        first_at, second_at = (ranking.index(shot) if shot in ranking else 99 for shot in (first, second))
        votes += weight * ((first_at < second_at) - (second_at < first_at))
    return votes > 0


@settings(max_examples=50, deadline=None)
@given(several=runs(5), weights=st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=5, max_size=5))
def test_condorcet_puts_no_shot_before_one_that_beats_it_and_groups_in_the_order_of_majorities(
    several: list[Run], weights: list[float]
) -> None:
    weights = weights[: len(several)]
    found = order(condorcet.fuse(several, weights), "1") if any("1" in run for run in several) else []
    assert not any(beats(after, before, several, weights) for before, after in itertools.pairwise(found))
    for size in range(1, len(found)):
        for group in itertools.combinations(found, size) if len(found) < 7 else ():
            rest = [shot for shot in found if shot not in group]
            if all(beats(first, second, several, weights) for first in group for second in rest):
                assert set(found[:size]) == set(group)


def test_condorcet_moves_a_shot_past_many_and_settles_cycles_by_borda() -> None:
    """Borda likes the 40 shots of the long run; two short runs prefer z to each."""
    long = {"1": {f"s{n:02}": 100.0 - n for n in range(40)} | {"z": 1.0}}
    assert order(condorcet.fuse([long, {"1": {"z": 1.0}}, {"1": {"z": 2.0}}]))[:2] == ["z", "s00"]
    cycle = [{"1": dict(zip(shots, (3.0, 2.0, 1.0), strict=True))} for shots in ("abc", "bca", "cab")]
    assert order(condorcet.fuse(cycle)) == ["b", "c", "a"]  # from c, b, a: b beats c, and a does not
    assert order(condorcet.fuse([*cycle, {"1": {"a": 1.0}}])) == ["a", "b", "c"]


# Two topics; the ranks of the first run are relevant: yes no no, yes yes; of the second: no yes, none.
JUDGED: Qrels = {"1": {"a": Judgment(1), "x": Judgment(2), "n": Judgment(0)}, "2": {"c": Judgment(1), "d": Judgment(1)}}
FIRST: Run = {"1": {"a": 3.0, "n": 2.0, "o": 1.0}, "2": {"c": 2.0, "d": 1.0}, "3": {"p": 4.0, "q": 2.0, "r": 0.0}}
SECOND: Run = {"1": {"n": 9.0, "x": 8.0}, "2": {}, "3": {"q": 1.0}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        # By rank: 1, 1/2, 0, and 0, 1.
        ("posfuse", {"p": 1, "q": 1 / 2, "r": 0}),
        ("slidefuse:window=0", {"p": 1, "q": 1 / 2, "r": 0}),
        ("slidefuse:window=1", {"p": 3 / 4, "q": 1 / 2 + 0, "r": 1 / 4}),
        # The first two of three shots are a segment: 1/2, 0; each of two shots is one: 1, 1; means 3/4 and 1/2.
        ("probfuse:segments=2", {"p": 3 / 4, "q": 3 / 4 + 0, "r": 1 / 4}),
        # Of five ranks, 1 and 2 are relevant, mean 3/10; in the second run 1/5. Scores 1, 1/2, 0, and 1.
        ("segfuse", {"p": 2 * 0.3, "q": 1.5 * 0.3 + 2 * 0.2, "r": 0.3}),
        ("bayesfuse", {"p": math.log(3 / 7 / 999), "q": math.log(3 / 7 / 4), "r": math.log(3 / 7 / 999)}),
        # AP: (1/2 + 1) / 2 of the first run, as x is missing, and 1/4 of the second on the topic that it has.
        ("mapfuse", {"p": 3 / 4, "q": 3 / 8 + 1 / 4, "r": 1 / 4}),
        ("borda:weights=measure", {"p": 9 / 4, "q": 6 / 4 + 3 / 4, "r": 3 / 4}),
    ],
)
def test_methods_that_learn_are_the_arithmetic_that_they_say(spec: str, expected: dict[str, float]) -> None:
    assert fused_by(spec, [FIRST, SECOND], JUDGED)["3"] == pytest.approx(expected)


def test_a_pooled_shot_that_nobody_judged_is_neither_relevant_nor_not() -> None:
    sampled = {"1": {"a": Judgment(-1), "n": Judgment(1)}, "2": {"c": Judgment(0), "d": Judgment(-1)}}
    assert fused_by("posfuse", [FIRST], sampled)["3"] == pytest.approx({"p": 0, "q": 1, "r": 0})
    (judged,) = judged_rankings([FIRST], sampled)
    assert judged.precision(0, 3) == pytest.approx((1 / 2 + 0) / 2)


@pytest.mark.parametrize("name", [*LEARNING, "borda:weights=measure", "condorcet:weights=measure"])
def test_the_judgments_of_a_topic_have_no_part_in_its_own_fusion(name: str) -> None:
    rng = random.Random(2)
    several: list[Run] = [{topic: {shot: rng.random() for shot in "abcdefgh"} for topic in "1234"} for _ in range(3)]
    judged = {topic: {shot: Judgment(int(shot in "abc"[: int(topic)])) for shot in "abcdef"} for topic in "123"}
    turned = {shot: Judgment(1 - judgment.relevance) for shot, judgment in judged["2"].items()}
    parts = [["1"], ["2"], ["3"]]
    one, other = (
        fitting.cross_fitted(name, several, fitting.judged_runs(several, qrels, "AP"), parts)
        for qrels in (judged, judged | {"2": turned})
    )
    assert list(one) == list("1234") and one["2"] == other["2"]
    assert any(one[topic] != other[topic] for topic in "134")


@pytest.fixture(scope="module")
def covid(shared_data) -> dict[str, Run]:  # type: ignore[no-untyped-def]
    from avs_cli.io.text.trec import read_run

    return {path.stem: read_run(str(path)) for path in sorted(Path(shared_data("trec-covid-r1/runs")).iterdir())[3:5]}


def test_rrf_of_two_real_runs_is_that_of_trectools(covid: dict[str, Run], tmp_path: Path) -> None:
    pytest.importorskip("trectools")
    from trectools import TrecRun, fusion

    from avs_cli.io.text.trec import write_run

    files = []
    for name, run in covid.items():
        cut = {topic: dict.fromkeys(ranked(run[topic])[:50]) for topic in list(run)[:3]}
        scored: Run = {topic: {shot: 100.0 - place for place, shot in enumerate(shots)} for topic, shots in cut.items()}
        write_run(str(tmp_path / name), scored, "x")
        files.append((tmp_path / name, scored))
    theirs = fusion.reciprocal_rank_fusion([TrecRun(str(path)) for path, _ in files], k=60, max_docs=1000).run_data
    ours = methods.load("rrf")([run for _, run in files])
    compared = 0
    for row in theirs.itertuples():
        assert ours[str(row.query)][row.docid] == pytest.approx(row.score, abs=1e-9)
        compared += 1
    assert compared == sum(map(len, ours.values()))


@pytest.mark.parametrize("name", [name for name in methods.names() if name not in (*LEARNING, "merge")])
@settings(max_examples=10, deadline=None)
@given(several=runs(3), norm=st.sampled_from(normalisations.names()))
def test_a_run_that_found_nothing_for_a_topic_changes_nothing_of_it(name: str, several: list[Run], norm: str) -> None:
    spec = f"{name}:norm={norm}" if name.startswith(("comb", "weighted")) else name
    fuse = methods.load(spec)
    without = {topic: order(fuse(several), topic) for topic in fuse(several)}
    for words in ({}, {"1": {}, "2": {}}, {"3": {"z": 9.0}}):
        fused = fuse([*several, words])
        assert {topic: order(fused, topic) for topic in without} == without
