"""Queries with something to be absent, as one vector: direct embedding optimization (DEO), arXiv:2603.09185.

The vector begins as that of the query; a few steps of Adam bring it nearer to the parts that are asked for, and further
from those that are to be absent, while the encoder stays as it is. The abstract says so; the form of the three terms,
squared distances of unit vectors, and their weights are ours, since the text of the paper was not at hand. Of one
sentence and what it excludes, the minimum of these terms is where the subtraction of scores by the weight leads, too.
"""

from collections.abc import Sequence

import numpy as np

from avs_cli.core.search.exact import blend, units

STEPS, RATE = 20, 0.01
# Adam's, as published.
FIRST, SECOND, SMALL = 0.9, 0.999, 1e-8


def optimized(vectors: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """(D,) float64: the vector of a query, moved away from its parts of negative weight.

    vectors  (W, D), not normalised, at least one of them of positive weight
    """
    weighed = np.asarray(weights, np.float64)
    parts = units(vectors)
    wanted, absent = weighed > 0, weighed < 0
    query = blend(vectors[wanted], weighed[wanted] / weighed[wanted].sum())
    if not absent.any():
        return query
    near = query / np.linalg.norm(query)
    pull, push = weighed[wanted] / weighed[wanted].sum(), -2 * weighed[absent] / absent.sum()
    found, mean, square = near.copy(), np.zeros_like(near), np.zeros_like(near)
    for step in range(1, STEPS + 1):
        gradient = 2 * (pull @ (found - parts[wanted]) - push @ (found - parts[absent]) + (found - near))
        mean = FIRST * mean + (1 - FIRST) * gradient
        square = SECOND * square + (1 - SECOND) * gradient**2
        found -= RATE * (mean / (1 - FIRST**step)) / (np.sqrt(square / (1 - SECOND**step)) + SMALL)
    return np.asarray(found)
