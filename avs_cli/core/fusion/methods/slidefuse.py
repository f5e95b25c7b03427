"""SlideFuse (Lillis, Toolan, Collier and Dunnion, ECIR 2008, doi:10.1007/978-3-540-78646-7_33)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avs_cli.core.fusion.judged import JudgedRankings
from avs_cli.core.fusion.methods import posfuse
from avs_cli.core.fusion.methods._summing import summed
from avs_cli.errors import SpecError
from avs_cli.types import Run


class SlidingWindow(NamedTuple):
    """The share of relevant shots at each rank of each run, and the ranks on either side to average it over."""

    precisions: list[np.ndarray]
    window: int


def fit(judged: Sequence[JudgedRankings], window: int = 5) -> SlidingWindow:
    """For each run, the share of relevant shots at each rank; see posfuse."""
    if not 0 <= window <= 1_000_000:
        raise SpecError(f"slidefuse: window must be at least 0, not {window}")
    return SlidingWindow(posfuse.fit(judged), window)


def fuse(runs: Sequence[Run], model: SlidingWindow) -> Run:
    """Score each shot by the sum over the runs of the probability of relevance around its rank.

    That is the mean over the ranks from `window` before to `window` after it, as far as the ranking goes.
    """

    def by_rank(index: int, scores: Mapping[str, float]) -> np.ndarray:
        precisions = model.precisions[index][: len(scores)]
        sums = np.concatenate([[0.0], np.cumsum(precisions), np.full(len(scores) - len(precisions), precisions.sum())])
        places = np.arange(len(scores))
        low, high = np.maximum(places - model.window, 0), np.minimum(places + model.window + 1, len(scores))
        return np.asarray((sums[high] - sums[low]) / (high - low))

    return summed(runs, by_rank)
