"""Building blocks of heads: transforms, attention over features, and the common interface."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

SMALLEST = 1e-24
DROPOUT_FROM = 1e-3
LOTS = 1 << 16


class Input(NamedTuple):
    """An input feature of a head: its name, dimension, and whether an item has several vectors."""

    name: str
    dim: int
    frames: bool = False


class Ragged(NamedTuple):
    """Items with several vectors each: (M, n) rows; item i has rows offsets[i] to offsets[i + 1]."""

    vectors: torch.Tensor
    offsets: torch.Tensor


Vectors = torch.Tensor | Ragged


def unit(x: torch.Tensor) -> torch.Tensor:
    """Normalise along the last axis, in float32; zero rows stay zero, without a gradient.

    The published code divides by the norm plus 1e-14, which gives NaN gradients at zero and in half precision, where
    1e-14 is zero.
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    square = (x * x).sum(-1, keepdim=True)
    return x * torch.where(square > SMALLEST, square.clamp_min(SMALLEST).rsqrt(), 0)


def linear(x: torch.Tensor, fc: nn.Linear) -> torch.Tensor:
    """`fc` of (N, n) rows; on the CPU, without columns that are zero in the whole batch, as most are for bags of words.

    This takes a quarter of the time, forward and backward, for 256 captions and a vocabulary of 2,700.
    """
    if x.device.type == "cpu" and len(x) and 2 * int(x[0].count_nonzero()) < x.shape[1]:
        used = x.any(0).nonzero().squeeze(1)
        if 2 * len(used) < x.shape[1]:
            return nn.functional.linear(x[:, used], fc.weight.index_select(1, used), fc.bias)
    y: torch.Tensor = fc(x)
    return y


