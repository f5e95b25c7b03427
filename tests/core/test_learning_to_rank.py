"""Learning to rank: what is climbed on is the measure, what is learned is honest, and bad data teaches nothing."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avs_cli.core.evaluation.evaluator import Evaluator, usual
from avs_cli.core.fusion.ltr import folds, lambdamart, learning, logistic, run_weights, step_2
from avs_cli.core.fusion.ltr.batched import BatchedMeasure
from avs_cli.core.fusion.ltr.report import report
from avs_cli.core.fusion.ltr.topic_matrix import TopicMatrix, best_first, pool
from avs_cli.core.fusion.normalisation import minmax
from avs_cli.errors import MismatchError, SpecError
from avs_cli.types import Fuser, Judgment, Qrels, Run, ranked, step_2_features

SHOTS = [f"s{number:03d}" for number in range(120)]


def synthetic(topics: int = 12, seed: int = 0, strata: bool = False) -> tuple[dict[str, Run], Qrels]:
    """Two runs that see relevance through noise, two that see nothing; a third of the shots relevant."""
    rng = np.random.default_rng(seed)
    qrels: Qrels = {}
    runs: dict[str, Run] = {name: {} for name in ("good", "fair", "noise1", "noise2")}
    for topic in map(str, range(101, 101 + topics)):
        relevant = rng.random(len(SHOTS)) < 1 / 3
        for name, noise in zip(runs, (0.6, 1.2, 60.0, 60.0), strict=True):
            scores = relevant + noise * rng.standard_normal(len(SHOTS))
            runs[name][topic] = dict(zip(SHOTS, scores.tolist(), strict=True))
        stratum = [("1", "2")[number % 2] if strata else "1" for number in range(len(SHOTS))]
        known = [not strata or number % 4 != 3 for number in range(len(SHOTS))]
        qrels[topic] = {
            shot: Judgment(int(relevant[n]) if known[n] else -1, stratum[n]) for n, shot in enumerate(SHOTS[:100])
        }
    return runs, qrels


def blocks_of(runs: dict[str, Run], qrels: Qrels) -> dict[str, TopicMatrix]:
    return {topic: pool(list(runs.values()), topic, qrels[topic]) for topic in qrels}


def fused(blocks: dict[str, TopicMatrix], fuser: Fuser) -> Run:
    return {t: learning.as_scores(b, learning.steps(fuser, b)[1], 1000) for t, b in blocks.items()}


@pytest.mark.parametrize("measure", ["xinfAP", "AP", "nDCG", "nDCG@10", "P@7"])
@pytest.mark.parametrize("strata", [False, True])
def test_the_measure_that_is_climbed_on_is_the_measure_that_is_evaluated(measure: str, strata: bool) -> None:
    runs, qrels = synthetic(4, strata=strata)
    graded = {
        t: {s: Judgment(j.relevance * (1 + int(s[1:]) % 3 if j.relevance > 0 else 1), j.stratum) for s, j in js.items()}
        for t, js in qrels.items()
    }
    blocks = blocks_of(runs, graded)
    batch = BatchedMeasure(measure, list(blocks.values()))
    ours = []
    for place, block in enumerate(blocks.values()):
        order = best_first(-block.ranks[1].astype(float))
        ours.append(batch.values(batch.coded(block)[order][None], np.array([place]))[0])
    theirs = Evaluator(graded, [measure]).evaluate(runs["fair"]).by_topic[measure]
    assert ours == pytest.approx([theirs[topic] for topic in blocks], abs=1e-9)


@pytest.mark.parametrize("measure", ["xinfAP", "AP", "nDCG", "nDCG@20", "nDCG@1000", "P@100"])
def test_it_is_so_for_graded_samples_of_many_strata_and_more_than_1000_relevant_shots(measure: str) -> None:
    rng = np.random.default_rng(5)
    qrels: Qrels = {}
    run: Run = {}
    for topic in map(str, range(1801, 1813)):
        size, rates, share = int(rng.integers(20, 3000)), rng.random(4).round(1), rng.choice([0.05, 0.4, 0.9])
        strata = rng.integers(0, rng.integers(1, 5), size)
        sampled = rng.random(size) < rates[strata]
        grades = np.where(rng.random(size) < share, rng.integers(1, 5, size), 0)
        qrels[topic] = {f"s{n:04}": Judgment(int(grades[n]) if sampled[n] else -1, str(strata[n])) for n in range(size)}
        shots = rng.choice([*qrels[topic], *(f"x{n}" for n in range(500))], min(1000, size), replace=False)
        run[topic] = {
            str(shot): float(score) for shot, score in zip(shots, rng.integers(0, 200, len(shots)), strict=True)
        }
    assert max(sum(j.relevance > 0 for j in topic.values()) for topic in qrels.values()) > 1000
    blocks = [pool([run], topic, qrels[topic]) for topic in qrels]
    batch = BatchedMeasure(measure, blocks)
    orders = [batch.coded(block)[best_first(-block.ranks[0].astype(float))][None] for block in blocks]
    ours = [float(batch.values(order, np.array([place]))[0]) for place, order in enumerate(orders)]
    theirs = Evaluator(qrels, [measure]).evaluate(run).by_topic[measure]
    assert ours == pytest.approx([theirs[topic] for topic in qrels], abs=1e-9)


def test_xinfap_of_a_real_run_is_nists(shared_data: Callable[[str], Path]) -> None:
    from avs_cli.io.text.trec import read_qrels, read_run

    qrels, run = (
        read_qrels(str(shared_data("tv21/avs.qrels.main.tv21"))),
        read_run(str(shared_data("tv21/test_run.trec"))),
    )
    blocks = [pool([run], topic, qrels[topic]) for topic in run]
    batch = BatchedMeasure("xinfAP", blocks)
    orders = [batch.coded(block)[best_first(-block.ranks[0].astype(float))][None] for block in blocks]
    values = [float(batch.values(order, np.array([place]))[0]) for place, order in enumerate(orders)]
    assert f"{sum(values) / len(values):.4f}" == "0.3430"  # infAP all, as sample_eval.pl prints it


def test_sorting_scores_with_codes_in_their_low_bits_is_sorting_by_score() -> None:
    rng = np.random.default_rng(0)
    scores, codes = rng.random((5, 300)).astype(np.float32), rng.integers(0, 7, (5, 300)).astype(np.int32)
    sorted_by_score = np.take_along_axis(codes, np.argsort(-scores, axis=1), axis=1)
    assert (run_weights.sorted_codes(scores, codes, 1.0) == sorted_by_score).mean() > 0.999


def test_sampled_judgments_are_climbed_by_xinfap_and_whole_ones_by_ap() -> None:
    assert usual(synthetic(2)[1]) == "AP"
    assert usual(synthetic(2, strata=True)[1]) == "xinfAP"


@pytest.mark.parametrize("measure", ["infNDCG", "AP@10", "P", "P@0", "P@x", "nDCG@"])
def test_measures_that_cannot_be_climbed_on_are_refused(measure: str) -> None:
    with pytest.raises(SpecError):
        BatchedMeasure(measure, [])


def test_good_runs_get_weight_and_noise_gets_little() -> None:
    runs, qrels = synthetic()
    fuser = learning.learn(blocks_of(runs, qrels), list(runs), "AP", "1", 0)
    weights = dict(zip(fuser.runs, fuser.weights, strict=True))
    assert weights["good"] > weights["fair"] > max(weights["noise1"], weights["noise2"])
    assert sum(fuser.weights) == pytest.approx(1)


def test_a_run_of_no_use_may_get_no_weight_at_all() -> None:
    runs, qrels = synthetic()
    against = {t: {shot: -score for shot, score in scores.items()} for t, scores in runs["good"].items()}
    fuser = learning.learn(blocks_of({**runs, "against": against}, qrels), [*runs, "against"], "AP", "1", 0)
    assert fuser.weights[-1] == 0


def test_weights_left_out_of_a_topic_never_saw_it() -> None:
    """Other labels for one topic change the weights, but none of those that were learned without it."""
    runs, qrels = synthetic()
    turned = {**qrels, "105": {s: Judgment(1 - j.relevance, j.stratum) for s, j in qrels["105"].items()}}
    found = []
    for labels in (qrels, turned):
        blocks = list(blocks_of(runs, labels).values())
        found.append(run_weights.learn(blocks, BatchedMeasure("AP", blocks), 0))
    assert found[0].kind == found[1].kind
    assert np.array_equal(found[0].left_out[4], found[1].left_out[4])
    assert not np.array_equal(found[0].left_out, found[1].left_out)


def test_a_topic_is_never_ranked_by_its_own_labels() -> None:
    runs, qrels = synthetic(15)
    parts = folds.split(list(qrels), 5, 0)
    rng = np.random.default_rng(1)
    for held_out in parts[:2]:
        shuffled = dict(qrels)
        for topic in held_out:
            judgments = list(qrels[topic].values())
            order = rng.permutation(len(judgments))
            shuffled[topic] = {shot: judgments[n] for shot, n in zip(qrels[topic], order, strict=True)}
        rankings = []
        for labels in (qrels, shuffled):
            blocks = blocks_of(runs, labels)
            fuser = learning.cross_fit(blocks, [held_out], list(runs), "AP", "auto", 0)[0]
            assert not set(held_out) & set(fuser.topics)
            rankings.append(fused({topic: blocks[topic] for topic in held_out}, fuser))
        assert rankings[0] == rankings[1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_labels_teach_step_2_nothing(seed: int) -> None:
    runs, qrels = synthetic(15, seed)
    rng = np.random.default_rng(seed)
    noise = {t: {shot: Judgment(int(rng.random() < 1 / 3)) for shot in judgments} for t, judgments in qrels.items()}
    blocks, parts = blocks_of(runs, noise), folds.split(list(noise), 5, 0)
    found = report(blocks, parts, learning.cross_fit(blocks, parts, list(runs), "AP", "auto", seed))
    gain = found.steps[3] if len(found.steps) > 3 else None
    assert gain is None or gain.p is None or gain.gain is None or gain.gain < 0.01 or gain.p > 0.05


def test_learning_is_the_same_every_time_and_with_any_number_of_threads() -> None:
    runs, qrels = synthetic()
    blocks = blocks_of(runs, qrels)
    parts = folds.split(list(qrels), 3, 7)
    one, two = (learning.cross_fit(blocks, parts, list(runs), "AP", "auto", 7, threads) for threads in (1, 4))
    assert one == two
    other = learning.cross_fit(blocks, parts, list(runs), "AP", "auto", 8)
    assert other != one


def test_few_topics_keep_step_1_alone_and_say_so() -> None:
    runs, qrels = synthetic(4)
    fuser = learning.learn(blocks_of(runs, qrels), list(runs), "AP", "auto", 0)
    assert fuser.mix == 0 and "too few" in fuser.verdict


def test_one_topic_teaches_weights() -> None:
    runs, qrels = synthetic(1)
    fuser = learning.learn(blocks_of(runs, qrels), list(runs), "AP", "1", 0)
    assert sum(fuser.weights) == pytest.approx(1)


def test_topics_without_a_relevant_shot_teach_nothing_and_break_nothing() -> None:
    runs, qrels = synthetic(8)
    none = {topic: {shot: Judgment(0) for shot in judgments} for topic, judgments in qrels.items()}
    fuser = learning.learn(blocks_of(runs, none), list(runs), "AP", "auto", 0)
    assert fuser.mix == 0


def test_a_pooled_shot_that_nobody_judged_teaches_nothing() -> None:
    runs, qrels = synthetic(8)
    pooled = {topic: dict(judgments) for topic, judgments in qrels.items()}
    for topic, judgments in pooled.items():
        unjudged = {shot for run in runs.values() for shot in run.get(topic, {})} - judgments.keys()
        judgments.update(dict.fromkeys(sorted(unjudged)[::2], Judgment(-1)))
    learned = [learning.learn(blocks_of(runs, q), list(runs), "AP", "auto", 0) for q in (qrels, pooled)]
    assert learned[0] == learned[1]
    assert any(len(pooled[topic]) > len(qrels[topic]) for topic in qrels)


def test_a_shot_has_as_many_features_as_a_fuser_file_expects() -> None:
    runs, qrels = synthetic(1)
    block = blocks_of(runs, qrels)["101"]
    table = step_2.features(block, block.scores.sum(axis=0), np.arange(5))
    assert table.shape == (5, step_2_features(len(runs)))
    assert np.isfinite(table).all()


def test_coefficients_are_where_the_loss_has_no_slope() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.standard_normal((count, 4)) * [1, 10, 0.1, 0] for count in (30, 300)]
    labels = [(table[:, 0] - 5 * table[:, 2] + rng.standard_normal(len(table)) > 0.3).astype(int) for table in tables]
    found = np.array(logistic.fit(tables, labels))
    assert found[3] == 0 and found[0] > 0 > found[2]

    def loss(coefficients: np.ndarray) -> float:
        squares = ((coefficients * np.concatenate(tables).std(axis=0)) ** 2).sum()
        grid = np.linspace(-3, 3, 6001)[:, None]  # for the constant, which is not in the result
        means = 0.0
        for table, label in zip(tables, labels, strict=True):
            means = means + np.logaddexp(0, np.where(label, -1, 1) * (table @ coefficients + grid)).mean(axis=1) / 2
        return float(np.min(means)) + logistic.RIDGE / 2 * float(squares)

    best = loss(found)
    for feature in range(3):
        for factor in (0.9, 1.1):
            assert loss(found * np.where(np.arange(4) == feature, factor, 1)) > best
    assert logistic.fit(tables, [np.zeros(30), np.zeros(300)]) == (0, 0, 0, 0)
    assert logistic.predict((2.0, 0, 1.0, 0), tables[0]) == pytest.approx(2 * tables[0][:, 0] + tables[0][:, 2])


@pytest.mark.parametrize(
    ("pooled", "depth"),
    [
        ([[1] * 19 + [0] * 20], 20),
        ([[1] * 40, [1] * 30 + [0] * 10], 33),
        ([[0, 1, 1]], 1),
        ([[1] * 7, [1] * 3], 1000),
        ([[1] * 2000], 1000),
    ],
)
def test_step_2_reaches_as_deep_as_shots_are_pooled(pooled: list[list[int]], depth: int) -> None:
    assert step_2.reach([np.array(topic) for topic in pooled]) == depth


def test_step_2_leaves_what_is_beyond_its_reach() -> None:
    runs, qrels = synthetic(1)
    (block,) = blocks_of(runs, qrels).values()
    coefficients = tuple(np.random.default_rng(0).standard_normal(step_2_features(4)).tolist())
    fuser = Fuser(tuple(runs), "AP", "log", (0.4, 0.3, 0.2, 0.1), 0.75, coefficients=coefficients, reach=30)
    before, after = map(best_first, learning.steps(fuser, block))
    assert before[:30].tolist() != after[:30].tolist() and set(before[:30]) == set(after[:30])
    assert before[30:].tolist() == after[30:].tolist()


def test_trees_go_left_below_the_condition() -> None:
    tree = {
        "left_children": [1, 3, -1, -1, -1],
        "right_children": [2, 4, -1, -1, -1],
        "split_indices": [0, 1, 0, 0, 0],
        "split_conditions": [0.5, 0.25, 10.0, 20.0, 30.0],
    }
    stump = {name: values[-1:] for name, values in tree.items()}
    booster = json.dumps({"learner": {"gradient_booster": {"model": {"trees": [tree, stump]}}}})
    table = np.array([[0.5, 0.0], [0.4, 0.2], [0.4, 0.25]], np.float32)
    assert lambdamart.predict([booster, booster], table).tolist() == [40, 50, 60]


def test_trees_predict_what_xgboost_does_with_any_number_of_threads() -> None:
    import xgboost

    rng = np.random.default_rng(0)
    tables = [rng.standard_normal((count, 4)).astype(np.float32) for count in (60,) * 8]
    labels = [(table[:, 0] + 0.3 * table[:, 1] > 0.5).astype(int) for table in tables]
    boosters = lambdamart.fit(tables, labels, 3)
    assert boosters == lambdamart.fit(tables, labels, 3, threads=2) != lambdamart.fit(tables, labels, 4)
    table = np.concatenate([*tables, rng.standard_normal((100, 4)).astype(np.float32)])
    theirs = np.zeros(len(table))
    for booster in boosters:
        loaded = xgboost.Booster(model_file=bytearray(booster, "utf-8"))
        theirs += loaded.predict(xgboost.DMatrix(table)).astype(np.float64) / len(boosters)
    ours = lambdamart.predict(boosters, table)
    np.testing.assert_allclose(ours - ours.mean(), theirs - theirs.mean(), atol=2e-6)
    assert best_first(ours).tolist() == best_first(theirs).tolist()
    assert ours[:60][labels[0] == 1].min() > ours[:60][labels[0] == 0].mean()


def test_learning_beats_every_run_where_runs_see_different_things() -> None:
    runs, qrels = synthetic(15)
    blocks, parts = blocks_of(runs, qrels), folds.split(list(qrels), 5, 0)
    found = report(blocks, parts, learning.cross_fit(blocks, parts, list(runs), "AP", "1", 0))
    values = {step.name: step.value for step in found.steps}
    assert values["Step 1"] > values["RRF"] and values["Step 1"] > values["best run (good)"]
    lost = {part.run: part.loss for part in found.parts}
    assert lost["good"] > 0.02 and abs(lost["noise1"]) < lost["good"]


def test_step_1_climbs_xinfap_where_strata_hide_relevant_shots(shared_data: Callable[[str], Path]) -> None:
    """The real run of 2021, perturbed a little and much: the learned weights prefer the better copies, by xinfAP."""
    from avs_cli.io.text.trec import read_qrels, read_run

    qrels, run = (
        read_qrels(str(shared_data("tv21/avs.qrels.main.tv21"))),
        read_run(str(shared_data("tv21/test_run.trec"))),
    )
    rng = np.random.default_rng(0)
    copies: dict[str, Run] = {}
    for name, noise in (("near1", 60), ("near2", 60), ("far1", 900), ("far2", 900)):
        copies[name] = {}
        for topic, scores in run.items():
            moved = np.arange(len(scores)) + noise * rng.standard_normal(len(scores))
            copies[name][topic] = {shot: -float(place) for shot, place in zip(ranked(scores), moved, strict=True)}
    blocks = {topic: pool(list(copies.values()), topic, qrels[topic]) for topic in run}
    assert usual(qrels) == "xinfAP"
    parts = folds.split(list(blocks), 4, 0)
    fusers = learning.cross_fit(blocks, parts, list(copies), "xinfAP", "1", 0)
    together = {}
    for part, fuser in zip(parts, fusers, strict=True):
        assert min(fuser.weights[:2]) > max(fuser.weights[2:])
        together |= fused({topic: blocks[topic] for topic in part}, fuser)
    judge = Evaluator(qrels, ["xinfAP"])
    learned = judge.evaluate(together).means["xinfAP"]
    assert learned > max(judge.evaluate(copy).means["xinfAP"] for copy in copies.values())


def test_folds_hold_every_topic_once_and_do_not_depend_on_the_order() -> None:
    topics = [str(number) for number in range(1, 24)]
    parts = folds.split(topics, 5, 3)
    assert sorted((topic for part in parts for topic in part), key=int) == topics
    assert {len(part) for part in parts} == {4, 5}
    assert folds.split(topics[::-1], 5, 3) == parts != folds.split(topics, 5, 4)
    assert [len(part) for part in folds.split(["a", "b"], 5, 0)] == [1, 1]


def test_topics_by_year_are_those_of_an_edition_of_trecvid() -> None:
    assert folds.by_year(["1661", "1680", "701", "1641", "640"]) == [["640"], ["1641"], ["1661", "1680"], ["701"]]


@pytest.mark.parametrize("topics", [["1661", "1662"], ["1661", "7"], ["1661", "x"], ["1661", "1999"], ["1661", "3501"]])
def test_topics_of_one_year_or_none_make_no_folds_by_year(topics: list[str]) -> None:
    with pytest.raises(MismatchError, match="by-year"):
        folds.by_year(topics)


def test_one_topic_makes_no_folds() -> None:
    with pytest.raises(MismatchError, match="1 judged topic"):
        folds.split(["661"], 5, 0)


def test_blocks_hold_ranks_by_the_tie_policy_and_zero_for_missing_shots() -> None:
    block = pool([{"1": {"a": 1.0, "b": 1.0}}, {"1": {"c": 5.0, "a": 2.0}}], "1", {"c": Judgment(1), "z": Judgment(0)})
    assert block.shots == ["c", "b", "a"]
    assert block.ranks.tolist() == [[0, 1, 2], [1, 0, 2]]
    assert block.evidence("log").tolist() == [
        [0, 1, pytest.approx(1 / math.log2(3))],
        [1, 0, pytest.approx(1 / math.log2(3))],
    ]
    assert block.judged.tolist() == [0] and sum(block.totals.values()) == 2


def test_blocks_number_ids_of_any_length_as_strings_are_sorted() -> None:
    rng = np.random.default_rng(3)
    ids = ["".join(rng.choice(list("ab7_é"), rng.integers(1, 20))) for _ in range(200)]
    runs: list[Run] = [{"1": {id: float(rng.integers(9)) for id in rng.choice(ids, 50)}} for _ in range(3)]
    block = pool([runs[0], {}, *runs[1:]], "1", {})
    assert block.shots == sorted({id for run in runs for id in run["1"]}, reverse=True)
    assert not block.ranks[1].any() and not block.scores[1].any()
    for run, ranks, scores in zip(runs, block.ranks[[0, 2, 3]], block.scores[[0, 2, 3]], strict=True):
        expected = {shot: rank for rank, shot in enumerate(ranked(run["1"]), start=1)}
        assert ranks.tolist() == [expected.get(shot, 0) for shot in block.shots]
        normal = minmax.normalise(run["1"])
        assert scores.tolist() == [float(np.float32(normal.get(shot, 0))) for shot in block.shots]


@pytest.mark.parametrize(
    ("kind", "discounts"),
    [
        ("log", [1, 1 / math.log2(3), 1 / 2]),
        ("power", [1, 2**-0.5, 3**-0.5]),
        ("reciprocal", [1, 61 / 62, 61 / 63]),
        ("minmax", [1, 0.75, 0]),
    ],
)
def test_evidence_is_a_discount_of_the_rank_or_the_scaled_score(kind: str, discounts: list[float]) -> None:
    block = pool([{"1": {"a": 9.0, "b": 7.0, "c": 1.0}}, {"1": {"d": 1.0}}], "1", {})
    assert block.shots == ["d", "c", "b", "a"]
    assert block.evidence(kind)[0] == pytest.approx([0, *reversed(discounts)])
    assert block.evidence(kind, np.array([2]))[0] == pytest.approx(discounts[1:2])


def test_a_run_that_found_nothing_is_no_disagreement() -> None:
    runs, qrels = synthetic(1)
    (topic,) = qrels
    seen = [runs[name] for name in sorted(runs)]
    block, with_words = pool(seen, topic, qrels[topic]), pool([*seen, {}], topic, qrels[topic])
    every, step1 = np.arange(len(block.shots)), block.scores.sum(axis=0)
    plain, wider = (step_2.features(one, step1, every) for one in (block, with_words))
    count = len(seen)
    several = slice(2 * count, None), slice(2 * count + 2, None)
    np.testing.assert_array_equal(plain[:, several[0]], wider[:, several[1]])
    # The words' score and rank of every shot say that there is no hit: no rank of a run is as low.
    assert not wider[:, count].any() and (wider[:, 2 * count + 1] == np.float32(np.log2(2000))).all()
