"""Distillation losses (TeachCLIP, Tian et al. 2024, CVPR, pp. 17138-17147, arXiv:2308.01217).

On a batch: matching of texts and videos, the teachers' scores of all pairs (coarse), and their weights of frames for
each text (fine). Several teachers' losses are averaged, not their scores.

The published code takes the logarithm of a softmax, and divides a row by its standard deviation, which for a row of
equal numbers is zero; here the first is one operation and such a row is at distance 1, with no gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch.nn.functional import cross_entropy, smooth_l1_loss

from avs_cli.core.models.layers import unit

Method = Literal["pear", "ce", "l1"]
WEIGHTS = {"pear": (0.2, 1.0, 2.0), "l1": (0.2, 1.0, 2.0), "ce": (1.0, 10.0, 1.0)}


@dataclass(frozen=True)
class Recipe:
    """The losses and their weights; None is the published weight for the coarse method.

    coarse  "pear": Pearson's distance of softmaxes, "ce": their cross-entropy, "l1": smooth L1 of the scores
    fine    the same, for weights of frames
    beta    temperature of scores
    """

    coarse: Method = "pear"
    fine: Method = "ce"
    beta: float = 1.0
    matching_weight: float | None = None
    coarse_weight: float | None = None
    fine_weight: float | None = None

    @property
    def weights(self) -> tuple[float, float, float]:
        """The weights of the matching, coarse and fine losses."""
        own = (self.matching_weight, self.coarse_weight, self.fine_weight)
        matching, coarse, fine = (
            published if given is None else given for given, published in zip(own, WEIGHTS[self.coarse], strict=True)
        )
        return matching, coarse, fine


class Targets(NamedTuple):
    """The targets of a teacher: (B, B) scaled scores, texts are rows, and (B, F) relevance of frames, if any."""

    scores: torch.Tensor
    relevance: torch.Tensor | None


class Losses(NamedTuple):
    """The weighted sum, and its unweighted terms."""

    total: torch.Tensor
    matching: torch.Tensor
    coarse: torch.Tensor
    fine: torch.Tensor


def distill(scores: torch.Tensor, logits: torch.Tensor | None, teachers: Sequence[Targets], recipe: Recipe) -> Losses:
    """A student's losses on a batch of B pairs, text i belonging to video i.

    scores  (B, B) scaled, texts are rows
    logits  (B, F) logits of the weights of frames; None for a student without them
    Without teachers, the loss is the matching loss.
    """
    scores = scores / recipe.beta
    matching = matching_loss(scores)
    coarse = fine = scores.new_zeros(())
    if teachers:
        coarse = torch.stack([coarse_loss(scores, one.scores / recipe.beta, recipe.coarse) for one in teachers]).mean()
    relevant = [one.relevance for one in teachers if one.relevance is not None]
    if relevant and logits is not None:
        log_weights = logits.log_softmax(1)
        fine = torch.stack([fine_loss(log_weights, one, recipe.fine) for one in relevant]).mean()
    weights = recipe.weights
    return Losses(weights[0] * matching + weights[1] * coarse + weights[2] * fine, matching, coarse, fine)


def matching_loss(scores: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of both directions, with targets on the diagonal."""
    right = torch.arange(len(scores), device=scores.device)
    return (cross_entropy(scores, right) + cross_entropy(scores.T, right)) / 2


def coarse_loss(student: torch.Tensor, teacher: torch.Tensor, method: Method) -> torch.Tensor:
    """The sum of the losses of both directions of (T, V) scores; "l1" is on the scores themselves, once."""
    if method == "l1":
        return smooth_l1_loss(student, teacher)
    return _directed(student, teacher, method) + _directed(student.T, teacher.T, method)


def _directed(student: torch.Tensor, teacher: torch.Tensor, method: Method) -> torch.Tensor:
    if method == "pear":
        return pearson_distance(student.softmax(1), teacher.softmax(1)).mean()
    # As published, the mean over entries: the cross-entropy of a row divided by its length.
    return -(teacher.softmax(1) * student.log_softmax(1)).mean()


def fine_loss(log_weights: torch.Tensor, relevance: torch.Tensor, method: Method) -> torch.Tensor:
    """The loss of a student's frame weights against a teacher's relevance; "ce" is the mean over entries.

    log_weights  (B, F) logarithms of the weights; relevance is (B, F) too
    """
    if method == "ce":
        return -(relevance * log_weights).mean()
    if method == "pear":
        return pearson_distance(log_weights.exp(), relevance).mean()
    return smooth_l1_loss(log_weights.exp(), relevance)


def pearson_distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(N,) 1 - the correlation of each row with its partner; 1 where a row is constant."""
    return 1 - (unit(x - x.mean(1, keepdim=True)) * unit(y - y.mean(1, keepdim=True))).sum(1)
