"""Ranks of caption retrieval, for training, distillation and evaluation alike, and what is computed from them.

A rank is 1 plus the number of strictly larger scores, as usual in caption retrieval: equal scores share the best of
their ranks. The rank of a video with several captions is the best of theirs. CLIP4Clip's code differs for ties: it
counts a tied caption once for each rank of the tie.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from avs_cli.types import Judgment, ranked

CUTOFFS = (1, 5, 10)
# Rows compared at a time, to avoid copies of large matrices.
_ROWS = 1024
# Scores that are in memory at a time.
CELLS = 1 << 24

ScoresOf = Callable[[np.ndarray], Any]
"""From C captions to their (C, V) scores for all videos, an array or a tensor on the CPU."""


def text_ranks(scores: Any, item: np.ndarray) -> np.ndarray:
    """(C,) int64, from 1: the rank of each caption's own video.

    scores  (C, V), an array or a tensor on the CPU
    item    (C,) which video each caption describes
    NaN ranks before every number, and a caption whose own score is NaN has the last rank.
    """
    scores = np.asarray(scores)
    ranks = np.empty(len(scores), np.int64)
    for low in range(0, len(scores), _ROWS):
        rows = scores[low : low + _ROWS]
        own = np.take_along_axis(rows, item[low : low + _ROWS, None], axis=1)
        ranks[low : low + _ROWS] = rows.shape[1] - np.count_nonzero(rows <= own, axis=1) + 1
    # A score that is NaN is not at most itself.
    capped: np.ndarray = np.minimum(ranks, scores.shape[1])
    return capped


def video_ranks(scores: Any, item: np.ndarray) -> np.ndarray:
    """(V,) int64, from 1: the rank of each video's captions among those of all videos, each by its best caption.

    scores, item  as in `text_ranks`; every video has a caption
    """
    scores = np.asarray(scores)
    order = np.argsort(item, kind="stable")
    first = np.searchsorted(item[order], np.arange(scores.shape[1]))
    best = np.maximum.reduceat(scores[order], first, axis=0)
    return text_ranks(best.T, np.arange(len(best)))


def text_ranks_of(scores: ScoresOf, item: np.ndarray, videos: int) -> np.ndarray:
    """`text_ranks` of all captions, computed from some of their scores at a time."""
    ranks = np.empty(len(item), np.int64)
    for which in _parts(item, videos):
        ranks[which] = text_ranks(scores(which), item[which])
    return ranks


def both_ranks_of(scores: ScoresOf, item: np.ndarray, videos: int) -> tuple[np.ndarray, np.ndarray]:
    """`text_ranks` and `video_ranks`, computed from some scores at a time; of several parts, each is computed twice."""
    parts = _parts(item, videos)
    if len(parts) == 1:
        whole = scores(parts[0])
        return text_ranks(whole, item), video_ranks(whole, item)
    ranks, own = np.empty(len(item), np.int64), np.full(videos, -np.inf, np.float32)
    for which in parts:
        found = np.asarray(scores(which))
        ranks[which] = text_ranks(found, item[which])
        with np.errstate(invalid="ignore"):  # NaN, which stays
            np.maximum.at(own, item[which], found[np.arange(len(which)), item[which]])
    behind = np.zeros(videos, np.int64)
    for which in parts:
        _, first = np.unique(item[which], return_index=True)
        best = np.maximum.reduceat(np.asarray(scores(which)), first, axis=0)
        behind += np.count_nonzero(best <= own, axis=0)
    return ranks, np.minimum(videos - behind + 1, videos)


def _parts(item: np.ndarray, videos: int) -> list[np.ndarray]:
    """The captions in parts of at most about `CELLS` scores; the captions of a video are in one part, side by side."""
    if len(item) * videos <= CELLS:
        return [np.arange(len(item))]
    order = np.argsort(item, kind="stable")
    starts = np.searchsorted(item[order], np.arange(videos))
    parts, rows = [], max(1, CELLS // videos)
    ends = np.append(starts[1:], len(order))
    low = 0
    while low < len(order):
        high = int(ends[max(np.searchsorted(ends, low + rows, side="right") - 1, np.searchsorted(ends, low, "right"))])
        parts.append(order[low:high])
        low = high
    return parts


def measures(ranks: np.ndarray) -> dict[str, float]:
    """R@1, R@5, R@10 as shares, their sum in percent, the median and mean rank, the mean of 1 / rank (also the mAP)."""
    recall = {f"R@{cutoff}": float((ranks <= cutoff).mean()) for cutoff in CUTOFFS}
    middle = {"MedR": float(np.median(ranks)), "MeanR": float(ranks.mean())}
    mir = float((1 / ranks).mean())
    return {**recall, "SumR": 100 * sum(recall.values()), **middle, "mir": mir, "mAP": mir}


def both_ways(scores: ScoresOf, item: np.ndarray, videos: int) -> dict[str, float]:
    """R@1, R@5, R@10 and SumR of captions that search videos, then, named "v2t …", of videos that search captions.

    item    (C,) which of the `videos` each caption describes
    """
    ranks = dict(zip(("", "v2t "), both_ranks_of(scores, item, videos), strict=True))
    found = {way: measures(own) for way, own in ranks.items()}
    return {f"{way}{name}": held[name] for way, held in found.items() for name in ("R@1", "R@5", "R@10", "SumR")}


def right_first(scores: Mapping[str, float], judgments: Mapping[str, Judgment]) -> list[str]:
    """The ranking in which relevant shots precede others of equal score, so that `first_rank` follows the rule."""
    right = {shot for shot, judgment in judgments.items() if judgment.relevance > 0}
    return sorted(ranked(scores), key=lambda shot: (-scores[shot], shot not in right))


def first_rank(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> int:
    """The rank of the first relevant shot; one more than the length of a ranking without one."""
    for rank, shot in enumerate(ranking, start=1):
        judgment = judgments.get(shot)
        if judgment is not None and judgment.relevance > 0:
            return rank
    return len(ranking) + 1
