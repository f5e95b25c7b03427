"""Symmetric InfoNCE over the batch (Radford et al. 2021, arXiv:2103.00020), with a fixed temperature.

Rows of the same video are left out of each other's sums. Of a head with several spaces either the score counts, or each
space by itself, as in LAFF's own loss.
"""

from collections.abc import Callable
from typing import Literal

import torch

from avs_cli.core.objectives._pairs import Embedded, cosines, twins


def build(temperature: float = 0.05, spaces: Literal["each", "mean"] = "mean") -> Callable[[Embedded], torch.Tensor]:
    """The mean of both directions' cross-entropies of score / temperature, or of each space's cosine / temperature."""

    def loss(batch: Embedded) -> torch.Tensor:
        found = cosines(batch)
        scores = (found if spaces == "each" else batch.weight * found.sum(0, keepdim=True)) / temperature
        others = twins(batch) & ~torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(others, -torch.inf)
        right = scores.diagonal(dim1=1, dim2=2)
        return (scores.logsumexp(2) + scores.logsumexp(1)).mean() / 2 - right.mean()

    return loss
