"""Symmetric InfoNCE over the batch (Radford et al. 2021, arXiv:2103.00020), with a fixed temperature.

Rows of the same video are left out of each other's sums.
"""

from collections.abc import Callable

import torch

from avs_cli.core.objectives._pairs import Embedded, cosines, twins


def build(temperature: float = 0.05) -> Callable[[Embedded], torch.Tensor]:
    """The mean of both directions' cross-entropies of score / temperature."""

    def loss(batch: Embedded) -> torch.Tensor:
        scores = batch.weight * cosines(batch).sum(0) / temperature
        others = twins(batch) & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(others, -torch.inf)
        right = scores.diagonal()
        return (scores.logsumexp(1) + scores.logsumexp(0)).mean() / 2 - right.mean()

    return loss
