"""The one order of a ranking, and parts of blocks."""

import numpy as np
import pytest

from avs_cli.types import Block, Joined, ranked, rows_of_items


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        ({"a": 1.0, "b": 2.0}, ["b", "a"]),
        ({"shot1_1": 0.5, "shot1_3": 0.5, "shot1_2": 0.5}, ["shot1_3", "shot1_2", "shot1_1"]),
        ({"shot9": 0.0, "shot10": 0.0}, ["shot9", "shot10"]),  # ids are text, not numbers
        ({"a": -1.0, "b": -2.0, "c": 0.0}, ["c", "a", "b"]),
        ({}, []),
    ],
)
def test_score_descends_and_ties_go_by_id_descending(scores: dict[str, float], order: list[str]) -> None:
    assert ranked(scores) == order


def test_a_part_of_a_block_has_the_rows_of_its_items() -> None:
    vectors = np.arange(10).reshape(5, 2)
    whole, several = Block(["a", "b", "c"], vectors[:3]), Block(["a", "b", "c"], vectors, np.array([0, 1, 4, 5]))
    assert whole.part(1, 3).ids == ["b", "c"]
    assert whole.part(1, 3).vectors.tolist() == [[2, 3], [4, 5]]
    some = several.part(1, 9)
    assert some.ids == ["b", "c"]
    assert some.vectors.tolist() == vectors[1:].tolist()
    assert some.offsets is not None
    assert some.offsets.tolist() == [0, 3, 4]
    joined = Joined(["a", "b", "c"], {"x": whole, "y": several}, {"x": np.array([True, False, True])}).part(1, 2)
    assert (joined.ids, joined.features["x"].ids, joined.features["y"].vectors.shape) == (["b"], ["b"], (3, 2))
    assert joined.lacking is not None
    assert joined.lacking["x"].tolist() == [False]


def test_rows_of_items_follow_one_another() -> None:
    rows, offsets = rows_of_items(np.array([7, 0, 3]), np.array([2, 0, 1]))
    assert (rows.tolist(), offsets.tolist()) == ([7, 8, 3], [0, 2, 2, 3])
