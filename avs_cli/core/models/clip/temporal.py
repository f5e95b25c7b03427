"""Aggregation of frames to one vector, as in TeachCLIP's student (Tian et al. 2024, CVPR, pp. 17138-17147,
arXiv:2308.01217): a temporal transformer (CLIP4Clip's seqTransf, Luo et al., arXiv:2104.08860), then attention over
frames; also CLIP4Clip's two means.

Frames are (B, F, D), not normalised; a mask is (B, F), 1 for frames and 0 for padding at the end. Computation is in the
dtype of the weights.

As published, the attention ignores the mask and includes padding; with `masked` it is excluded.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import nn

from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.towers import fill
from avs_cli.core.models.layers import unit
from avs_cli.errors import MismatchError, SpecError

LARGEST_SCALE = math.log(100)
HIDDEN = -1e6
# exp(-1e6) is zero, and 0 * -1e6 is zero too, unlike with minus infinity.
UNCOUNTED = -1e4
Header = Literal["seqtransf", "meanp"]


class SelfAttention(nn.Module):
    """Self-attention over frames, with the parameters of torch's MultiheadAttention and of CLIP."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim).normal_(std=dim**-0.5))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, F, D). Masked frames get -1e6 instead of minus infinity, since all frames of a row may be masked."""
        joint = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in joint.chunk(3, dim=-1))
        hidden = (1 - mask[:, None, None, :].to(q.dtype)) * max(HIDDEN, torch.finfo(q.dtype).min)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, hidden)
        projected: torch.Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return projected


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x). open_clip has it too, but takes 3 s of a core to import, which heads do without."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class TransformerBlock(nn.Module):
    """A pre-norm transformer block with the parameter names of CLIP's text blocks, but with eps 1e-12."""

    def __init__(self, dim: int, heads: int, eps: float = 1e-12):
        super().__init__()
        self.attn = SelfAttention(dim, heads)
        self.ln_1 = nn.LayerNorm(dim, eps)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(dim, 4 * dim), "c_proj": nn.Linear(4 * dim, dim)})
        self.ln_2 = nn.LayerNorm(dim, eps)
        self.act = QuickGELU()

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        out: torch.Tensor = x + self.mlp["c_proj"](self.act(self.mlp["c_fc"](self.ln_2(x))))
        return out


class Temporal(nn.Module):
    """The seqTransf header: (B, F, D) and a mask to (B, F, D), with a residual connection.

    positions  maximum number of frames
    heads      of attention; 0: one per 64 dimensions, or fewer if that does not divide them
    """

    def __init__(self, dim: int, positions: int = 77, layers: int = 4, heads: int = 0):
        super().__init__()
        heads = heads or next(count for count in range(max(1, dim // 64), 0, -1) if dim % count == 0)
        if dim % heads:
            raise SpecError(f"{heads} heads cannot share {dim} dimensions equally")
        self.positions = nn.Parameter(torch.empty(positions, dim).normal_(std=0.01))
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads) for _ in range(layers))

    def start_from_text(self, clip: Mapping[str, torch.Tensor]) -> None:
        """Initialise from positions and first blocks of CLIP's text tower, named as in OpenAI's CLIP and open_clip.

        Raises MismatchError if the text tower has other sizes, or fewer blocks.
        """
        for place, block in enumerate(self.blocks):
            prefix = f"transformer.resblocks.{place}."
            state = {key.removeprefix(prefix): value for key, value in clip.items() if key.startswith(prefix)}
            fill(block, state, f"CLIP's text block {place}")
        count = min(len(self.positions), len(clip["positional_embedding"]))
        with torch.no_grad():
            self.positions[:count] = clip["positional_embedding"][:count]

    def forward(self, frames: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """`positions` (F,) are the positions of the frames, by default 0, 1, …

        Raises MismatchError for more frames than positions.
        """
        if positions is None and frames.shape[1] > len(self.positions):
            raise MismatchError(f"at most {len(self.positions)} frames a video, not {frames.shape[1]}; take fewer")
        table = self.positions[: frames.shape[1]] if positions is None else self.positions[positions]
        x = frames + table
        for block in self.blocks:
            x = block(x, mask)
        return x + frames


class FrameAttention(nn.Module):
    """Logits of frame weights: (B, F, D) to (B, F), with a hidden layer of D ReLUs."""

    def __init__(self, dim: int):
        super().__init__()
        self.first, self.second = nn.Linear(dim, dim), nn.Linear(dim, 1)
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.second(torch.relu(self.first(frames))).squeeze(-1)
        return logits


class Watched(NamedTuple):
    """Outputs of a student for B videos.

    vectors  (B, D), not normalised
    logits   (B, F) logits of the distilled weights; None for mean pooling
    frames   (B, F, D) frames after the header, not normalised
    """

    vectors: torch.Tensor
    logits: torch.Tensor | None
    frames: torch.Tensor

    @property
    def weights(self) -> torch.Tensor | None:
        """(B, F) distilled weights, with sum 1."""
        return None if self.logits is None else self.logits.softmax(1)


class Student(nn.Module):
    """Maps frames to one vector per video; has the scale of scores.

    header              "seqtransf", or "meanp" for none
    pooling             "attention" (TeachCLIP) or "mean" (CLIP4Clip)
    temperature         of the pooling weights
    taught_temperature  of the distilled weights
    masked              exclude padding from attention weights; the mean and the header always exclude it
    positions, heads    see Temporal
    """

    def __init__(
        self,
        dim: int,
        positions: int = 77,
        layers: int = 4,
        heads: int = 0,
        header: Header = "seqtransf",
        pooling: Literal["attention", "mean"] = "attention",
        temperature: float = 0.1,
        taught_temperature: float = 1.0,
        masked: bool = False,
    ):
        super().__init__()
        self.temperature, self.taught_temperature, self.masked = temperature, taught_temperature, masked
        self.temporal = Temporal(dim, positions, layers, heads) if header == "seqtransf" else None
        self.attention = FrameAttention(dim) if pooling == "attention" else None
        self.logit_scale = nn.Parameter(torch.tensor(LARGEST_SCALE))

    def forward(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> Watched:
        """(B, F, D) frames and their (B, F) mask; None: all are there."""
        mask = frames.new_ones(frames.shape[:2]) if mask is None else mask.to(frames.dtype)
        seen = frames if self.temporal is None else self.temporal(frames, mask)
        if self.attention is None:
            return Watched(masked_mean(unit(seen), mask), None, seen)
        logits = self.attention(seen)
        if self.masked:
            logits = logits + (1 - mask) * UNCOUNTED
        shares = (logits / self.temperature).softmax(1)
        return Watched((shares[:, :, None] * unit(seen)).sum(1), logits / self.taught_temperature, seen)

    def scores(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        """(T, D) and (V, D) vectors to (T, V): cosines times the scale."""
        return self.logit_scale.exp() * unit(texts) @ unit(videos).T

    def load_published(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Load a checkpoint of TeachCLIP or CLIP4Clip; returns the weights of CLIP, with the names of OpenAI's CLIP.

        Raises MismatchError for an unknown or missing weight.
        """
        clip, own = checkpoints.parts(state, checkpoints.STUDENT, "the student")
        fill(self, own, "the student")
        return clip

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Limit the scale to 100, after each training step."""
        self.logit_scale.clamp_(max=LARGEST_SCALE)


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, F, D) to (B, D): mean over unmasked frames; zero without frames."""
    counted = mask.unsqueeze(-1)
    total = counted.sum(1)
    return (x * counted).sum(1) / torch.where(total == 0, 1, total)
