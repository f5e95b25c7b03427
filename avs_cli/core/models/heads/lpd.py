"""LPD: a common space per pair of a video feature and a text feature (Hu, Xin and Li, ACM MM 2025, arXiv:2508.02340).

Each space has its own transform of its video feature and of its text feature. A score is the mean of the cosines of the
spaces, which is one dot product. Frame-level features are averaged. The objective `decorrelated` trains it as LPD's.

Written from the paper's abstract: its equations and code were not available, so transforms are those of LAFF.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import nn

from avs_cli.core.models.layers import Head, Input, Transform, Vectors, mean_rows, unit
from avs_cli.core.models.text.words import TextEncoder


class LPD(Head):
    """One space per pair of features, the spaces of a video feature one after the other."""

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
        written = [*(text.dim for text in texts), *(encoder.dim for _, encoder in encoders)]
        pairs = list(product((video.dim for video in videos), written))
        self.spaces, self.weight = len(pairs), 1 / len(pairs)
        self.video = nn.ModuleList(Transform(seen, dim, dropout, norm, counted=False) for seen, _ in pairs)
        self.text = nn.ModuleList(Transform(read, dim, dropout, norm) for _, read in pairs)

    def embed_videos(self, vectors: Sequence[Vectors]) -> torch.Tensor:
        """(N, S, d), rows of unit length."""
        pairs = product(map(mean_rows, vectors), self.text_names)
        return unit(torch.stack([map(x) for map, (x, _) in zip(self.video, pairs, strict=True)], dim=1))

    def embed_texts(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, S, d), rows of unit length."""
        pairs = product(self.videos, self.encoded(vectors, sentences))
        return unit(torch.stack([map(x) for map, (_, x) in zip(self.text, pairs, strict=True)], dim=1))


def build(
    videos: Sequence[Input],
    texts: Sequence[Input],
    encoders: Sequence[tuple[str, TextEncoder]],
    dim: int = 512,
    dropout: float = 0.2,
    norm: bool = False,
) -> LPD:
    """The head over these features, with `dim` dimensions in each space."""
    return LPD(videos, texts, encoders, dim, dropout, norm)


def footprint(settings: Mapping[str, Any], videos: int, texts: int) -> tuple[int, int, int]:
    """A dot product per pair of features."""
    numbers = settings["dim"] * videos * texts
    return numbers, 0, numbers
