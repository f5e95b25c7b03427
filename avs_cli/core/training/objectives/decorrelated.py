"""LPD's objective: triplet losses of spaces that converge alike and order negatives differently (Hu, Xin and Li, ACM MM
2025, arXiv:2508.02340).

Written from the paper's abstract, since its equations and code were not available; both terms are our reading of it.

Of the triplet losses L_s of S spaces, means over the batch, it takes S (sum of w_s L_s + fairness (H(w) - log S)) with
the weights w, of sum 1, that make it largest: spaces that lag weigh more, by the softmax of L_s / fairness, and the
entropy H keeps the weights alike. With fairness 0 all weights are equal.

The de-correlation loss is the square of Pearson's correlation between the cosines of a text with its negatives in two
spaces, averaged over pairs of spaces.
"""

import math
from collections.abc import Callable

import torch

from avs_cli.core.training.objectives.base import Embedded, cosines, twins
from avs_cli.core.training.objectives.triplet import Direction, triplet


def correlation(scores: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """(N, S, S) Pearson's correlations of the spaces over the negatives of each text; 0 for constant scores.

    scores  (S, N, N), texts as rows
    same    (N, N) pairs that are no negatives
    """
    others = (~same).to(scores.dtype)
    mean = (scores * others).sum(2, keepdim=True) / others.sum(1).clamp_min(1)[:, None]
    centred = ((scores - mean) * others).transpose(0, 1)
    lengths = centred.square().sum(2, keepdim=True).clamp_min(1e-12).sqrt()
    centred = centred / lengths
    return centred @ centred.transpose(1, 2)


def build(
    margin: float = 0.2,
    direction: Direction = "t2i",
    fairness: float = 0.05,
    decorrelation: float = 0.1,
) -> Callable[[Embedded], torch.Tensor]:
    """The fair triplet loss plus `decorrelation` times the de-correlation loss, summed over the batch."""

    def loss(batch: Embedded) -> torch.Tensor:
        scores, same = cosines(batch), twins(batch)
        spaces, count = scores.shape[:2]
        losses = torch.stack([triplet(one[None], same, margin, direction, True, mean=False) for one in scores])
        total = losses.sum()
        if fairness:
            scale = count * fairness
            total = spaces * scale * (torch.logsumexp(losses / scale, 0) - math.log(spaces))
        if spaces == 1 or not decorrelation:
            return total
        squares = correlation(scores, same).square()
        others = squares.sum() - squares.diagonal(dim1=1, dim2=2).sum()
        return total + decorrelation * others / (spaces * (spaces - 1))

    return loss
