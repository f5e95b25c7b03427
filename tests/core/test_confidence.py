"""Confidences of cosines, from the best cosines of other sentences."""

import numpy as np
import pytest

from avs_cli.core.search.confidence import SENTENCES, Calibration, Confidence, sentences

BANK = np.array([0.2, 0.1, 0.3, 0.9])


def test_the_chance_level_is_a_median_which_one_sentence_that_fits_moves_little() -> None:
    assert Confidence(BANK).chance == pytest.approx(0.25)


def test_a_calibrated_confidence_is_the_logistic_function_of_the_cosine_above_chance() -> None:
    sure = Confidence(BANK, Calibration(slope=10, margin=0.15))
    expected = [1 / (1 + np.exp(-10 * (cosine - 0.25 - 0.15))) for cosine in (-1, 0.25, 0.4, 1)]
    assert sure.of(np.array([-1, 0.25, 0.4, 1])) == pytest.approx(expected)
    assert sure.of(np.array([0.4]))[0] == pytest.approx(0.5)


def test_without_a_calibration_it_is_the_share_of_sentences_that_find_nothing_as_close() -> None:
    assert Confidence(BANK).of(np.array([0.05, 0.1, 0.25, 0.9])).tolist() == [0, 0.25, 0.5, 1]


def test_a_steep_slope_does_not_overflow() -> None:
    with np.errstate(all="raise"):
        assert Confidence(BANK, Calibration(1e5, 0)).of(np.array([-1.0, 1.0])).tolist() == [0, 1]


def test_confidences_keep_the_order_of_a_run() -> None:
    run = {"1": {"b": 0.5, "a": 0.4}, "2": {}}
    of_run = Confidence(BANK, Calibration(5, 0.1)).of_run(run)
    assert [*of_run["1"]] == ["b", "a"] and of_run["1"]["b"] > of_run["1"]["a"] and of_run["2"] == {}


def test_the_bank_is_the_same_sentences_each_time_and_none_twice() -> None:
    bank = sentences()
    assert bank == sentences() and len(set(bank)) == SENTENCES == len(bank)
    assert bank[0] == "a photo of a tench"
