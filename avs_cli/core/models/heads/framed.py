"""Heads that look at a video's frames one by one: as many frames of each video, and what they share."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import nn

from avs_cli.core.models.clip.sampling import kept
from avs_cli.core.models.layers import Head, Input, Ragged, Vectors, dropout
from avs_cli.core.models.text.words import TextEncoder
from avs_cli.errors import SpecError

# Numbers of a head's largest array, over texts and videos, that are made at once where no gradient is wanted.
MOST = 1 << 24


def framed(x: Ragged, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ragged items of n numbers to (N, count, n) and the (N, count) mask of the frames that are there.

    Of more frames those of `clip_sampling.kept` stay; fewer are followed by zeros.
    """
    lengths = x.offsets.diff()
    device = x.offsets.device
    place = torch.tensor([_places(length, count) for length in lengths.tolist()], device=device).view(-1, count)
    there = torch.arange(count, device=device) < lengths[:, None]
    rows = (x.offsets[:-1, None] + place).clamp_max(max(0, len(x.vectors) - 1))
    return x.vectors[rows] * there[:, :, None], there


@cache
def _places(length: int, count: int) -> tuple[int, ...]:
    """Which of `length` frames are taken; where there are fewer, the rest of `count` are zeros."""
    chosen = kept(length, count)
    return (*chosen, *[0] * (count - len(chosen)))


class FramedHead(Head):
    """Texts and the frames of one feature, each through a linear map into one space of `dim` numbers.

    Features of whole videos, if there are any, are put to each of the video's frames.

    frames   a video's frames that count; of more, so many are taken, evenly spread
    dropout  the share of each mapped vector that is left out in training
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
        """(N, F, dim) frames and their (N, F) mask; where there is no frame, zeros."""
        (ragged,) = (x for x in vectors if isinstance(x, Ragged))
        whole = [x for x in vectors if isinstance(x, torch.Tensor)]
        # A row of zeros is no frame either: a search fills its last block up with such shots.
        frames, there = framed(ragged, self.frames)
        there = there & frames.any(-1)
        frames = torch.cat([frames, *(x[:, None].expand(-1, self.frames, -1) for x in whole)], dim=2)
        return self.dropped(self.video(frames)) * there[:, :, None], there

    def written(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, dim) texts, of no certain length."""
        return self.dropped(self.text(torch.cat(self.encoded(vectors, sentences), dim=1)))

    def dropped(self, x: torch.Tensor) -> torch.Tensor:
        """Mapped vectors without those numbers that training leaves out."""
        return dropout(x, self.dropout, self.training)
