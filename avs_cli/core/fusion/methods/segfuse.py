"""SegFuse (Shokouhi, ECIR 2007, doi:10.1007/978-3-540-71496-5_19).

As in ranx, segment k = 1, 2, …, 10 ends at rank 10 · 2^(k - 1) - 5, and later ranks have the score 0. Scores are
min-max normalised, as in the paper.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from avs_cli.core.fusion.judged import JudgedRankings
from avs_cli.core.fusion.methods._summing import summed
from avs_cli.core.fusion.normalisation import minmax
from avs_cli.types import Run, ranked

_ENDS = [10 * 2**k - 5 for k in range(10)]


def fit(judged: Sequence[JudgedRankings]) -> list[np.ndarray]:
    """For each run, the mean precision of its segments over the topics; see `JudgedRankings.precision`."""
    starts = [0, *_ENDS[:-1]]
    found = []
    for run in judged:
        found.append(np.array([run.precision(start, end) for start, end in zip(starts, _ENDS, strict=True)]))
    return found


def fuse(runs: Sequence[Run], model: Sequence[np.ndarray]) -> Run:
    """Score each shot by the sum over the runs of the probability of its segment, times 1 + its normalised score."""

    def by_rank(index: int, scores: Mapping[str, float]) -> np.ndarray:
        normal = minmax.normalise(scores)
        ordered = np.array([normal[shot] for shot in ranked(scores)])[: _ENDS[-1]]
        of = np.searchsorted(_ENDS, np.arange(len(ordered)), side="right")
        return np.asarray(model[index][of] * (1 + ordered))

    return summed(runs, by_rank)
