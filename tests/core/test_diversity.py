"""Near-duplicates, and the order of maximal marginal relevance."""

import numpy as np
import pytest

from avs_cli.core.search.diversity import marginal_order, near_duplicates
from avs_cli.core.search.exact import units


def test_a_shot_stands_for_later_ones_that_no_earlier_one_stands_for() -> None:
    angles = np.deg2rad([0, 20, 40, 90, 5])
    shots = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # cos 20° is about .94, cos 40° about .77, cos 35° about .82.
    assert near_duplicates(shots, 0.9).tolist() == [0, 0, 2, 3, 0]
    assert near_duplicates(shots, 0.7).tolist() == [0, 0, 0, 3, 0]
    assert near_duplicates(shots, 1.01).tolist() == [0, 1, 2, 3, 4]
    assert near_duplicates(np.zeros((2, 3)), 0.5).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_marginal_relevance_is_that_of_the_definition(seed: int) -> None:
    draw = np.random.default_rng(seed)
    shots, relevance, novelty = units(draw.normal(size=(9, 3))), draw.random(9), draw.random()
    chosen: list[int] = []
    for _ in range(9):
        left = [place for place in range(9) if place not in chosen]
        nearest = {place: max((shots[place] @ shots[one] for one in chosen), default=-1.0) for place in left}
        chosen.append(max(left, key=lambda place: (1 - novelty) * relevance[place] - novelty * nearest[place]))
    assert marginal_order(relevance, shots, novelty).tolist() == chosen


def test_without_novelty_the_order_is_that_of_relevance() -> None:
    assert marginal_order(np.array([0.5, 1, 0.5]), np.eye(3), 0).tolist() == [1, 0, 2]
