"""LAFF: lightweight attentional feature fusion on both ends (Hu, Chen, Wang, Dong and Li, ECCV 2022, arXiv:2112.01832).

Each feature is mapped to D dimensions; H heads weight the features, each in its own D / H of them. A score is the mean
of the heads' cosines, which is one dot product of the concatenated heads. Frame-level features are first pooled by an
attention of their own (LAFF-ml).

We differ from the published code where a remark stands in `_blocks.py`: unit length at zero, no bias in the attention,
no padding in it. Its default for CLIP, the raw feature, must be requested (`raw=clip`).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from avs_cli.core.models.layers import (
    Attention,
    FramePooling,
    Head,
    Input,
    Ragged,
    Transform,
    Vectors,
    mean_rows,
    plain_side,
)
from avs_cli.core.models.text.words import TextEncoder
from avs_cli.errors import SpecError


class Mean(nn.Module):
    """The mean of the features as one head, not normalised: the baseline of attention."""

    def forward(self, xs: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack(list(xs), dim=1).mean(1, keepdim=True)


class Side(nn.Module):
    """One end: L features to (N, H, d)."""

    def __init__(
        self,
        inputs: Sequence[tuple[str, int]],
        dim: int,
        fusion: nn.Module,
        raw: Sequence[str],
        dropout: float,
        norm: bool,
        raw_norm: bool = True,
        counted: bool = True,
    ):
        super().__init__()
        for name, source in inputs:
            if name in raw and dim % source:
                raise SpecError(f"a raw feature is repeated to {dim} numbers, and {name} has {source}; change dim")
        transforms = [
            Transform(source, dim, dropout, raw_norm if name in raw else norm, name in raw, counted=counted)
            for name, source in inputs
        ]
        self.transforms = nn.ModuleList(transforms)
        self.fusion = fusion
        self.counted = counted
        plain = isinstance(fusion, Attention) and fusion.split and not (fusion.mul or fusion.ave or fusion.unit_first)
        self.by_heads = plain and all(transform.plain for transform in transforms)
        self.dropout = max((transform.dropout for transform in transforms), default=0.0)

    @property
    def ordered(self) -> list[Any]:
        """The transforms, as a list."""
        return list(self.transforms)

    def transformed(self, vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(N, D) of each feature."""
        return [transform(x) for transform, x in zip(self.transforms, vectors, strict=True)]

    def forward(self, vectors: Sequence[torch.Tensor]) -> torch.Tensor:
        fusion, cpu = self.fusion, vectors[0].device.type == "cpu"
        if isinstance(fusion, Attention) and self.by_heads and cpu and not torch.is_autocast_enabled("cpu"):
            if torch.is_grad_enabled():
                operands = [transform.operands(x) for transform, x in zip(self.ordered, vectors, strict=True)]
                dropout = self.dropout if self.training else 0.0
                return plain_side(dropout, fusion.a, *itertools.chain(*zip(*operands, strict=True)))
            if not self.counted and not self.training:
                return torch.cat([self.head(fusion, vectors, number) for number in range(fusion.heads)], dim=1)
        fused: torch.Tensor = self.fusion(self.transformed(vectors))
        return fused

    def head(self, fusion: Attention, vectors: Sequence[torch.Tensor], number: int) -> torch.Tensor:
        """(N, 1, d) of one head, whose dimensions of all features fit into the cache."""
        columns = slice(number * fusion.width, (number + 1) * fusion.width)
        xs = [transform.part(x, columns) for transform, x in zip(self.ordered, vectors, strict=True)]
        return fusion.forward(xs, slice(number, number + 1))


