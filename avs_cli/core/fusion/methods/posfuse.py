"""PosFuse (Lillis, Zhang, Toolan, Collier, Leonard and Dunnion, SIGIR 2010, doi:10.1145/1835449.1835508).

From sampled judgments, pooled shots that were not judged do not count.
"""

from collections.abc import Sequence

import numpy as np

from avs_cli.core.fusion.judged import JudgedRankings
from avs_cli.core.fusion.methods._summing import summed
from avs_cli.types import Run


def fit(judged: Sequence[JudgedRankings]) -> list[np.ndarray]:
    """For each run, the share of relevant shots at each rank, among the topics whose rankings reach it."""
    found = []
    for run in judged:
        relevant, known = run.relevant.sum(axis=0), run.known.sum(axis=0)
        found.append(np.divide(relevant, known, out=np.zeros(len(known)), where=known > 0))
    return found


def fuse(runs: Sequence[Run], model: Sequence[np.ndarray]) -> Run:
    """Score each shot by the sum over the runs of the probability that the shot at its rank is relevant."""
    return summed(runs, lambda index, scores: model[index][: len(scores)])
