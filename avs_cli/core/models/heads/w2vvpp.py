"""W2VV++: all features concatenated, one linear map and tanh per end (Li, Xu, Yang, Chen and Dong, ACM MM 2019,
doi:10.1145/3343031.3350906).

Unlike in the published code, a zero vector stays zero when normalised. Frame-level features are averaged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from avs_cli.core.models.layers import Head, Input, Transform, Vectors, mean_rows, unit
from avs_cli.core.models.text.words import TextEncoder


class W2VVPP(Head):
    """One space; the score is the cosine."""

    spaces = 1
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
        written = sum(text.dim for text in texts) + sum(encoder.dim for _, encoder in encoders)
        seen = sum(video.dim for video in videos)
        self.video = Transform(seen, dim, dropout, norm, norm_first=True, counted=False)
        self.text = Transform(written, dim, dropout, norm, norm_first=True)

    def embed_videos(self, vectors: Sequence[Vectors]) -> torch.Tensor:
        """(N, 1, d), rows of unit length."""
        return unit(self.video(torch.cat([mean_rows(x) for x in vectors], dim=1))).unsqueeze(1)

    def embed_texts(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, 1, d), rows of unit length."""
        return unit(self.text(torch.cat(self.encoded(vectors, sentences), dim=1))).unsqueeze(1)


def build(
    videos: Sequence[Input],
    texts: Sequence[Input],
    encoders: Sequence[tuple[str, TextEncoder]],
    dim: int = 2048,
    dropout: float = 0.2,
    norm: bool = False,
) -> W2VVPP:
    """The head over these features."""
    return W2VVPP(videos, texts, encoders, dim, dropout, norm)


def footprint(settings: Mapping[str, Any], videos: int, texts: int) -> tuple[int, int, int]:
    """One dot product."""
    return settings["dim"], 0, settings["dim"]
