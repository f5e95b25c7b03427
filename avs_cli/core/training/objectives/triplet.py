"""Triplet loss with the hardest negative in the batch (Faghri et al., arXiv:1707.05612), in each space.

Unlike in the published code, captions of the same video are not negatives of each other.
"""

from collections.abc import Callable
from typing import Literal

import torch

from avs_cli.core.training.objectives.base import Embedded, cosines, twins

Direction = Literal["t2i", "i2t", "both"]


def triplet(
    scores: torch.Tensor, same: torch.Tensor, margin: float, direction: Direction, hardest: bool, mean: bool
) -> torch.Tensor:
    """The loss of (S, N, N) scores, texts as rows, matches on the diagonal.

    same     (N, N) pairs that are no negatives
    mean     over the N hardest terms, or over all N * N, instead of their sum; always the sum over spaces
    """
    right = scores.diagonal(dim1=1, dim2=2)
    total = scores.new_zeros(())
    for way, own, axis in (("t2i", right[:, :, None], 2), ("i2t", right[:, None, :], 1)):
        if direction in (way, "both"):
            cost = (margin + scores - own).clamp_min(0).masked_fill(same, 0)
            terms = cost.amax(axis) if hardest else cost.flatten(1)
            total = total + (terms.mean(1).sum() if mean else terms.sum())
    return total


def build(
    margin: float = 0.2,
    direction: Direction = "t2i",
    hardest: bool = True,
    reduction: Literal["sum", "mean"] = "sum",
    spaces: Literal["each", "mean"] = "each",
) -> Callable[[Embedded], torch.Tensor]:
    """The sum of the losses of all spaces, or the loss of the total score."""

    def loss(batch: Embedded) -> torch.Tensor:
        scores = cosines(batch)
        if spaces == "mean":
            scores = batch.weight * scores.sum(0, keepdim=True)
        return triplet(scores, twins(batch), margin, direction, hardest, reduction == "mean")

    return loss
