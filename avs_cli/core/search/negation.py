"""Queries with something to be absent, as one vector: direct embedding optimization (DEO), arXiv:2603.09185.

The vector e begins as that of the query, q, and a few steps of Adam decrease

    mean |e - p| + REGULARISATION |e - q| - mean |e - n|

over the unit vectors p of what is asked for and n of what is to be absent; after each step, e has unit length again.
The encoder stays as it is. Terms, weights, rate and number of steps are those of the authors' code
(github.com/taegyeong-lee/DEO-negation-aware-retrieval). There a language model splits a sentence into parts, and q is
the vector of the sentence; here the parts are given, and q is that of what is asked for.
"""

from collections.abc import Sequence

import numpy as np

from avs_cli.core.search.exact import blend, units
from avs_cli.core.search.queries import ABSENT

STEPS, RATE, REGULARISATION = 20, 0.001, 0.2
# Adam's, as published.
FIRST, SECOND, SMALL = 0.9, 0.999, 1e-8


def optimized(vectors: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """(D,) float64 unit vector: that of a query, moved away from its parts of negative weight.

    vectors  (W, D), not normalised, at least one of them of positive weight
    weights  the means are weighted by them; where all that is to be absent has the weight that it has by default, the
             last term is the published one
    """
    weighed = np.asarray(weights, np.float64)
    parts = units(vectors)
    wanted, absent = weighed > 0, weighed < 0
    query = blend(vectors[wanted], weighed[wanted] / weighed[wanted].sum())
    if not absent.any():
        return query
    begun = query / np.linalg.norm(query)
    points = np.concatenate([parts[wanted], begun[None], parts[absent]])
    pull, push = weighed[wanted] / weighed[wanted].sum(), weighed[absent] / ABSENT / absent.sum()
    shares = np.concatenate([pull, [REGULARISATION], push])
    found, mean, square = begun, np.zeros_like(begun), np.zeros_like(begun)
    for step in range(1, STEPS + 1):
        away = found - points
        # A distance of zero has no direction.
        gradient = shares @ (away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), np.finfo(float).tiny))
        mean = FIRST * mean + (1 - FIRST) * gradient
        square = SECOND * square + (1 - SECOND) * gradient**2
        found = found - RATE * (mean / (1 - FIRST**step)) / (np.sqrt(square / (1 - SECOND**step)) + SMALL)
        found /= np.linalg.norm(found)
    return np.asarray(found)
