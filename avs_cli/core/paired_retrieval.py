"""Captions find their videos, and videos their captions: ranks and measures of the caption-retrieval literature.

A rank is one more than the number of strictly better scores, as CLIP4Clip's evaluation means it (its code counts a tie
several times, which makes more ranks than there are rows). Equal scores therefore share the best rank: scores that are
all equal look perfect. `core.pairs.caption_ranks`, by which training chooses, gives them the worst.
"""

import numpy as np
import torch

SHARES = (1, 5, 10)


def text_ranks(scores: torch.Tensor, item: np.ndarray) -> np.ndarray:
    """(C,) from 1: where each caption's own video stands.

    scores  (C, V)
    item    (C,) which video each caption is of
    A score that is no number ranks before every number, and has the last rank itself.
    """
    own = scores.gather(1, torch.from_numpy(item)[:, None])
    # Its own score, if no number, is not at most itself.
    ranks: np.ndarray = (~(scores <= own)).sum(1).clamp(max=scores.shape[1] - 1).numpy() + 1
    return ranks


def video_ranks(scores: torch.Tensor, item: np.ndarray) -> np.ndarray:
    """(V,) from 1: where each video's own captions stand among all videos' captions, a video's best counting.

    Every video has a caption.
    """
    place = torch.from_numpy(item)[:, None].expand_as(scores)
    best = scores.new_full((scores.shape[1],) * 2, -torch.inf).scatter_reduce(0, place, scores, "amax")
    return text_ranks(best.T, np.arange(len(best)))


def measures(ranks: np.ndarray) -> dict[str, float]:
    """R@1, R@5 and R@10 in percent, their sum, and the median and the mean of the ranks."""
    recall = {f"R@{most}": 100 * float((ranks <= most).mean()) for most in SHARES}
    median, mean = float(np.median(ranks)), float(ranks.mean())
    return {**recall, "SumR": sum(recall.values()), "MedR": median, "MeanR": mean}


def both_ways(scores: torch.Tensor, item: np.ndarray) -> dict[str, float]:
    """R@1, R@5, R@10 and SumR of captions that look for their videos, then "v2t", of videos that look for captions."""
    found = {"": measures(text_ranks(scores, item)), "v2t ": measures(video_ranks(scores, item))}
    return {f"{way}{name}": held[name] for way, held in found.items() for name in ("R@1", "R@5", "R@10", "SumR")}
