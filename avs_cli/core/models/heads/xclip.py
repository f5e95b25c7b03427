"""X-CLIP over stored features: a text's sentence and words against a video's mean and frames (Ma et al., ACM MM 2022,
arXiv:2207.07285).

The words come from one text feature: `avs extract --text FILE` with `--model clip:output=words`, as in the paper, or
`minilm:output=words`. The sentence is a map of all text features, including the mean of the words, so that CLIP's
sentences (`--model clip`) should be given along with CLIP's words. Like `xpool`, it is meant as a teacher for
`avs distill`. If `masked`, padding frames and words are excluded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from avs_cli.core.models.clip.temporal import Header
from avs_cli.core.models.heads.framed import MOST, FramedHead, framed
from avs_cli.core.models.layers import Input, Ragged, Vectors, first_rows
from avs_cli.core.models.teachers import teachers
from avs_cli.core.models.text.words import TextEncoder
from avs_cli.errors import SpecError


class XClipHead(FramedHead):
    """Scores are the mean of four terms, each a cosine or a weighted sum of cosines."""

    one_product = False

    def __init__(
        self,
        videos: Sequence[Input],
        texts: Sequence[Input],
        encoders: Sequence[tuple[str, TextEncoder]],
        dim: int,
        dropout: float,
        model: Any,
    ):
        super().__init__(videos, texts, encoders, "xclip", dim, len(model.sentence_frames), dropout)
        spoken = [text.dim for text in texts if text.frames]
        if len(spoken) != 1:
            raise SpecError(
                "xclip looks at the words of one text feature; give one whose stores have several vectors per text, "
                "from avs extract --text FILE --model clip:output=words or minilm:output=words"
            )
        self.words = len(model.video_words)
        self.word = nn.Linear(spoken[0], dim)
        self.model = model
        # The temperature is a setting of the objective.
        self.model.logit_scale.requires_grad_(False)

    def embed_videos(self, vectors: Sequence[Vectors]) -> torch.Tensor:
        """(N, F, d): the frames, not normalised; padded with zeros."""
        return self.seen(vectors)[0]

    def embed_texts(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, 1 + W, d): the sentence and its first W words, not normalised; padded with zeros."""
        (ragged,) = (x for x in vectors if isinstance(x, Ragged))
        words, there = framed(first_rows(ragged, self.words), self.words)
        words = self.dropped(self.word(words)) * there[:, :, None]
        return torch.cat([self.written(vectors, sentences)[:, None], words], dim=1)

    def scores(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        """(T, 1 + W, d) and (V, F, d) to (T, V)."""
        scale: torch.Tensor = self.model.logit_scale.exp()
        seen = self.model.embed_videos(videos, videos.any(-1))
        size = len(texts) if torch.is_grad_enabled() else max(1, MOST // max(1, len(videos) * self.frames * self.words))
        parts = [texts[low : low + size] for low in range(0, len(texts), size)]
        return torch.cat([self.model.similarities(self._said(part), seen) for part in parts]) / scale

    def relevance(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        """(N, 1 + W, d) and (N, F, d) to (N, F)."""
        seen = self.model.embed_videos(videos, videos.any(-1))
        shares: torch.Tensor = self.model.relevance(self._said(texts), seen)
        return shares

    def _said(self, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        words = texts[:, 1:]
        arrays: dict[str, torch.Tensor] = self.model.embed_texts(texts[:, 0], words, words.any(-1))
        return arrays


def build(
    videos: Sequence[Input],
    texts: Sequence[Input],
    encoders: Sequence[tuple[str, TextEncoder]],
    dim: int = 512,
    frames: int = 12,
    words: int = 32,
    dropout: float = 0.0,
    header: Header = "meanp",
    layers: int = 4,
    masked: bool = True,
) -> XClipHead:
    """The head over these features; header=seqtransf adds a temporal transformer."""
    model = teachers.load("xclip")(dim, frames, words, header, masked, layers, positions=frames)
    return XClipHead(videos, texts, encoders, dim, dropout, model)


def footprint(settings: Mapping[str, Any], videos: int, texts: int) -> tuple[int, int, int]:
    """The teacher's, over its frames and words."""
    sizes = [settings[name] for name in ("dim", "frames", "words")]
    cost: tuple[int, int, int] = teachers.module("xclip").footprint(*sizes)
    return cost
