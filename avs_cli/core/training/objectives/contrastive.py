"""Symmetric InfoNCE over the batch (Radford et al. 2021, arXiv:2103.00020), with a fixed temperature.

Captions of the same video are not negatives of each other. For a head with several spaces, the loss applies to the
score or, as in LAFF's code, to each space.
"""

from collections.abc import Callable
from typing import Literal

import torch

from avs_cli.core.training.objectives.base import Embedded, cosines, twins


def build(temperature: float = 0.05, spaces: Literal["each", "mean"] = "mean") -> Callable[[Embedded], torch.Tensor]:
    """The mean cross-entropy of both directions, over the score (or each space's cosine) / temperature."""

    def loss(batch: Embedded) -> torch.Tensor:
        found = cosines(batch)
        scores = (found if spaces == "each" else batch.weight * found.sum(0, keepdim=True)) / temperature
        others = twins(batch) & ~torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(others, -torch.inf)
        right = scores.diagonal(dim1=1, dim2=2)
        return (scores.logsumexp(2) + scores.logsumexp(1)).mean() / 2 - right.mean()

    return loss
