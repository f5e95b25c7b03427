"""The one order of a ranking."""

import pytest

from avs_cli.types import ranked


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
