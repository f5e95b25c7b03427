"""TS2-Net (Liu et al. 2022, ECCV, arXiv:2207.07852): selects the three most informative patches of each frame.

Patches are selected by a differentiable top-k (Cordonnier et al. 2021, arXiv:2104.03059) over scores with added noise,
in evaluation too. A temporal transformer follows; the weights of the frames depend on the text.

The published model shifts patches between neighbouring frames in the last two blocks of the image tower; TeachCLIP runs
it without (`shift`). The published mask of the longer sequence is wrong for videos that do not fill all frames (it
tiles the frame mask instead of repeating each element); `masked` corrects it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.temporal import Temporal
from avs_cli.core.models.clip.towers import fill
from avs_cli.core.models.layers import unit
from avs_cli.core.models.teachers.base import Arrays, Teacher
from avs_cli.errors import MismatchError

DRAWS, NOISE, CHOSEN = 500, 0.05, 3
SHARPNESS = 4.0
SHIFTED_BLOCKS = (10, 11)
_SELECTOR = "visual_token_selector.score_predictor."
SIGN = "visual_token_selector.score_predictor.in_conv.1.weight"
PUBLISHED = {
    **checkpoints.TEMPORAL,
    f"{_SELECTOR}in_conv.0.": "selector.norm.",
    f"{_SELECTOR}in_conv.1.": "selector.inner.",
    f"{_SELECTOR}out_conv.0.": "selector.joint.",
    f"{_SELECTOR}out_conv.2.": "selector.last.",
}
_UNUSED = (*checkpoints.UNUSED, "text_token_selector.", "visual_prompt_encoder.")


class SoftTopK(torch.autograd.Function):
    """(n, P) scores and (n, S, P) noise to (n, k, P): the frequency of each as j-th of the top k, by position."""

    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, noise: torch.Tensor, count: int, scale: float) -> torch.Tensor:
        """Average over the noise samples."""
        best = (scores[:, None] + scale * noise).topk(count, sorted=False).indices.sort().values
        ctx.save_for_backward(best, noise)
        ctx.scale = scale
        places = best.transpose(1, 2)
        shares = scores.new_full((), 1 / noise.shape[1]).expand(places.shape)
        return scores.new_zeros(len(scores), count, scores.shape[1]).scatter_add(2, places, shares)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """Gradient from the same samples. As published, it ignores the patches that a score displaces."""
        best, noise = ctx.saved_tensors
        gradient = gradients[0]
        drawn = noise.gather(2, best).to(gradient.dtype).transpose(1, 2)
        moved = torch.zeros_like(gradient).scatter_add(2, best.transpose(1, 2), drawn)
        slope = (gradient * moved).sum(1) / (noise.shape[1] * ctx.scale)
        return slope, None, None, None


class Selector(nn.Module):
    """Score of each token, given the token of its frame."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, dim // 2, bias=False)
        self.joint = nn.Linear(2 * (dim // 2), dim // 2, bias=False)
        self.last = nn.Linear(dim // 2, 1, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., 1 + P, D) to (..., 1 + P), between -1 and 1."""
        seen = nn.functional.gelu(self.inner(self.norm(tokens)))
        both = torch.cat([seen, seen[..., :1, :].expand_as(seen)], dim=-1)
        return torch.tanh(self.last(nn.functional.gelu(self.joint(both)))).squeeze(-1)


class TS2Net(Teacher):
    """Arrays are unit vectors `sentence` and `frames`, and the mask.

    shifted  blocks of the image tower that shift patches
    """

    takes = "tokens"

    def __init__(self, dim: int, layers: int, heads: int, positions: int, masked: bool, shift: bool):
        super().__init__(masked)
        self.shifted = SHIFTED_BLOCKS if shift else ()
        self.selector = Selector(dim)
        self.temporal = Temporal(dim, positions, layers, heads)

    def embed_texts(self, sentences: torch.Tensor, words: torch.Tensor | None = None) -> Arrays:
        """Embed sentences; words are ignored."""
        return {"sentence": unit(sentences)}

    def embed_videos(
        self, frames: torch.Tensor, mask: torch.Tensor, generator: torch.Generator | None = None
    ) -> Arrays:
        """Embed videos; without a generator, all videos get the same noise, independent of the batch."""
        if frames.ndim != 4 or frames.shape[2] <= CHOSEN:
            raise MismatchError(f"ts2net takes at least {CHOSEN} patches beside each frame; these frames have none")
        videos, count, tokens, _ = frames.shape
        shape = (videos if generator else 1, count, DRAWS, tokens - 1)
        source = generator or torch.Generator().manual_seed(0)
        noise = torch.randn(shape, generator=source, device=source.device).to(frames.device)
        return self.embed_chosen(self.chosen(frames, noise.expand(videos, -1, -1, -1)), mask)

    def chosen(self, tokens: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """(M, F, 1 + P, D) tokens and (M, F, S, P) noise to (M, F, 4, D): those of the frame and its three patches."""
        scores = self.selector(tokens)[..., 1:]
        chosen: torch.Tensor = SoftTopK.apply(scores.flatten(0, 1), noise.flatten(0, 1), CHOSEN, NOISE)
        patches = chosen.view(*scores.shape[:2], CHOSEN, -1) @ tokens[:, :, 1:]
        return torch.cat([tokens[:, :, :1], patches], dim=2)

    def embed_chosen(self, tokens: torch.Tensor, mask: torch.Tensor) -> Arrays:
        """(M, F, 4, D) selected tokens through the header, which returns the first of each frame's four."""
        count, each = tokens.shape[1:3]
        mask = mask.to(tokens.dtype)
        longer = mask.repeat_interleave(each, dim=1) if self.masked else mask.repeat(1, each)
        positions = torch.arange(count * each, device=tokens.device) % len(self.temporal.positions)
        seen = self.temporal(tokens.flatten(1, 2), longer, positions)
        return {"frames": unit(seen[:, ::each]), "mask": longer[:, ::each]}

    def similarities(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Softmax-weighted sum of the cosines between a text and the frames."""
        cosines = torch.einsum("id,jfd->ijf", texts["sentence"], videos["frames"])
        there = videos["mask"].to(cosines.dtype)
        logits = unit(cosines * there).masked_fill(there == 0, -1e18)
        return self.logit_scale.exp() * ((SHARPNESS * logits).softmax(-1) * cosines).sum(-1)

    def relevance(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Relevance of the frames after the header."""
        cosines = torch.einsum("nd,nfd->nf", texts["sentence"], videos["frames"])
        return self.counted(cosines, videos).softmax(1)

    def load_published(self, state: Mapping[str, torch.Tensor]) -> Arrays:
        """Load the authors' checkpoint, in which shifted blocks name their attention `attn.net`.

        Without the shift, these weights are omitted: TeachCLIP does not know the name and runs these blocks with the
        attention of OpenAI's CLIP.
        """
        clip, own = checkpoints.parts(state, PUBLISHED, "TS2-Net", _UNUSED)
        fill(self, own, "TS2-Net")
        if self.shifted:
            return {key.replace(".attn.net.", ".attn."): value for key, value in clip.items()}
        return {key: value for key, value in clip.items() if ".attn.net." not in key}


def build(
    dim: int,
    frames: int,
    words: int,
    shift: bool = True,
    masked: bool = False,
    layers: int = 4,
    heads: int = 0,
    positions: int = 77,
) -> TS2Net:
    """The teacher for vectors of `dim` dimensions and any number of frames and words."""
    return TS2Net(dim, layers, heads, positions, masked, shift)


def footprint(dim: int, frames: int, words: int) -> tuple[int, int, int]:
    """Products, gates, numbers stored: the frames' vectors."""
    return dim * frames, 0, dim * frames
