"""Shots that follow others: equal to looking at every pair, and to looking at every sequence of three."""

import numpy as np
import pytest

from avs_cli.core.search.sequences import best_followers


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Scores, videos, starts and ends of some shots, which may overlap and start together, and a time span."""
    draw = np.random.default_rng(seed)
    count = int(draw.integers(1, 40))
    scores = np.where(draw.random(count) < 0.2, -np.inf, draw.normal(size=count).round(1))
    start = draw.integers(0, 30, count) / 2
    end = start + draw.choice([0, 0.5, 1, 7], count)
    return scores, draw.integers(0, 4, count), start, end, float(draw.choice([0, 0.5, 3, 100]))


@pytest.mark.parametrize("seed", range(200))
def test_the_best_follower_is_the_best_of_all_that_follow(seed: int) -> None:
    scores, video, start, end, within = drawn(seed)
    follows = (video[:, None] == video) & (start > start[:, None]) & (start <= end[:, None] + within)
    expected = np.where(follows, scores, -np.inf).max(axis=1)
    np.testing.assert_array_equal(best_followers(scores, video, start, end, within), expected)


def test_a_shot_follows_that_starts_later_and_soon_enough_after_the_end() -> None:
    start, end = np.array([0.0, 5, 8, 20]), np.array([5.0, 8, 20, 21])
    video, scores = np.zeros(4, np.int64), np.array([9.0, 1, 2, 3])
    # From 0-5: the shot at 5 begins 0 s after the end, that at 8 3 s.
    assert best_followers(scores, video, start, end, 0).tolist() == [1, 2, 3, -np.inf]
    assert best_followers(scores, video, start, end, 3).tolist() == [2, 2, 3, -np.inf]
    assert best_followers(scores, video, start, end, 15).tolist() == [3, 3, 3, -np.inf]
    assert best_followers(scores, np.array([0, 1, 0, 1]), start, end, 15).tolist() == [2, 3, -np.inf, -np.inf]
    assert best_followers(np.empty(0), video[:0], start[:0], end[:0], 1).tolist() == []
