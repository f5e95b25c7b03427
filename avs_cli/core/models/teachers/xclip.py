"""X-CLIP (Ma et al. 2022, ACM MM, arXiv:2207.07285): sentence and words matched with video and frames.

Four scores: video-sentence, video-word, sentence-frame, frame-word; those over words or frames are sums weighted by
the scores themselves. As published, padded words and frames are included; `masked` excludes padded frames, and words
that a mask excludes. The numbers of words and frames are those of training. The relevance of frames is the softmax of
the cosines between CLIP's frames and the sentence, at temperature 1, as in TeachCLIP.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.temporal import UNCOUNTED, Header, Temporal, masked_mean
from avs_cli.core.models.clip.towers import fill
from avs_cli.core.models.layers import unit
from avs_cli.core.models.teachers.base import Arrays, Teacher, need_words

SHARPNESS = 100.0
SIGN = "global_mat_weight"
PUBLISHED = {
    **checkpoints.TEMPORAL,
    "global_mat_weight": "video_sentence",
    "word_logit_weight": "video_words",
    "frame_logit_weight": "sentence_frames",
    "local_mat_weight": "frame_word",
    "word_mat_weight": "words",
    "frame_mat_weight": "frames",
    "word_mat_weight2": "words_last",
    "frame_mat_weight2": "frames_last",
}
_UNUSED = (*checkpoints.UNUSED, "frametransformer.")


class Terms(NamedTuple):
    """The four scores, (N, M) each, without the scale."""

    video_sentence: torch.Tensor
    video_word: torch.Tensor
    sentence_frame: torch.Tensor
    frame_word: torch.Tensor


class XClip(Teacher):
    """Matrices start as the identity; arrays are unit vectors, `sentence`, `words`, `video`, `frames`, and masks."""

    reads_words = True

    def __init__(
        self, dim: int, frames: int, words: int, header: Header, layers: int, heads: int, positions: int, masked: bool
    ):
        super().__init__(masked)
        self.temporal = Temporal(dim, positions, layers, heads) if header == "seqtransf" else None
        self.video_sentence, self.frame_word = (nn.Parameter(torch.eye(dim)) for _ in range(2))
        self.video_words, self.words, self.words_last = (nn.Parameter(torch.eye(words)) for _ in range(3))
        self.sentence_frames, self.frames, self.frames_last = (nn.Parameter(torch.eye(frames)) for _ in range(3))

    def embed_texts(
        self, sentences: torch.Tensor, words: torch.Tensor | None = None, spoken: torch.Tensor | None = None
    ) -> Arrays:
        """`spoken` is the (N, W) mask of words; None: all are valid.

        Raises MismatchError without words, or for another number of words than in training.
        """
        words = need_words("xclip", words, len(self.video_words))
        arrays = {"sentence": unit(sentences), "words": unit(words)}
        return arrays if spoken is None else arrays | {"spoken": spoken.to(words.dtype)}

    def embed_videos(
        self, frames: torch.Tensor, mask: torch.Tensor, generator: torch.Generator | None = None
    ) -> Arrays:
        """Raises MismatchError for another number of frames than in training."""
        self.need_frames(frames, len(self.sentence_frames))
        mask = mask.to(frames.dtype)
        seen = frames if self.temporal is None else self.temporal(frames, mask)
        return {"video": unit(masked_mean(unit(seen), mask)), "frames": unit(frames), "mask": mask}

    def terms(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> Terms:
        """The four scores of all pairs."""
        sentence, words, video, frames = texts["sentence"], texts["words"], videos["video"], videos["frames"]
        there = videos["mask"] if self.masked else None  # (M, F)
        spoken = texts["spoken"][:, None] if self.masked and "spoken" in texts else None  # (N, 1, W)
        fine = torch.einsum("iwd,jfd->ijwf", words @ self.frame_word, frames)
        by_frame = gated(fine.transpose(2, 3), self.words, None if spoken is None else spoken[:, None])  # (N, M, F)
        by_word = gated(fine, self.frames, None if there is None else there[:, None])  # (N, M, W)
        return Terms(
            sentence @ self.video_sentence @ video.T,
            gated(torch.einsum("iwd,jd->ijw", words, video), self.video_words, spoken),
            gated(torch.einsum("id,jfd->ijf", sentence, frames), self.sentence_frames, there),
            (gated(by_frame, self.frames_last, there) + gated(by_word, self.words_last, spoken)) / 2,
        )

    def similarities(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mean of the four scores."""
        found = self.terms(texts, videos)
        return self.logit_scale.exp() * torch.stack(list(found)).sum(0) / len(found)

    def relevance(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Relevance of CLIP's frames, before the header."""
        cosines = torch.einsum("nd,nfd->nf", texts["sentence"], videos["frames"])
        return self.counted(cosines, videos).softmax(1)

    def load_published(self, state: Mapping[str, torch.Tensor]) -> Arrays:
        """Load the authors' `pytorch_model.bin`."""
        clip, own = checkpoints.parts(state, PUBLISHED, "X-CLIP", _UNUSED)
        fill(self, own, "X-CLIP")
        return clip


def gated(x: torch.Tensor, mixing: torch.Tensor, there: torch.Tensor | None = None) -> torch.Tensor:
    """The last axis, of K scores, as their sum weighted by softmax(100 x) times the (K, K) matrix.

    there  1 for valid scores, broadcast to x; None: all are valid
    """
    if there is None:
        return (x * ((x * SHARPNESS).softmax(-1) @ mixing)).sum(-1)
    weights = (x * SHARPNESS + (1 - there) * UNCOUNTED).softmax(-1) @ mixing
    return (x * weights * there).sum(-1)


def build(
    dim: int,
    frames: int,
    words: int,
    header: Header = "seqtransf",
    masked: bool = False,
    layers: int = 4,
    heads: int = 0,
    positions: int = 77,
) -> XClip:
    """The teacher for vectors of `dim` dimensions, `frames` frames per video and `words` tokens per text."""
    return XClip(dim, frames, words, header, layers, heads, positions, masked)


def footprint(dim: int, frames: int, words: int) -> tuple[int, int, int]:
    """Products, gates, numbers stored: one vector of the video and those of its frames."""
    fine = frames * words**2 + words * frames**2 + frames**2 + words**2
    return dim * (1 + words + frames + frames * words), words**2 + frames**2 + fine, dim * (1 + frames)
