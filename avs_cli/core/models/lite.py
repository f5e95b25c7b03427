"""The two sides of lite: features of a small image network, and of MiniLM, mapped into one space.

Frames   one linear layer over the square roots of pooled features and of class probabilities, and the class scores
Texts    a two-layer network over a sentence's mean vector and learned attention over its word pieces, plus a vector of
         its own for every word piece that the captions had often enough

In files, large matrices are 8-bit integers with a scale per row.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import gelu, normalize

from avs_cli.core.models.efficientnet_lite0 import CLASSES

FEATURES, WORDS, VOCABULARY = 1280, 384, 30522
UNKNOWN = -1
# Matrices of at least as many numbers are quantised, which changes scores in their fourth digit.
LARGE = 1 << 16
SCALE = ".scale"


class Sentences(NamedTuple):
    """B texts of at most K word pieces, as MiniLM encodes them.

    means   (B, 384) float32: unit vectors of the sentences
    states  (B, K, 384) float32: hidden states of the word pieces
    pieces  (B, K) int64: their ids in the vocabulary
    there   (B, K) bool: which of the K are word pieces of the text
    """

    means: torch.Tensor
    states: torch.Tensor
    pieces: torch.Tensor
    there: torch.Tensor


class FrameSide(nn.Module):
    """Maps features of frames to vectors of unit length."""

    def __init__(self, dim: int, dropout: float = 0.0):
        super().__init__()
        self.layer = nn.Linear(FEATURES + 2 * CLASSES, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, 1280) pooled features and (B, 1000) class scores to (B, dim)."""
        # Square roots keep a few strong features from deciding everything; a third brings the parts to like lengths.
        parts = [pooled.clamp_min(0).sqrt() / 3, scores.softmax(1).sqrt(), normalize(scores, dim=1)]
        return normalize(self.layer(self.dropout(torch.cat(parts, 1))), dim=1)


class TextSide(nn.Module):
    """Maps texts to vectors of unit length.

    known         (V,) the ids of the word pieces that have a vector of their own
    dropout       of inputs and of the hidden layer
    piece_dropout of word pieces, for attention and for their own vectors
    """

    known: torch.Tensor
    rows: torch.Tensor

    def __init__(
        self,
        dim: int,
        hidden: int,
        queries: int,
        known: torch.Tensor,
        dropout: float = 0.0,
        piece_dropout: tuple[float, float] = (0.0, 0.0),
    ):
        super().__init__()
        self.queries = nn.Linear(WORDS, queries)
        self.first = nn.Linear(WORDS * (1 + queries), hidden)
        self.second = nn.Linear(hidden, dim)
        self.own = nn.Embedding(len(known), dim)
        nn.init.normal_(self.own.weight, std=0.02)
        self.register_buffer("known", known.to(torch.int16))
        rows = torch.full((VOCABULARY,), UNKNOWN)
        rows[known.long()] = torch.arange(len(known))
        self.register_buffer("rows", rows, persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.piece_dropout = piece_dropout

    def forward(self, texts: Sentences) -> torch.Tensor:
        """(B, dim)."""
        seen = self._without_some(texts.there, self.piece_dropout[0])
        shares = self.queries(texts.states).masked_fill(~seen.unsqueeze(-1), -1e4).softmax(1)
        attended = normalize(torch.einsum("bkh,bkd->bhd", shares, texts.states), dim=2).flatten(1)
        inner = gelu(self.first(self.dropout(torch.cat([texts.means, attended], 1))))
        rows = self.rows[texts.pieces]
        counted = self._without_some(seen & (rows != UNKNOWN), self.piece_dropout[1]).unsqueeze(-1)
        own = (self.own(rows.clamp_min(0)) * counted).sum(1) / counted.sum(1).clamp_min(1).sqrt()
        return normalize(self.second(self.dropout(inner)) + own, dim=1)

    def _without_some(self, there: torch.Tensor, share: float) -> torch.Tensor:
        """While training, the mask without a share of its word pieces; texts of one or two keep theirs."""
        if not self.training or not share:
            return there
        return there & ((torch.rand(there.shape) >= share) | (there.sum(1, keepdim=True) < 3))


def quantised(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with large matrices as int8, each with the scales of its rows beside it; the others as float32."""
    found = {}
    for name, tensor in state.items():
        if tensor.dim() != 2 or tensor.numel() < LARGE:
            found[name] = tensor.contiguous()
            continue
        scale = tensor.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        found[name] = (tensor / scale).round().to(torch.int8)
        found[name + SCALE] = scale.squeeze(1)
    return found


def dequantised(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of what `quantised` made of it; raises KeyError for integers without scales."""
    return {
        name: tensor * tensors[name + SCALE].unsqueeze(1) if tensor.dtype == torch.int8 else tensor
        for name, tensor in tensors.items()
        if not name.endswith(SCALE)
    }
