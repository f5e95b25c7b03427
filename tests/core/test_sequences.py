"""Shots that follow others: equal to looking at every pair, and to looking at every sequence."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avs_cli.core.search.sequences import best_followers, best_sequences


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


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_sequences_of_any_length_are_the_best_of_all(data: st.DataObject) -> None:
    count, steps = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))

    def some(kind: st.SearchStrategy[float], size: int) -> np.ndarray:
        return np.array(data.draw(st.lists(kind, min_size=size, max_size=size)), np.float64)

    # Whole numbers, whose sums are exact in any order.
    score = st.one_of(st.just(-np.inf), st.integers(-9, 9))
    scores = some(score, steps * count).reshape(steps, count)
    video, start, length = (some(st.integers(0, most), count) for most in (1, 8, 4))
    within = some(st.integers(0, 5), steps)
    expected = np.full(count, -np.inf)
    for order in product(range(count), repeat=steps):
        links = [
            video[a] == video[b] and start[a] < start[b] <= start[a] + length[a] + within[step]
            for step, (a, b) in enumerate(pairwise(order), start=1)
        ]
        if all(links):
            total = sum(scores[step, shot] for step, shot in enumerate(order))
            expected[order[0]] = max(expected[order[0]], total)
    found = best_sequences(scores, video.astype(int), start, start + length, within.tolist())
    np.testing.assert_array_equal(found, expected)


def test_a_shot_follows_that_starts_later_and_soon_enough_after_the_end() -> None:
    start, end = np.array([0.0, 5, 8, 20]), np.array([5.0, 8, 20, 21])
    video, scores = np.zeros(4, np.int64), np.array([9.0, 1, 2, 3])
    # From 0-5: the shot at 5 begins 0 s after the end, that at 8 3 s.
    assert best_followers(scores, video, start, end, 0).tolist() == [1, 2, 3, -np.inf]
    assert best_followers(scores, video, start, end, 3).tolist() == [2, 2, 3, -np.inf]
    assert best_followers(scores, video, start, end, 15).tolist() == [3, 3, 3, -np.inf]
    assert best_followers(scores, np.array([0, 1, 0, 1]), start, end, 15).tolist() == [2, 3, -np.inf, -np.inf]
    assert best_followers(np.empty(0), video[:0], start[:0], end[:0], 1).tolist() == []
