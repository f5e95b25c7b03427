"""X-Pool over stored features: each text pools the frames of a video by its own attention (Gorti et al., CVPR 2022,
arXiv:2203.15086).

The vector of a video depends on the text, so that a search costs several hundred times as much as with a dot product:
this head is meant as a teacher for `avs distill`. If `masked`, padding frames are excluded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from avs_cli.core.models.heads.framed import MOST, FramedHead
from avs_cli.core.models.layers import Input, Vectors
from avs_cli.core.models.teachers import teachers
from avs_cli.core.models.text.words import TextEncoder


class XPoolHead(FramedHead):
    """A score is the cosine of a text and a vector of the video that depends on the text."""

    one_product = False

    def __init__(
        self,
        videos: Sequence[Input],
        texts: Sequence[Input],
        encoders: Sequence[tuple[str, TextEncoder]],
        dim: int,
        frames: int,
        dropout: float,
        masked: bool,
    ):
        super().__init__(videos, texts, encoders, "xpool", dim, frames, dropout)
        self.pool: Any = teachers.load("xpool")(dim, frames, 1, masked=masked, dropout=0.0)
        self.pool.logit_scale.requires_grad_(False)

    def embed_videos(self, vectors: Sequence[Vectors]) -> torch.Tensor:
        """(N, F, d): the frames, not normalised; padded with zeros."""
        return self.seen(vectors)[0]

    def embed_texts(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, 1, d), not normalised."""
        return self.written(vectors, sentences).unsqueeze(1)

    def scores(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        """(T, 1, d) and (V, F, d) to (T, V)."""
        scale: torch.Tensor = self.pool.logit_scale.exp()
        seen = self.pool.embed_videos(videos, videos.any(-1))
        size = len(texts) if torch.is_grad_enabled() else max(1, MOST // max(1, len(videos) * videos.shape[2]))
        parts = [texts[low : low + size, 0] for low in range(0, len(texts), size)]
        scores = torch.cat([self.pool.similarities(self.pool.embed_texts(part), seen) for part in parts])
        return scores / scale

    def relevance(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        """(N, 1, d) and (N, F, d) to (N, F)."""
        seen = self.pool.embed_videos(videos, videos.any(-1))
        shares: torch.Tensor = self.pool.relevance(self.pool.embed_texts(texts[:, 0]), seen)
        return shares


def build(
    videos: Sequence[Input],
    texts: Sequence[Input],
    encoders: Sequence[tuple[str, TextEncoder]],
    dim: int = 512,
    frames: int = 12,
    dropout: float = 0.0,
    masked: bool = True,
) -> XPoolHead:
    """The head over these features."""
    return XPoolHead(videos, texts, encoders, dim, frames, dropout, masked)


def footprint(settings: Mapping[str, Any], videos: int, texts: int) -> tuple[int, int, int]:
    """The teacher's, over its frames."""
    cost: tuple[int, int, int] = teachers.module("xpool").footprint(settings["dim"], settings["frames"], 1)
    return cost