class LAFF(Head):
    """Both ends, and the attention over frames of video features."""

    def __init__(
        self,
        videos: Sequence[Input],
        texts: Sequence[Input],
        encoders: Sequence[tuple[str, TextEncoder]],
        ends: tuple[Side, Side],
        spaces: int,
        frames: nn.ModuleList,
    ):
        super().__init__(videos, texts, encoders)
        self.video, self.text = ends
        self.frames = frames
        self.spaces, self.weight = spaces, 1 / spaces
        self.unit_length = isinstance(ends[0].fusion, Attention)

    def pooled(self, vectors: Sequence[Vectors]) -> list[torch.Tensor]:
        """One vector per feature and video."""
        return [
            pooling(x) if isinstance(x, Ragged) and isinstance(pooling, FramePooling) else mean_rows(x)
            for pooling, x in zip(self.frames, vectors, strict=True)
        ]

    def embed_videos(self, vectors: Sequence[Vectors]) -> torch.Tensor:
        """(N, S, d), rows of unit length."""
        embedded: torch.Tensor = self.video(self.pooled(vectors))
        return embedded

    def embed_texts(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, S, d), rows of unit length."""
        embedded: torch.Tensor = self.text(self.encoded(vectors, sentences))
        return embedded

    def video_weights(self, vectors: Sequence[Vectors]) -> torch.Tensor | None:
        """(N, S, L)."""
        return _weights(self.video, self.pooled(vectors))

    def text_weights(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor | None:
        """(N, S, L)."""
        return _weights(self.text, self.encoded(vectors, sentences))

    def begin_epoch(self) -> None:
        """Decrease the weight of the sum in `ave`."""
        for side in (self.video, self.text):
            if isinstance(side.fusion, Attention):
                side.fusion.begin_epoch()


def _weights(side: Side, vectors: Sequence[torch.Tensor]) -> torch.Tensor | None:
    return side.fusion.weights(side.transformed(vectors)) if isinstance(side.fusion, Attention) else None


def build(
    videos: Sequence[Input],
    texts: Sequence[Input],
    encoders: Sequence[tuple[str, TextEncoder]],
    dim: int = 4096,
    heads: int = 8,
    dropout: float = 0.2,
    raw: str = "",
    norm: bool = False,
    split: bool = True,
    ave: bool = False,
    mul: bool = False,
    rate: float = 0.8,
    unit_first: bool = False,
    fusion: Literal["attention", "mean"] = "attention",
    frames: Literal["attention", "mean"] = "attention",
    max_frames: int = 50,
    raw_norm: bool = True,
) -> LAFF:
    """The head over these features; `raw` names features, joined by +, that are repeated instead of transformed."""
    if split and dim % heads:
        raise SpecError(f"laff: {heads} heads cannot share {dim} dimensions equally")
    own = [(name, encoder.dim) for name, encoder in encoders]
    sides = [(video.name, video.dim) for video in videos], [*((text.name, text.dim) for text in texts), *own]
    untouched = [name for name in raw.split("+") if name]
    if lacking := [name for name in untouched if name not in {name for side in sides for name, _ in side}]:
        raise SpecError(f"laff: raw names {lacking[0]!r}, which is not among the features")

    def side(inputs: list[tuple[str, int]], raw_norm: bool, counted: bool) -> Side:
        block = Attention(dim, heads, split, ave, mul, unit_first, rate) if fusion == "attention" else Mean()
        return Side(inputs, dim, block, untouched, dropout, norm, raw_norm, counted)

    pooling = nn.ModuleList(
        FramePooling(video.dim, max_frames) if video.frames and frames == "attention" else nn.Identity()
        for video in videos
    )
    ends = side(sides[0], True, counted=False), side(sides[1], raw_norm, counted=True)
    spaces = heads if fusion == "attention" else 1
    return LAFF(videos, texts, encoders, ends, spaces, pooling)


def footprint(settings: Mapping[str, Any], videos: int, texts: int) -> tuple[int, int, int]:
    """One dot product of the concatenated heads."""
    apart = settings["fusion"] == "attention" and not settings["split"]
    numbers = settings["dim"] * (settings["heads"] if apart else 1)
    return numbers, 0, numbers
