"""The training of lite's two sides on captioned photos, seen in several versions, and on class prototypes.

A contrastive loss in both directions (InfoNCE, temperature 0.04) over batches of captions and a version of the photo of
each; other captions of the same photo are no negatives. AdamW with strong weight decay and a one-cycle learning rate.
Everything depends on the seed, the number of threads and the machine's arithmetic alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize

from avs_cli.core.models.lite import VOCABULARY, FrameSide, Sentences, TextSide
from avs_cli.errors import MismatchError

STRENGTH = 6.0
EXCLUDED = -1e4


@dataclass(frozen=True)
class LiteRecipe:
    """The settings of a training.

    least  a word piece has a vector of its own if it occurs at least so often in the captions
    """

    dim: int = 768
    hidden: int = 2048
    queries: int = 4
    least: int = 3
    epochs: int = 12
    batch: int = 256
    rate: float = 1e-3
    decay: float = 1.0
    temperature: float = 0.04
    frame_dropout: float = 0.5
    text_dropout: float = 0.3
    piece_dropout: tuple[float, float] = (0.1, 0.2)
    seed: int = 0


class PhotoVersions(NamedTuple):
    """N photos in V versions: (V, N, 1280) pooled features and (V, N, 1000) class scores."""

    pooled: torch.Tensor
    scores: torch.Tensor


class CaptionStates(NamedTuple):
    """T captions, as MiniLM encodes them.

    owner    (T) int64: the photo of each
    means    (T, 384): unit vectors of the sentences
    states   (W, 384): hidden states of all word pieces, those of a caption one after the other
    pieces   (W) int64: their ids
    offsets  (T + 1) int64: where the word pieces of each caption begin
    """

    owner: np.ndarray
    means: torch.Tensor
    states: np.ndarray
    pieces: np.ndarray
    offsets: np.ndarray

    def batch(self, rows: np.ndarray) -> Sentences:
        """The captions of B rows, padded to the longest."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        columns = np.arange(max(1, lengths.max(initial=1)))
        there = columns < lengths[:, None]
        places = np.where(there, self.offsets[rows][:, None] + columns, 0)
        return Sentences(
            self.means[rows],
            torch.from_numpy(self.states[places]).float(),
            torch.from_numpy(self.pieces[places]),
            torch.from_numpy(there),
        )


def joined(first: CaptionStates, second: CaptionStates, photos: int) -> CaptionStates:
    """Captions of `photos` photos, then those of other photos, which are counted on from there."""
    return CaptionStates(
        np.concatenate([first.owner, second.owner + photos]),
        torch.cat([first.means, second.means]),
        np.concatenate([first.states, second.states]),
        np.concatenate([first.pieces, second.pieces]),
        np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
    )


def prototypes(mean: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A pseudo-photo of each class: the mean photo with the features that speak for the class.

    mean          (1280) the mean of the photos' pooled features
    weight, bias  (1000, 1280) and (1000): the last layer of the image network
    returns       (1000, 1280) pooled features, and (1000, 1000) class scores
    """
    pooled = (mean + STRENGTH * normalize(weight, dim=1)).clamp_min(0)
    return pooled, pooled @ weight.T + bias


class LiteEpoch(NamedTuple):
    """An epoch that is done: its number from 1, and its mean loss."""

    epoch: int
    loss: float


class LiteTraining:
    """A training; iterate to train, an epoch at a time."""

    def __init__(self, photos: PhotoVersions, captions: CaptionStates, recipe: LiteRecipe):
        """Raises MismatchError for captions of too few photos to fill a batch."""
        self.photos, self.captions, self.recipe = photos, captions, recipe
        self.steps = len(captions.owner) // recipe.batch
        if not self.steps:
            raise MismatchError(f"{len(captions.owner)} captions, fewer than a batch of {recipe.batch}")
        torch.manual_seed(recipe.seed)
        counts = np.bincount(captions.pieces, minlength=VOCABULARY)
        known = torch.from_numpy(np.flatnonzero(counts >= recipe.least))
        self.frames = FrameSide(recipe.dim, recipe.frame_dropout)
        self.texts = TextSide(
            recipe.dim, recipe.hidden, recipe.queries, known, recipe.text_dropout, recipe.piece_dropout
        )
        # Dropout goes on from here, whatever else draws random numbers before the training.
        self._random = torch.get_rng_state()

    def __iter__(self) -> Iterator[LiteEpoch]:
        torch.set_rng_state(self._random)
        recipe, generator = self.recipe, np.random.default_rng(self.recipe.seed)
        weights = [*self.frames.parameters(), *self.texts.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=recipe.decay)
        total = recipe.epochs * self.steps
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=total, pct_start=0.2)
        self.frames.train(), self.texts.train()
        for epoch in range(1, recipe.epochs + 1):
            order = generator.permutation(len(self.captions.owner))
            losses = 0.0
            for start in range(0, self.steps * recipe.batch, recipe.batch):
                rows = order[start : start + recipe.batch]
                versions = generator.integers(len(self.photos.pooled), size=len(rows))
                loss = self._loss(rows, versions)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                losses += float(loss.detach())
            yield LiteEpoch(epoch, losses / self.steps)
        self.frames.eval(), self.texts.eval()

    def _loss(self, rows: np.ndarray, versions: np.ndarray) -> torch.Tensor:
        """Of a batch of captions, each with a version of its photo."""
        owner = self.captions.owner[rows]
        frames = self.frames(self.photos.pooled[versions, owner].float(), self.photos.scores[versions, owner].float())
        scores = frames @ self.texts(self.captions.batch(rows)).T / self.recipe.temperature
        twins = torch.from_numpy(owner[:, None] == owner).fill_diagonal_(False)
        scores = scores.masked_fill(twins, EXCLUDED)
        right = torch.arange(len(rows))
        return (cross_entropy(scores, right) + cross_entropy(scores.T, right)) / 2

    def state(self) -> dict[str, torch.Tensor]:
        """The weights of both sides, as `core.encoders.lite` names them."""
        sides = {"frames.": self.frames, "texts.": self.texts}
        return {prefix + name: tensor for prefix, side in sides.items() for name, tensor in side.state_dict().items()}
