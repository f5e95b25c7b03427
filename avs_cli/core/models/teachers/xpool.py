"""X-Pool (Gorti et al. 2022, CVPR, arXiv:2203.15086): text-conditioned attention pooling of the frames of a video.

As published, padded frames are included, unless `masked`.
"""

from collections.abc import Mapping

import torch
from torch import nn

from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.temporal import UNCOUNTED
from avs_cli.core.models.clip.towers import fill
from avs_cli.core.models.layers import unit
from avs_cli.core.models.teachers.base import Arrays, Teacher

SIGN = "pool_frames.linear_proj.weight"
PUBLISHED = {
    f"pool_frames.{theirs}.": f"{ours}."
    for theirs, ours in {
        "cross_attn.q_proj": "query",
        "cross_attn.k_proj": "key",
        "cross_attn.v_proj": "value",
        "cross_attn.out_proj": "out",
        "linear_proj": "linear",
        "layer_norm1": "norm_in",
        "layer_norm2": "norm_out",
        "layer_norm3": "norm_last",
    }.items()
}


class XPool(Teacher):
    """Single-head attention, projections initialised to the identity. Arrays: `sentence`; unchanged `frames` and mask.

    dropout  of the last layer, in training
    """

    def __init__(self, dim: int, masked: bool, dropout: float):
        super().__init__(masked)
        self.dropout = nn.Dropout(dropout)
        self.query, self.key, self.value = identity(dim), identity(dim), identity(dim)
        self.out, self.linear = identity(dim), identity(dim)
        self.norm_in, self.norm_out, self.norm_last = (nn.LayerNorm(dim) for _ in range(3))

    def embed_texts(self, sentences: torch.Tensor, words: torch.Tensor | None = None) -> Arrays:
        """Embed sentences; words are ignored."""
        return {"sentence": sentences}

    def embed_videos(
        self, frames: torch.Tensor, mask: torch.Tensor, generator: torch.Generator | None = None
    ) -> Arrays:
        """Return the frames unchanged."""
        return {"frames": frames, "mask": mask.to(frames.dtype)}

    def shares(self, sentences: torch.Tensor, videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(M, N, D) sentences, or (1, N, D) for all videos, to (M, N, F): attention of each text to frames."""
        query, key = self.query(self.norm_in(sentences)), self.key(self.norm_in(videos["frames"]))
        logits = query @ key.transpose(1, 2) * key.shape[-1] ** -0.5
        if self.masked:
            logits = logits + (1 - videos["mask"][:, None]) * UNCOUNTED
        shares: torch.Tensor = logits.softmax(-1)
        return shares

    def pooled(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(M, N, D) vectors of each video, pooled for each text."""
        seen = self.shares(texts["sentence"][None], videos) @ self.value(self.norm_in(videos["frames"]))
        out = self.norm_out(self.out(seen))
        pooled: torch.Tensor = self.norm_last(out + self.dropout(self.linear(out)))
        return pooled

    def similarities(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Cosines between texts and the videos pooled for them."""
        pooled = unit(self.pooled(texts, videos))
        return self.logit_scale.exp() * torch.einsum("id,jid->ij", unit(texts["sentence"]), pooled)

    def relevance(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The attention weights."""
        return self.shares(texts["sentence"][:, None], videos).squeeze(1)

    def load_published(self, state: Mapping[str, torch.Tensor]) -> Arrays:
        """Load the `state_dict` of the authors' checkpoint."""
        clip, own = checkpoints.parts(state, PUBLISHED, "X-Pool")
        fill(self, own, "X-Pool")
        return clip


def identity(dim: int) -> nn.Linear:
    """A linear layer initialised to the identity."""
    layer = nn.Linear(dim, dim)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def build(dim: int, frames: int, words: int, masked: bool = False, dropout: float = 0.3) -> XPool:
    """The teacher for vectors of `dim` dimensions and any number of frames and words."""
    return XPool(dim, masked, dropout)


def footprint(dim: int, frames: int, words: int) -> tuple[int, int, int]:
    """Products, gates, numbers stored: keys and values, the latter with `out` in them.

    Attention and the sum of the values take 2 F D products, the last layer D * D, the cosine D.
    """
    return 2 * frames * dim + dim**2 + dim, 0, 2 * frames * dim
