"""AFA: attentional frame aggregation into one vector per video (Tian et al., CVPR 2024, pp. 17138-17147,
arXiv:2308.01217: the student of TeachCLIP), over the frames of any stored feature.

Its frame weights can be distilled from a teacher (`avs distill`); `avs train` trains it without one. Unlike in the
published student, padding frames are always masked.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from avs_cli.core.models.clip.temporal import Header, Student, Watched
from avs_cli.core.models.heads.framed import FramedHead
from avs_cli.core.models.layers import Input, Vectors, unit
from avs_cli.core.models.text.words import TextEncoder


class AFA(FramedHead):
    """One space; the score is the cosine."""

    def __init__(
        self,
        videos: Sequence[Input],
        texts: Sequence[Input],
        encoders: Sequence[tuple[str, TextEncoder]],
        dim: int,
        frames: int,
        dropout: float,
        pool: Student,
    ):
        super().__init__(videos, texts, encoders, "afa", dim, frames, dropout)
        self.pool = pool
        # Scores are cosines; the temperature is a setting of the objective.
        self.pool.logit_scale.requires_grad_(False)

    def watch_videos(self, vectors: Sequence[Vectors]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(N, 1, d), rows of unit length, and (N, F) logits; None with mean pooling."""
        watched: Watched = self.pool(*self.seen(vectors))
        return unit(watched.vectors).unsqueeze(1), watched.logits

    def embed_videos(self, vectors: Sequence[Vectors]) -> torch.Tensor:
        """(N, 1, d), rows of unit length."""
        return self.watch_videos(vectors)[0]

    def embed_texts(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, 1, d), rows of unit length."""
        return unit(self.written(vectors, sentences)).unsqueeze(1)


def build(
    videos: Sequence[Input],
    texts: Sequence[Input],
    encoders: Sequence[tuple[str, TextEncoder]],
    dim: int = 512,
    frames: int = 12,
    dropout: float = 0.0,
    header: Header = "meanp",
    layers: int = 4,
    pooling: Literal["attention", "mean"] = "attention",
    temperature: float = 0.1,
) -> AFA:
    """The head over these features; header=seqtransf adds a temporal transformer."""
    pool = Student(dim, frames, layers, header=header, pooling=pooling, temperature=temperature, masked=True)
    return AFA(videos, texts, encoders, dim, frames, dropout, pool)


def footprint(settings: Mapping[str, Any], videos: int, texts: int) -> tuple[int, int, int]:
    """One dot product."""
    return settings["dim"], 0, settings["dim"]
