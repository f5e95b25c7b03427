"""Bayes-fuse (Aslam and Montague, SIGIR 2001, doi:10.1145/383952.384007).

As in ranx, the odds are those of the precision between the cutoffs of trec_eval, 0.001 where it would be 0, and of 0.1%
for a shot that a run does not return; here, also for one after rank 1000.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from avs_cli.core.fusion.judged import JudgedRankings
from avs_cli.core.fusion.methods._summing import summed
from avs_cli.types import Run

_CUTOFFS = (0, 5, 10, 15, 20, 30, 100, 200, 500, 1000)
_LEAST = 0.001
_MISSING = math.log(_LEAST / (1 - _LEAST))


def fit(judged: Sequence[JudgedRankings]) -> list[np.ndarray]:
    """For each run, (1000,) log-odds that the shot at a rank is relevant."""
    found = []
    for run in judged:
        odds = np.empty(_CUTOFFS[-1])
        for start, end in pairwise(_CUTOFFS):
            precision = run.precision(start, end) or _LEAST
            odds[start:end] = math.log(precision / (1 - precision or _LEAST))
        found.append(odds)
    return found


def fuse(runs: Sequence[Run], model: Sequence[np.ndarray]) -> Run:
    """Score each shot by the sum of its log-odds over the runs that return any shot for the topic."""

    def by_rank(index: int, scores: Mapping[str, float]) -> np.ndarray:
        return np.concatenate([model[index], np.full(max(0, len(scores) - _CUTOFFS[-1]), _MISSING)])[: len(scores)]

    return summed(runs, by_rank, _MISSING)
