"""Shots that are followed by others in the same video, such as "a dog, then a cat within 30 seconds".

For each shot, the best of those that follow it; sequences of more than two shots are found from the last to the first,
which is dynamic programming and therefore exact. Shots may overlap and last for any time, so that the ends of what
follows a shot need not ascend with the shots: each range is looked up in a table of the highest scores of runs of
shots, O(N log M) for N shots in videos of M.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def best_sequences(
    scores: np.ndarray, video: np.ndarray, start: np.ndarray, end: np.ndarray, within: Sequence[float]
) -> np.ndarray:
    """(N,) float64: for each shot, the highest sum of scores over the sequences that it begins; -inf if there is none.

    scores  (S, N) of each shot at each step; -inf for those that cannot be there
    within  (S,) seconds from the step before to each step, at most; the first has no effect

    The other parameters, and what follows, are those of `best_followers`.
    """
    *before, last = scores.astype(np.float64)
    for step in reversed(range(len(before))):
        last = before[step] + best_followers(last, video, start, end, within[step + 1])
    return np.asarray(last)


def best_followers(
    scores: np.ndarray, video: np.ndarray, start: np.ndarray, end: np.ndarray, within: float
) -> np.ndarray:
    """(N,) float64: for each shot, the highest score of those that follow it; -inf if none does.

    scores      (N,) of the shots as followers; -inf for those that cannot be one
    video       (N,) int, equal for shots of one video
    start, end  (N,) seconds

    A shot follows another one of its video if it starts later, and at most `within` seconds after the other's end.
    """
    order = np.lexsort((start, video))
    # Each shot by its video and start, as a single number that is compared exactly: its rank.
    video, start, end = video[order], start[order], end[order]
    found = np.full(len(order), -np.inf)
    for low, high in _spans(video):
        starts = start[low:high]
        first = np.searchsorted(starts, starts, side="right")
        last = np.searchsorted(starts, end[low:high] + within, side="right")
        found[low:high] = _highest(scores[order[low:high]], first, last)
    back = np.empty_like(found)
    back[order] = found
    return back


def _spans(video: np.ndarray) -> list[tuple[int, int]]:
    """The first row of each video, and the one after its last; equal values are together."""
    ends = [0, *(np.flatnonzero(np.diff(video)) + 1).tolist(), len(video)]
    return [(low, high) for low, high in pairwise(ends) if low < high]


def _highest(scores: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """(M,) the highest of scores[first[i]:last[i]]; -inf where that is empty."""
    # Row k has the highest of each 2^k scores in a row; any range is the union of two of these.
    rows = [scores.astype(np.float64)]
    while 2 << (len(rows) - 1) <= len(scores):
        width = 1 << (len(rows) - 1)
        rows.append(np.maximum(rows[-1][:-width], rows[-1][width:]))
    found = np.full(len(first), -np.inf)
    some = np.flatnonzero(last > first)
    level = np.frexp((last - first)[some])[1] - 1
    for k in np.unique(level).tolist():
        here = some[level == k]
        found[here] = np.maximum(rows[k][first[here]], rows[k][last[here] - (1 << k)])
    return found
