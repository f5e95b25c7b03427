"""The base class of heads over single frames, with a fixed number of frames per video."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import nn

from avs_cli.core.models.clip.sampling import kept
from avs_cli.core.models.layers import Head, Input, Ragged, Vectors, dropout
from avs_cli.core.models.text.words import TextEncoder
from avs_cli.errors import SpecError

# Maximum size of the largest array over texts and videos when there is no gradient.
MOST = 1 << 24


def framed(x: Ragged, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ragged items of n dimensions to (N, count, n), and the (N, count) mask of frames.

    Items with more frames are sampled by `clip.sampling.kept`; those with fewer are padded with zeros.
    """
    lengths = x.offsets.diff()
    device = x.offsets.device
    place = torch.tensor([_places(length, count) for length in lengths.tolist()], device=device).view(-1, count)
    there = torch.arange(count, device=device) < lengths[:, None]
    rows = (x.offsets[:-1, None] + place).clamp_max(max(0, len(x.vectors) - 1))
    return x.vectors[rows] * there[:, :, None], there


@cache
def _places(length: int, count: int) -> tuple[int, ...]:
    """Indices of the sampled frames of `length`, at most `count`."""
    chosen = kept(length, count)
    return (*chosen, *[0] * (count - len(chosen)))


class FramedHead(Head):
    """Linear maps of texts and of the frames of one feature to a space of `dim` dimensions.

    Features of whole videos, if any, are concatenated to each frame.

    frames   maximum number of frames; of more, evenly spaced ones are sampled
    dropout  dropout rate of mapped vectors
    """

    spaces = 1
    weight = 1.0

    def __init__(
        self,
        videos: Sequence[Input],
        texts: Sequence[Input],
        encoders: Sequence[tuple[str, TextEncoder]],
        kind: str,
        dim: int,
        frames: int,
        dropout: float,
    ):
        super().__init__(videos, texts, encoders)
        if sum(video.frames for video in videos) != 1:
            raise SpecError(
                f"{kind} looks at the frames of one video feature; give one whose stores have several vectors per "
                "item, from avs extract --pool none"
            )
        self.frames, self.dropout = frames, dropout
        self.video = nn.Linear(sum(video.dim for video in videos), dim)
        self.text = nn.Linear(sum(text.dim for text in texts) + sum(encoder.dim for _, encoder in encoders), dim)

    def seen(self, vectors: Sequence[Vectors]) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, F, dim) frames, padded with zeros, and their (N, F) mask."""
        (ragged,) = (x for x in vectors if isinstance(x, Ragged))
        whole = [x for x in vectors if isinstance(x, torch.Tensor)]
        # Zero rows are masked too: a search pads its last block with such shots.
        frames, there = framed(ragged, self.frames)
        there = there & frames.any(-1)
        frames = torch.cat([frames, *(x[:, None].expand(-1, self.frames, -1) for x in whole)], dim=2)
        return self.dropped(self.video(frames)) * there[:, :, None], there

    def written(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, dim) texts, not normalised."""
        return self.dropped(self.text(torch.cat(self.encoded(vectors, sentences), dim=1)))

    def dropped(self, x: torch.Tensor) -> torch.Tensor:
        """Mapped vectors with dropout."""
        return dropout(x, self.dropout, self.training)