def dropout(x: torch.Tensor, share: float, training: bool) -> torch.Tensor:
    """Dropout: in training, a random `share` of the elements is set to zero, and the others are scaled up.

    On a CPU, masks use 16 random bits per element, so the share is a multiple of 1/65536; torch's dropout takes nine
    times as long, a twelfth of a training step.
    """
    if not training or not share:
        return x
    if x.device.type != "cpu":
        return nn.functional.dropout(x, share)
    limit = min(LOTS - 1, round(share * LOTS))
    lots = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[: x.numel()]
    kept = (lots >= limit - LOTS // 2).to(x.dtype).mul_(LOTS / (LOTS - limit))
    return x * kept.view(x.shape)


class Transform(nn.Module):
    """Map a feature to the common space: (N, n) to (N, D).

    Linear, tanh, dropout and batch normalisation, in this order; with `norm_first`, the normalisation precedes the
    tanh. A raw feature is repeated up to D dimensions, so that each head has all of it, and only normalised.

    counted  whether the feature may be a bag of words (see `linear`). Which columns a batch has decides about the last
             digits, so it is not for videos, whose scores must not depend on the videos beside them.
    """

    def __init__(
        self,
        source: int,
        dim: int,
        dropout: float,
        norm: bool,
        raw: bool = False,
        norm_first: bool = False,
        counted: bool = True,
    ):
        super().__init__()
        self.counted = counted
        self.copies = dim // source if raw else 0
        self.norm_first = norm_first
        self.fc = None if raw else nn.Linear(source, dim)
        self.bn = nn.BatchNorm1d(dim) if norm else None
        self.dropout = dropout if dropout > DROPOUT_FROM and not raw else 0.0
        if self.fc is not None:
            nn.init.xavier_uniform_(self.fc.weight)
            nn.init.zeros_(self.fc.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fc is None:
            x = x.repeat(1, self.copies)
        else:
            x = linear(x, self.fc) if self.counted else self.fc(x)
            if self.bn is not None and self.norm_first:
                x = self.bn(x)
            x = torch.tanh(x) if torch.is_grad_enabled() else x.tanh_()
            x = dropout(x, self.dropout, self.training)
        return x if self.bn is None or self.norm_first else self.bn(x)


class Attention(nn.Module):
    """Lightweight attention over L features, for H heads at once: L times (N, D) to (N, H, d), rows of unit length.

    A head weights the features by a softmax over dot products. With `split`, each head has its own d = D / H dimensions
    of each feature, else all D. With `mul`, the dot products are with the feature times the mean of all features. With
    `ave`, the sum of the features is added, times `r`, which decreases by 1 - `rate` per epoch, to 0. With
    `unit_first`, features are normalised before.

    Features are separate arrays, since an array of all of them would exceed the cache and be slower.

    The published code adds a bias to the dot products, which has no effect on a softmax and is omitted here. With
    `ave`, the weights that it reports are not those that it applies; `weights` gives the latter, with sum 1.
    """

    r: torch.Tensor

    def __init__(self, dim: int, heads: int, split: bool, ave: bool, mul: bool, unit_first: bool, rate: float):
        super().__init__()
        self.heads, self.split, self.ave, self.mul, self.unit_first = heads, split, ave, mul, unit_first
        self.rate = rate
        self.width = dim // heads if split else dim
        self.a = nn.Parameter(torch.empty(heads, self.width).uniform_(-(self.width**-0.5), self.width**-0.5))
        self.register_buffer("r", torch.ones(()))

    def begin_epoch(self) -> None:
        """Lower r."""
        self.r.fill_(max(0.0, float(self.r) + self.rate - 1))

    def shares(self, xs: Sequence[torch.Tensor]) -> torch.Tensor:
        """(N, L, H) weights from the outputs of `heads_of` for each feature."""
        # (feature * mean) · head = feature · (mean * head).
        looks = self.a * (sum(xs[1:], xs[0]) / len(xs)) if self.mul else self.a
        # vecdot takes less than half of the time of einsum here, and less than a product and a sum.
        logits = [torch.linalg.vecdot(x, looks) if self.split or self.mul else x[:, 0] @ self.a.T for x in xs]
        weights = torch.stack(logits, dim=1).softmax(1)
        return weights + self.r if self.ave else weights

    def heads_of(self, x: torch.Tensor) -> torch.Tensor:
        """(N, D) split for the heads: (N, H, d), or (N, 1, D) if all heads have all dimensions."""
        x = x.view(len(x), self.heads, self.width) if self.split else x.unsqueeze(1)
        return unit(x) if self.unit_first else x

    def forward(self, xs: Sequence[torch.Tensor]) -> torch.Tensor:
        xs = [self.heads_of(x) for x in xs]
        first, *others = self.shares(xs).unsqueeze(-1).unbind(1)
        fused = first * xs[0]
        for share, x in zip(others, xs[1:], strict=True):
            fused = torch.addcmul(fused, share, x)
        return unit(fused)

    def weights(self, xs: Sequence[torch.Tensor]) -> torch.Tensor:
        """L times (N, D) to (N, H, L) weights of the features, with sum 1."""
        shares = self.shares([self.heads_of(x) for x in xs]).transpose(1, 2)
        return shares / shares.sum(2, keepdim=True)


class FramePooling(nn.Module):
    """Lightweight attention over the vectors of each item: ragged to (N, n), rows of unit length.

    Without padding; the published code includes it, without an effect as it is used there.
    """

    def __init__(self, dim: int, most: int):
        super().__init__()
        self.most = most
        self.a = nn.Parameter(torch.empty(dim).uniform_(-(dim**-0.5), dim**-0.5))

    def forward(self, x: Ragged) -> torch.Tensor:
        x = first_rows(x, self.most)
        owner = owners(x.offsets)
        logits = (x.vectors * self.a).sum(1)
        count = len(x.offsets) - 1
        highest = logits.new_full((count,), -torch.inf).scatter_reduce(0, owner, logits.detach(), "amax")
        shares = (logits - highest[owner]).exp()
        # Not divided by the sum of the weights, since the result is normalised.
        return unit(x.vectors.new_zeros(count, x.vectors.shape[1]).index_add(0, owner, shares[:, None] * x.vectors))


def owners(offsets: torch.Tensor) -> torch.Tensor:
    """(M,) the item of each row."""
    return torch.repeat_interleave(torch.arange(len(offsets) - 1, device=offsets.device), offsets.diff())


def first_rows(x: Ragged, most: int) -> Ragged:
    """The first `most` rows of each item; all of them with 0."""
    lengths = x.offsets.diff()
    if not most or int(lengths.max()) <= most:
        return x
    place = torch.arange(len(x.vectors), device=x.offsets.device) - x.offsets[:-1][owners(x.offsets)]
    ends = torch.cat([x.offsets[:1] * 0, lengths.clamp_max(most).cumsum(0)])
    return Ragged(x.vectors[place < most], ends)


def mean_rows(x: Vectors) -> torch.Tensor:
    """(N, n) mean vectors of the items."""
    if isinstance(x, torch.Tensor):
        return x
    lengths = x.offsets.diff()
    sums = x.vectors.new_zeros(len(lengths), x.vectors.shape[1]).index_add(0, owners(x.offsets), x.vectors)
    return sums / lengths[:, None]


class Watching(NamedTuple):
    """Outputs of a student for a batch of N pairs.

    texts, videos  (N, D); a score is their dot product times `scale`
    logits         (N, F) logits of the weights of frames; None for a student without them
    items          (N,) index of the video of each row
    """

    texts: torch.Tensor
    videos: torch.Tensor
    logits: torch.Tensor | None
    items: torch.Tensor
    scale: torch.Tensor | float


class Head(nn.Module):
    """Maps videos and texts to S shared spaces of d dimensions; a score is `weight` times the sum of the S cosines.

    videos      input features of videos, in order
    texts       stored input features of texts, in order
    encoders    text encoders of the head; their outputs follow the stored features
    text_names  names of all text features, including the encoders
    one_product whether scores are such sums; if not, `scores` is another function, and embeddings are not normalised
    unit_length whether vectors are of unit length; if not, a score is the sum of dot products
    """

    spaces: int
    weight: float
    one_product = True
    unit_length = True

    def __init__(self, videos: Sequence[Input], texts: Sequence[Input], encoders: Sequence[tuple[str, nn.Module]]):
        super().__init__()
        self.videos, self.texts = tuple(videos), tuple(texts)
        self.encoders = nn.ModuleList(encoder for _, encoder in encoders)
        self.text_names = [*(text.name for text in texts), *(name for name, _ in encoders)]

    def embed_videos(self, vectors: Sequence[Vectors]) -> torch.Tensor:
        """(N, S, d), rows of unit length."""
        raise NotImplementedError

    def embed_texts(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor:
        """(N, S, d), rows of unit length."""
        raise NotImplementedError

    def watch_videos(self, vectors: Sequence[Vectors]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The embeddings of `embed_videos`, and (N, F) logits of the weights of frames.

        The logits are None for a head without such weights.
        """
        return self.embed_videos(vectors), None

    def video_weights(self, vectors: Sequence[Vectors]) -> torch.Tensor | None:
        """(N, S, L) weights of the video features; None for a head without attention."""
        return None

    def text_weights(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> torch.Tensor | None:
        """(N, S, L) weights of the text features and encoders; None for a head without attention."""
        return None

    def relevance(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor | None:
        """(N, F) relevance of the frames of video i for text i, from embedded texts and videos.

        Rows sum to 1. None for a head without frames.
        """
        return None

    def begin_epoch(self) -> None:
        """Update settings that change per epoch without being trained."""

    def encoded(self, vectors: Sequence[Vectors], sentences: Sequence[str]) -> list[torch.Tensor]:
        """(N, n) of each text feature, stored and encoded; several vectors of a text are averaged."""
        return [*map(mean_rows, vectors), *(encoder(sentences) for encoder in self.encoders)]

    def scores(self, texts: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
        """(T, S, d) and (V, S, d) to (T, V): one matrix product for all spaces."""
        return self.weight * (texts.flatten(1) @ videos.flatten(1).T)
