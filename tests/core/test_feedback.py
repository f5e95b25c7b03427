"""Relevance feedback: Rocchio's formula, the nearest marked shots, and the places of marked shots."""

import numpy as np
import pytest
from pytest import approx

from avs_cli.core.search.feedback import moved, preferences, with_marks

NONE = np.empty((0, 2))


def test_rocchio_adds_the_mean_of_the_liked_units_and_takes_off_that_of_the_disliked_ones() -> None:
    liked, disliked = np.array([[2.0, 0], [0, 3]]), np.array([[-5.0, 0]])
    # (0, 1) + .5 (.5, .5) - .25 (-1, 0)
    assert moved(np.array([0.0, 7]), liked, disliked, 0.5, 0.25) == approx([0.5, 1.25])


def test_without_a_query_the_marked_shots_alone_make_one() -> None:
    assert moved(None, np.array([[2.0, 0]]), np.array([[0, 4.0]]), 1, 0.5) == approx([1, -0.5])
    assert moved(None, NONE, np.array([[0, 4.0]]), 1, 0.5) == approx([0, -0.5])
    assert moved(np.array([3.0, 4]), NONE, NONE) == approx([0.6, 0.8])


def test_a_shot_is_preferred_by_its_nearest_liked_shot_and_its_nearest_disliked_one() -> None:
    shots = np.array([[1.0, 0], [0, 2], [0, 0]])
    liked, disliked = np.array([[1.0, 0], [-1, 0]]), np.array([[3.0, 4]])
    assert preferences(shots, liked, disliked, 1, 0.5) == approx([1 - 0.3, 0 - 0.4, 0])
    assert preferences(shots, liked, NONE) == approx([1, 0, 0])
    assert preferences(shots, NONE, disliked, 1, 1) == approx([-0.6, -0.8, 0])


def test_liked_shots_come_first_and_disliked_ones_last_each_in_their_order() -> None:
    scores = {"a": 1.0, "b": 0.5, "c": 0.2, "d": -1.0, "e": -2.0}
    again = with_marks(scores, ["e", "c", "elsewhere"], ["a", "d"])
    assert [*again] == ["c", "e", "b", "a", "d"]
    assert again["b"] == 0.5


@pytest.mark.parametrize("marks", [(["a"], []), ([], ["b"]), (["a", "b"], ["c"])])
def test_scores_of_marked_shots_stay_apart_from_all_others(marks: tuple[list[str], list[str]]) -> None:
    again = with_marks({"a": -2.0, "b": 1.0, "c": 0.0, "d": 1.0}, *marks)
    assert all(again[shot] >= 2 for shot in marks[0])
    assert all(again[shot] <= -3 for shot in marks[1])
