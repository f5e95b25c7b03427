"""SEA: sentence encoder assembly, one shared space per text feature (Li, Zhou, Xu, Ji, Xie and Yang, IEEE Transactions
on Multimedia 2021, doi:10.1109/TMM.2020.3042067).

The score is the sum of the cosines of the spaces. Several video features are concatenated; frame-level
features are averaged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from avs_cli.core.models.layers import Head, Input, Transform, Vectors, mean_rows, unit
from avs_cli.core.models.text.words import TextEncoder


class SEA(Head):
    """One space per text feature."""

    weight = 1.0

    def __init__(
        self,
        videos: Sequence[Input],
        texts: Sequence[Input],
        encoders: Sequence[tuple[str, TextEncoder]],
        dim: int,
        dropout: float,
        norm: bool,
    ):
        super().__init__(videos, texts, encoders)
        seen = sum(video.dim for video in videos)
        written = [*(text.dim for text in texts), *(encoder.dim for _, encoder in encoders)]
        self.spaces = len(written)
        self.video = nn.ModuleList(Transform(seen, dim, dropout, norm, norm_first=True, counted=False) for _ in written)
        self.text = nn.ModuleList(Transform(one, dim, dropout, norm, norm_first=True) for one in written)

    def embed_videos(self, vectors: Sequence[Vectors]) -> torch.Tensor:
        """(N, S, d), rows of unit length."""
        together = torch.cat([mean_rows(x) for x in vectors], dim=1)
        return unit(torch.stack([transform(together) for transform in self.video], dim=1))

    def embed_texts(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, S, d), rows of unit length."""
        written = self.encoded(vectors, sentences)
        return unit(torch.stack([transform(x) for transform, x in zip(self.text, written, strict=True)], dim=1))


def build(
    videos: Sequence[Input],
    texts: Sequence[Input],
    encoders: Sequence[tuple[str, TextEncoder]],
    dim: int = 2048,
    dropout: float = 0.2,
    norm: bool = False,
) -> SEA:
    """The head over these features."""
    return SEA(videos, texts, encoders, dim, dropout, norm)


def footprint(settings: Mapping[str, Any], videos: int, texts: int) -> tuple[int, int, int]:
    """A dot product per text feature."""
    numbers = settings["dim"] * texts
    return numbers, 0, numbers
