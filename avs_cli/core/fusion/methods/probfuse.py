"""ProbFuse (Lillis, Toolan, Collier and Dunnion, SIGIR 2006, doi:10.1145/1148170.1148197).

As in ranx, a segment has ⌈n / segments⌉ of the n shots of a ranking, so that the last ones may be short or empty, and a
shot that was not pooled is not relevant. Unlike there, training topics for which a run returns nothing do not count,
and neither do pooled shots that were not judged.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from avs_cli.core.fusion.judged import JudgedRankings
from avs_cli.core.fusion.methods._summing import summed
from avs_cli.errors import SpecError
from avs_cli.types import Run


def fit(judged: Sequence[JudgedRankings], segments: int = 25) -> list[np.ndarray]:
    """For each run, the mean over the topics of the share of relevant shots in each segment of its ranking."""
    if not 0 < segments <= 1_000_000:
        raise SpecError(f"probfuse: segments must be at least 1, not {segments}")
    found = []
    for run in judged:
        total = np.zeros(segments)
        for relevant, known, length in zip(run.relevant, run.known, run.lengths.tolist(), strict=True):
            of = _segments(length, segments)
            relevants, counts = np.bincount(of, relevant[:length], segments), np.bincount(of, known[:length], segments)
            total += np.divide(relevants, counts, out=np.zeros(segments), where=counts > 0)
        found.append(total / max(1, len(run.lengths)))
    return found


def fuse(runs: Sequence[Run], model: Sequence[np.ndarray]) -> Run:
    """Score each shot by the sum over the runs of the probability of its segment, divided by the segment's number."""

    def by_rank(index: int, scores: Mapping[str, float]) -> np.ndarray:
        of = _segments(len(scores), len(model[index]))
        return np.asarray(model[index][of] / (of + 1))

    return summed(runs, by_rank)


def _segments(length: int, segments: int) -> np.ndarray:
    """(length,) the segment of each rank, from 0."""
    return np.asarray(np.arange(length) // -(-length // segments))
