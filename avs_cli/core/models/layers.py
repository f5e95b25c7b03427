"""Building blocks of heads: transforms, attention over features, and the common interface."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable

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
    return x * inverse_length(x)


def inverse_length(x: torch.Tensor) -> torch.Tensor:
    """One divided by the length along the last axis, which stays; 0 for zero rows."""
    square = (x * x).sum(-1, keepdim=True)
    return torch.where(square > SMALLEST, square.clamp_min(SMALLEST).rsqrt(), 0)


def linear(x: torch.Tensor, fc: nn.Linear) -> torch.Tensor:
    """The output of `fc` for (N, n) rows, without the columns that `counting` leaves out."""
    return nn.functional.linear(*counting(x, fc.weight), fc.bias)


def counting(x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, n) rows and (D, n) weights; on the CPU, without columns that are zero in all rows, as most of bags of words.

    This takes a quarter of the time, forward and backward, for 256 captions and a vocabulary of 2,700.
    """
    if x.device.type == "cpu" and len(x) and 2 * int(x[0].count_nonzero()) < x.shape[1]:
        used = x.any(0).nonzero().squeeze(1)
        if 2 * len(used) < x.shape[1]:
            return x[:, used], weight.index_select(1, used)
    return x, weight


def dropout(x: torch.Tensor, share: float, training: bool) -> torch.Tensor:
    """Dropout: in training, a random `share` of the elements is set to zero, and the others are scaled up.

    On a CPU, masks use 16 random bits per element, so the share is a multiple of 1/65536; torch's dropout takes nine
    times as long, a twelfth of a training step.
    """
    if not training or not share:
        return x
    if x.device.type != "cpu":
        return nn.functional.dropout(x, share)
    return x * mask(random_bits(x.shape), share, x.dtype)


def random_bits(shape: tuple[int, ...]) -> torch.Tensor:
    """16 random bits per element."""
    count = prod(shape)
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    return drawn.view(torch.int16)[:count].view(shape)


