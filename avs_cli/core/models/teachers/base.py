"""The common interface of teachers.

A teacher scores texts against videos and weights the frames of each video for its own text. The scores
depend on the pair; the arrays that it computes of each text and each video do not, and can be cached:

    texts = teacher.embed_texts(sentences, words)     # name -> (N, ...), row i is text i's
    videos = teacher.embed_videos(frames, mask)       # name -> (M, ...), row j is video j's
    teacher.similarities(texts, videos)               # (N, M)
    teacher.relevance(texts, videos)                  # (N, F), text i with video i

The inputs are outputs of CLIP's towers (`core/models/clip/towers.py`), or any vectors of frames, words and sentences in
a joint space.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from avs_cli.core.models.clip.temporal import UNCOUNTED
from avs_cli.errors import MismatchError

Arrays = dict[str, torch.Tensor]


class Teacher(nn.Module):
    """A model that scores pairs of texts and videos, multiplied by a learnt scale.

    takes         "frames": `embed_videos` takes (M, F, D) vectors of frames; "tokens": (M, F, 1 + P, D), the frame's
                  own vector and then those of its P patches
    reads_words   whether `embed_texts` uses words
    shifted       blocks of its image tower that shift patches between neighbouring frames
    masked        whether padding is excluded from the targets and from attention over frames; the published models
                  include it
    """

    takes: Literal["frames", "tokens"] = "frames"
    reads_words = False
    shifted: tuple[int, ...] = ()

    def __init__(self, masked: bool = False):
        super().__init__()
        self.masked = masked
        self.logit_scale = nn.Parameter(torch.tensor(100.0).log())

    def forward(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.similarities(texts, videos)

    def embed_texts(self, sentences: torch.Tensor, words: torch.Tensor | None = None) -> Arrays:
        """(N, D) sentences, (N, W, D) words, not normalised, to arrays with one row per text."""
        raise NotImplementedError

    def embed_videos(
        self, frames: torch.Tensor, mask: torch.Tensor, generator: torch.Generator | None = None
    ) -> Arrays:
        """(M, F, D) frames (or tokens) and their (M, F) mask to arrays with one row per video.

        `generator` is for teachers with random noise.
        """
        raise NotImplementedError

    def similarities(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(N, M) scaled scores of every text with every video."""
        raise NotImplementedError

    def relevance(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(N, F) relevance of the frames of video i for text i; rows sum to 1."""
        raise NotImplementedError

    def load_published(self, state: Mapping[str, torch.Tensor]) -> Arrays:
        """Load a checkpoint of the authors; returns the weights of CLIP's towers, by the names of OpenAI's CLIP.

        Raises MismatchError for an unexpected or missing weight.
        """
        raise NotImplementedError

    def counted(self, logits: torch.Tensor, videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(N, F) logits; if masked, with padding set so low that its softmax is zero."""
        return logits + (1 - videos["mask"].to(logits.dtype)) * UNCOUNTED if self.masked else logits

    def need_frames(self, frames: torch.Tensor, count: int) -> None:
        """Raises MismatchError for another number of frames than `count`."""
        if frames.shape[1] != count:
            raise MismatchError(f"this teacher was made for {count} frames a video, not {frames.shape[1]}")


def need_words(teacher: str, words: torch.Tensor | None, count: int) -> torch.Tensor:
    """The words. Raises MismatchError unless there are `count` words."""
    if words is None:
        raise MismatchError(f"{teacher} needs word-level text features, and these are sentence-level")
    if words.shape[1] != count:
        raise MismatchError(f"{teacher} was made for {count} words a text, not {words.shape[1]}")
    return words
