"""Bidirectional negation learning: triplet loss with margins for negated captions (Wang, Chen, Hu and Li, ACM MM 2022,
arXiv:2205.00132).

With p the cosine of caption and video, f that of the negated caption and the video, and g that of both captions, hinge
losses keep m1 <= p - f <= m2 and m3 <= p - g <= m4. They have no gradient for the video unless `video_gradient` is set.
Like the triplet loss, they apply in each space. For a batch without negated captions the loss is the triplet loss,
where the published code stops.
"""

from collections.abc import Callable

import torch

from avs_cli.core.training.objectives.base import Embedded, cosines, twins
from avs_cli.core.training.objectives.triplet import Direction, triplet


def between(difference: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """The sum of what lies below `low` or above `high`."""
    return (low - difference).clamp_min(0).sum() + (difference - high).clamp_min(0).sum()


def build(
    margin: float = 0.2,
    direction: Direction = "t2i",
    m1: float = 0.1,
    m2: float = 0.6,
    m3: float = 0.1,
    m4: float = 0.3,
    video_weight: float = 0.001,
    text_weight: float = 0.001,
    scaled: bool = True,
    video_gradient: bool = False,
) -> Callable[[Embedded], torch.Tensor]:
    """The loss; `scaled` scales the hinge losses as if every caption of the batch had a negated caption."""

    def loss(batch: Embedded) -> torch.Tensor:
        total = triplet(cosines(batch), twins(batch), margin, direction, hardest=True, mean=False)
        if batch.negated is None or batch.owner is None or not len(batch.owner):
            return total
        texts, videos = batch.texts[batch.owner], batch.videos[batch.owner]
        videos = videos if video_gradient else videos.detach()
        p = (texts * videos).sum(-1)
        f = (batch.negated * videos).sum(-1)
        g = (batch.negated * texts).sum(-1)
        hinges = video_weight * between(p - f, m1, m2) + text_weight * between(p - g, m3, m4)
        return total + hinges * (len(batch.texts) / len(batch.owner) if scaled else 1)

    return loss
