"""The input of objectives, and their common terms."""

from collections.abc import Callable
from typing import NamedTuple

import torch


class Embedded(NamedTuple):
    """A batch of N matching pairs in S spaces, row i of the texts belonging to row i of the videos.

    texts, videos  (N, S, d), rows of unit length
    weight         a score is `weight` times the sum of the S cosines
    items          (N,) which video each row is; rows of one video are no negatives of each other. None: all differ
    negated        (M, S, d) negated captions of the texts `owner`
    owner          (M,) rows
    scores         of a head whose score is no dot product: from texts and videos to (N, N)
    """

    texts: torch.Tensor
    videos: torch.Tensor
    weight: float = 1.0
    items: torch.Tensor | None = None
    negated: torch.Tensor | None = None
    owner: torch.Tensor | None = None
    scores: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None


Objective = Callable[[Embedded], torch.Tensor]


def cosines(batch: Embedded) -> torch.Tensor:
    """(S, N, N): texts are rows. Where the score is no dot product, the scores, as of one space."""
    if batch.scores is not None:
        return batch.scores(batch.texts, batch.videos).unsqueeze(0)
    return torch.einsum("tsd,vsd->stv", batch.texts, batch.videos)


def twins(batch: Embedded) -> torch.Tensor:
    """(N, N) whether text i also describes video j, its own included."""
    if batch.items is None:
        return torch.eye(len(batch.texts), dtype=torch.bool, device=batch.texts.device)
    return batch.items[:, None] == batch.items[None, :]
