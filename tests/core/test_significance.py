"""Tests of significance against enumeration by hand, scipy and published arithmetic."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from avs_cli.core.evaluation.significance import EXACT, SAMPLES, agreement, holm, randomization, t_test, tukey_hsd
from avs_cli.errors import SpecError

small = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=9)


def test_three_equal_differences_leave_two_of_eight_patterns() -> None:
    assert randomization([1, 1, 1]) == 2 / 8
    assert randomization([1, -1]) == 1.0
    assert randomization([0, 0, 0]) == 1.0
    # Topics without a difference have no say.
    assert randomization([1, 1, 1, 0, 0]) == 2 / 8


@settings(max_examples=100, deadline=None)
@given(small)
def test_few_topics_are_tested_by_all_sign_patterns(differences: list[float]) -> None:
    seen = abs(sum(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(differences))]  # fmt: skip
    assert randomization(differences) == approx(sum(total >= seen for total in sums) / len(sums))


def test_the_last_exact_size_equals_its_estimate() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(0.3, 1, EXACT + 1)
    exact = float(np.mean([abs(np.dot(signs, differences)) >= abs(differences.sum()) - 1e-9
                           for signs in itertools.product((1, -1), repeat=EXACT + 1)]))  # fmt: skip
    assert SAMPLES >= 10_000
    assert randomization(list(differences)) == approx(exact, abs=4 * (exact * (1 - exact) / SAMPLES) ** 0.5)


def test_samples_follow_the_seed() -> None:
    differences = list(np.random.default_rng(0).normal(0.2, 1, 30))
    assert randomization(differences, seed=1) == randomization(differences, seed=1)
    assert randomization(differences, seed=1) != randomization(differences, seed=2)
    # No estimate from n samples can be below 1 / (n + 1).
    assert randomization([1.0] * 40) == 1 / (SAMPLES + 1)


def test_the_paired_t_test_has_students_distribution() -> None:
    # Two topics: one degree of freedom, Cauchy's distribution; the mean 2 is 2 standard errors of 1 from 0.
    assert t_test([1.0, 3.0]) == approx(1 - 2 / math.pi * math.atan(2))
    # Three: P(|T| > t) = 1 - t / √(t² + 2); the mean 2, again with an error of 1.
    assert t_test([0.0, 3.0, 3.0]) == approx(1 - 2 / math.sqrt(6))


def test_equal_differences_leave_no_doubt_and_no_nan() -> None:
    assert t_test([0.0, 0.0]) == 1.0
    assert t_test([0.5, 0.5]) == 0.0
    assert t_test([0.1 + 0.2, 0.3, 0.3]) == 0.0  # equal but for the last bit
    with pytest.raises(SpecError):
        t_test([1.0])


def test_tukey_of_two_runs_is_the_paired_t_test() -> None:
    # With two runs the studentized range is the absolute t times the root of 2, at the same freedom.
    one, other = [0.3, 0.5, 0.2, 0.9, 0.4], [0.1, 0.6, 0.1, 0.5, 0.2]
    p = tukey_hsd({"a": one, "b": other}, "a")
    assert p == approx({"b": t_test([x - y for x, y in zip(one, other, strict=True)])}, abs=1e-6)


def test_tukey_looks_at_all_pairs_and_so_is_stricter_than_t() -> None:
    rng = np.random.default_rng(0)
    values = {name: list(rng.normal(mean, 1, 12)) for name, mean in (("a", 0.0), ("b", 0.5), ("c", 1.0))}
    p = tukey_hsd(values, "a")
    assert set(p) == {"b", "c"}
    assert p["c"] > t_test([x - y for x, y in zip(values["a"], values["c"], strict=True)])


def test_holm_steps_down() -> None:
    # 0.01·3, 0.02·2, 0.03·1 is less than the step before.
    assert holm({"b": 0.02, "a": 0.01, "c": 0.03}) == approx({"b": 0.04, "a": 0.03, "c": 0.04})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_agreement_of_rankings() -> None:
    truth = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}
    assert agreement(truth, truth) == (1.0, 1.0)
    assert agreement(truth, {name: -value for name, value in truth.items()}) == (-1.0, -1.0)
    # One swap of six pairs: tau 1 - 2/6. At the top it costs tau_AP the whole of rank 2: 2/3·(0/1 + 2/2 + 3/3) - 1.
    top = agreement(truth, {"a": 3.0, "b": 4.0, "c": 2.0, "d": 1.0})
    bottom = agreement(truth, {"a": 4.0, "b": 3.0, "c": 1.0, "d": 2.0})
    assert top == approx((2 / 3, 1 / 3))
    # 2/3·(1/1 + 2/2 + 2/3) - 1
    assert bottom == approx((2 / 3, 7 / 9))


def test_one_run_has_nothing_to_agree_with() -> None:
    with pytest.raises(SpecError):
        agreement({"a": 1.0}, {"a": 1.0})


def test_the_randomization_test_is_scipys_permutation_test_of_signs() -> None:
    from scipy.stats import permutation_test

    differences = [0.31, -0.12, 0.25, 0.08, 0.4, -0.05, 0.17, 0.02, -0.2]
    theirs = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert randomization(differences) == approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize(
    ("runs", "topics", "critical"),
    # Tables of the studentized range, 0.05 in the upper tail: q(3 means, 10 degrees of freedom), q(4, 12), q(5, 20).
    [(3, 6, 3.877), (4, 5, 4.199), (5, 6, 4.232)],
)
def test_tukey_has_the_critical_values_of_the_tables(runs: int, topics: int, critical: float) -> None:
    """A gap of `critical` standard errors between the best and the worst of the runs has p = 0.05."""
    noise = np.random.default_rng(1).normal(size=(runs, topics))
    noise += noise.mean() - noise.mean(axis=0) - noise.mean(axis=1, keepdims=True)
    # Two-way layout: what neither runs nor topics explain, over (runs - 1)·(topics - 1) degrees of freedom.
    error = math.sqrt((noise**2).sum() / ((runs - 1) * (topics - 1)) / topics)
    effects = np.linspace(0, critical * error, runs)[:, None] + np.arange(topics) / 10
    values = {str(number): row.tolist() for number, row in enumerate(noise + effects)}
    assert tukey_hsd(values, "0")[str(runs - 1)] == approx(0.05, abs=2e-4)


def test_tukey_does_not_see_how_hard_topics_are() -> None:
    rng = np.random.default_rng(2)
    values = {name: rng.random(8) for name in "abc"}
    hard = rng.random(8)
    moved = {name: (row + hard).tolist() for name, row in values.items()}
    assert tukey_hsd(moved, "a") == approx(tukey_hsd({name: row.tolist() for name, row in values.items()}, "a"))
    with pytest.raises(SpecError):
        tukey_hsd({"a": [1.0], "b": [0.5]}, "a")
