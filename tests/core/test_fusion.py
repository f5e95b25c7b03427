"""Late fusion without judgments: normalisations, combiners, and what holds for every one of them."""

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avs_cli.core.fusion.methods import methods
from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.errors import MismatchError, SpecError, UnknownName
from avs_cli.types import Run, ranked

A: Run = {"1": {"a": 9.0, "b": 8.0, "c": 1.0}}
B: Run = {"1": {"b": 0.5, "d": 0.25}}
C: Run = {"1": {"d": 30.0, "a": 20.0, "b": 10.0, "e": 0.0}, "2": {"f": 1.0}}

EVERY = pytest.mark.parametrize("name", methods.names())
# Those that combine several scores of a shot, of which `merge` keeps the only one.
COMBINING = pytest.mark.parametrize("name", [name for name in methods.names() if name != "merge"])
NORMS = pytest.mark.parametrize("norm", normalisations.names())


def order(run: Run, topic: str = "1") -> list[str]:
    return ranked(run[topic])


def runs(count: int = 4) -> st.SearchStrategy[list[Run]]:
    scores = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-3, 3).map(float), min_size=1)
    return st.lists(st.dictionaries(st.sampled_from("12"), scores, min_size=1), min_size=2, max_size=count)


@EVERY
def test_fusing_one_run_keeps_its_order(name: str) -> None:
    run = {"1": {"a": 3.0, "b": 7.0, "c": -2.0, "d": 0.5}}
    assert order(methods.load(name)([run])) == ["b", "a", "d", "c"]


@EVERY
def test_fusing_one_run_keeps_its_order_through_ties(name: str) -> None:
    run = {"1": {"a": 1.0, "b": 2.0, "c": 1.0, "d": 1.0}}
    assert order(methods.load(name)([run])) == ["b", "d", "c", "a"]


@EVERY
def test_a_run_fused_with_itself_keeps_its_order(name: str) -> None:
    assert order(methods.load(name)([A, A, A])) == ["a", "b", "c"]


@COMBINING
@settings(max_examples=25, deadline=None)
@given(several=runs())
def test_the_order_of_the_runs_makes_no_difference_to_the_last_bit(name: str, several: list[Run]) -> None:
    fuse = methods.load(name)
    assert all(fuse(list(other)) == fuse(several) for other in itertools.permutations(several))


@COMBINING
def test_a_fused_topic_has_every_shot_of_any_run_and_a_topic_of_one_run_stays(name: str) -> None:
    fused = methods.load(name)([A, B, C])
    assert {topic: set(scores) for topic, scores in fused.items()} == {"1": set("abcde"), "2": {"f"}}
    assert all(math.isfinite(score) for scores in fused.values() for score in scores.values())


@COMBINING
def test_a_shot_that_all_runs_put_first_is_first(name: str) -> None:
    fused = methods.load(name)([{"1": {"x": 5.0, "a": 1.0}}, {"1": {"x": 0.9, "b": 0.1}}, {"1": {"x": 2.0, "a": 1.0}}])
    assert order(fused)[0] == "x"


@COMBINING
@pytest.mark.parametrize("huge", [1e308, 1e-308])
def test_huge_and_tiny_scores_overflow_nothing(name: str, huge: float) -> None:
    fused = methods.load(name)([{"1": {"a": huge, "b": -huge, "c": 0.0}}, {"1": {"a": 2.0, "b": 1.0}}])
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
@pytest.mark.parametrize("name", ["combsum", "combmnz", "combmax", "combmed", "combanz", "weighted"])
def test_every_combiner_takes_every_normalisation(name: str, norm: str) -> None:
    assert set(methods.load(f"{name}:norm={norm}")([A, B])["1"]) == set("abcd")


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
    ],
)
def test_specs_that_mean_nothing_are_refused(spec: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        methods.load(spec)([A, B, C])


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


@COMBINING
@settings(max_examples=15, deadline=None)
@given(several=runs(3), norm=st.sampled_from(normalisations.names()))
def test_a_run_that_found_nothing_for_a_topic_changes_nothing_of_it(name: str, several: list[Run], norm: str) -> None:
    spec = f"{name}:norm={norm}" if name.startswith(("comb", "weighted")) else name
    fuse = methods.load(spec)
    without = {topic: order(fuse(several), topic) for topic in fuse(several)}
    for words in ({}, {"1": {}, "2": {}}, {"3": {"z": 9.0}}):
        fused = fuse([*several, words])
        assert {topic: order(fused, topic) for topic in without} == without