def mask(bits: torch.Tensor, share: float, kind: torch.dtype = torch.float32) -> torch.Tensor:
    """A mask of dropout from random bits: zeros, and the factor that keeps the mean."""
    limit = min(LOTS - 1, round(share * LOTS))
    # Into an array of floats, a comparison takes a ninth of the time of one whose result is converted.
    found = torch.ge(bits, limit - LOTS // 2, out=torch.empty(bits.shape, dtype=kind))
    return found.mul_(LOTS / (LOTS - limit))


def tanh(x: torch.Tensor) -> torch.Tensor:
    """torch's tanh; for float32 on a CPU that of oneDNN, which takes a third of the time (relative error 8e-8)."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        activated: torch.Tensor = x.to_mkldnn().tanh_().to_dense()
        return activated
    return torch.tanh(x)


class TanhDropout(torch.autograd.Function):
    """tanh and dropout on a CPU, with fewer passes over memory in the backward pass than both would take."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, share: float) -> torch.Tensor:
        y = tanh(x)
        kept = mask(random_bits(y.shape), share, y.dtype) if share else None
        ctx.save_for_backward(y, kept)
        return y if kept is None else y * kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        y, kept = ctx.saved_tensors
        gradient = gradient if kept is None else gradient * kept
        return torch.ops.aten.tanh_backward(gradient, y), None


class PlainSide(torch.autograd.Function):
    """Linear maps of L features, tanh, dropout and plain attention on a CPU: to (N, H, d), rows of unit length.

    Head by head, forward and back, so that what a head has of all features stays in the cache. Takes the share of
    dropout, (H, d) vectors of the attention, and L features (N, n), weights (D, n) and biases (D,).
    """

    @staticmethod
    def forward(ctx: Any, share: float, looks: torch.Tensor, *arrays: torch.Tensor) -> torch.Tensor:
        xs, weights, biases = thirds(arrays)
        heads, width = looks.shape
        bits = [random_bits((len(x), heads * width)) for x in xs if share]
        out, lengths, every, sums = xs[0].new_empty(len(xs[0]), heads, width), [], [], []
        for head, look in enumerate(looks):
            columns = slice(head * width, (head + 1) * width)
            ys = [
                tanh(nn.functional.linear(x, w[columns], b[columns]))
                for x, w, b in zip(xs, weights, biases, strict=True)
            ]
            zs = [y * mask(bits[k][:, columns], share) if share else y for k, y in enumerate(ys)]
            attention = torch.stack([z @ look for z in zs]).softmax(0).unsqueeze(-1)
            fused = attention[0] * zs[0]
            for part, z in zip(attention[1:], zs[1:], strict=True):
                fused.addcmul_(part, z)
            length = inverse_length(fused)
            torch.mul(fused, length, out=out[:, head])
            every += ys
            sums.append(attention)
            lengths.append(length)
        ctx.share, ctx.count = share, len(xs)
        ctx.save_for_backward(looks, out, *arrays, *bits, *every, *sums, *lengths)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        share, count = ctx.share, ctx.count
        looks, out, *saved = ctx.saved_tensors
        heads, width = looks.shape
        xs, weights, _ = thirds(saved[: 3 * count])
        sums, lengths = saved[-2 * heads : -heads], saved[-heads:]
        every, bits = saved[-(2 + count) * heads : -2 * heads], saved[3 * count :]
        of_looks = torch.empty_like(looks)
        backs = [torch.empty(len(x), heads * width, dtype=x.dtype) for x in xs]
        for head, look in enumerate(looks):
            columns = slice(head * width, (head + 1) * width)
            one, pull = out[:, head], gradient[:, head]
            pull = lengths[head] * torch.addcmul(pull, one, torch.linalg.vecdot(one, pull).unsqueeze(-1), value=-1)
            ys = every[head * count : (head + 1) * count]
            masks = [mask(bits[k][:, columns], share) if share else None for k in range(count)]
            zs = [y if kept is None else y * kept for y, kept in zip(ys, masks, strict=True)]
            attention = sums[head]
            of_attention = torch.stack([torch.linalg.vecdot(z, pull) for z in zs]).unsqueeze(-1)
            # The sum is zero but for rounding, which RMSprop would make a step of where there is one feature.
            of_logits = attention * (of_attention - (attention * of_attention).sum(0))
            found = torch.zeros_like(look)
            for k, (y, z, kept) in enumerate(zip(ys, zs, masks, strict=True)):
                found += of_logits[k, :, 0] @ z
                back = (attention[k] * pull).addcmul_(of_logits[k], look)
                back = back if kept is None else back.mul_(kept)
                torch.ops.aten.tanh_backward.grad_input(back, y, grad_input=backs[k][:, columns])
            of_looks[head] = found
        needed = ctx.needs_input_grad[2 : 2 + count]
        of_xs = [back @ w if need else None for back, w, need in zip(backs, weights, needed, strict=True)]
        of_weights = [back.T @ x for back, x in zip(backs, xs, strict=True)]
        return None, of_looks, *of_xs, *of_weights, *(back.sum(0) for back in backs)


def plain_side(share: float, looks: torch.Tensor, *arrays: torch.Tensor) -> torch.Tensor:
    """The output of `PlainSide`, with a gradient."""
    embedded: torch.Tensor = PlainSide.apply(share, looks, *arrays)
    return embedded


def thirds(arrays: Sequence[torch.Tensor]) -> tuple[Sequence[torch.Tensor], ...]:
    """Three successive parts of equal length."""
    count = len(arrays) // 3
    return arrays[:count], arrays[count : 2 * count], arrays[2 * count :]


def weighted_sum(attention: torch.Tensor, xs: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sum of L arrays (N, H, d) with weights (L, N, H)."""
    first, *others = attention.unsqueeze(-1)
    fused: torch.Tensor = first * xs[0]
    for share, x in zip(others, xs[1:], strict=True):
        fused = torch.addcmul(fused, share, x)
    return fused


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
            if x.device.type == "cpu" and torch.is_grad_enabled():
                x = TanhDropout.apply(x, self.dropout if self.training else 0.0)
            else:
                x = dropout(tanh(x), self.dropout, self.training)
        return x if self.bn is None or self.norm_first else self.bn(x)

    @property
    def plain(self) -> bool:
        """Whether it is a linear map and tanh, apart from dropout."""
        return self.fc is not None and self.bn is None

    def operands(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows, weights and bias of the linear map."""
        assert self.fc is not None
        return (*(counting(x, self.fc.weight) if self.counted else (x, self.fc.weight)), self.fc.bias)

    def part(self, x: torch.Tensor, columns: slice) -> torch.Tensor:
        """These columns of the output of a plain transform, without dropout."""
        assert self.fc is not None
        return tanh(nn.functional.linear(x, self.fc.weight[columns], self.fc.bias[columns]))


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

    def shares(self, xs: Sequence[torch.Tensor], heads: slice = slice(None)) -> torch.Tensor:
        """(N, L, H) weights from the outputs of `heads_of` for each feature."""
        # (feature * mean) · head = feature · (mean * head).
        looks = self.a[heads] * (sum(xs[1:], xs[0]) / len(xs)) if self.mul else self.a[heads]
        # vecdot takes less than half of the time of einsum here, and less than a product and a sum.
        logits = [torch.linalg.vecdot(x, looks) if self.split or self.mul else x[:, 0] @ looks.T for x in xs]
        weights = torch.stack(logits, dim=1).softmax(1)
        return weights + self.r if self.ave else weights

    def heads_of(self, x: torch.Tensor) -> torch.Tensor:
        """(N, D) split for the heads: (N, H, d), or (N, 1, D) if all heads have all dimensions."""
        x = x.view(len(x), -1, self.width) if self.split else x.unsqueeze(1)
        return unit(x) if self.unit_first else x

    def forward(self, xs: Sequence[torch.Tensor], heads: slice = slice(None)) -> torch.Tensor:
        """All heads, or some with `split`, from the columns of these heads."""
        xs = [self.heads_of(x) for x in xs]
        return unit(weighted_sum(self.shares(xs, heads).transpose(0, 1), xs))

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
