"""Scores of heads in a search: each block of shots is read once and scored by all heads for all topics.

Blocks always have `rows` shots, the last one padded with zeros, and are processed by one thread each: products of the
same shape have the same order of operations, so scores do not depend on the number of threads. The row of a shot in its
block affects the last bits, so the order of a gallery depends only on its shots. Parts of a gallery that are searched
separately may differ in the last digits.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from avs_cli.core.models.layers import Head, Ragged, Vectors
from avs_cli.core.training.pairs import as_vectors, on
from avs_cli.errors import MismatchError
from avs_cli.types import Joined


class HeadScorer:
    """Scores of shots for Q topics by one head; minus infinity for shots without a score.

    spent  seconds per call of `scan`
    """

    error = 0.0

    def __init__(
        self,
        head: Head,
        texts: torch.Tensor,
        rows: int,
        merge: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
        skip: bool = True,
        name: str = "head",
    ):
        """The caller merges the wordings of a topic, since the score of a head need not be linear in its texts.

        texts  (F, S, d) embeddings
        merge  linear function from (F, …) of the texts to (Q, …) of the topics
        skip   skip shots that lack a feature of the head; otherwise only those that lack all of them
        name   name of the head, for messages

        Raises MismatchError for embeddings that are NaN or infinite, as with damaged weights.
        """
        self.head, self.texts, self.rows, self.merge = head, texts, rows, merge
        self.skip, self.name = skip, name
        self.queries = len(merge(texts))
        self.spent: list[float] = []
        if not texts.isfinite().all():
            raise MismatchError(f"{name}: its text vectors are NaN or infinite: damaged weights")

    @torch.inference_mode()
    def scan(self, block: Joined) -> torch.Tensor:
        """(Q, N) float32. Raises MismatchError for a score that is NaN or infinite."""
        begun = time.perf_counter()
        videos = self.head.embed_videos(padded(self.head, block, self.rows))
        scores = self.merge(self.head.scores(self.texts, videos))[:, : len(block.ids)].cpu().contiguous()
        if not scores.isfinite().all():
            shot = block.ids[int((~scores.isfinite()).any(0).nonzero()[0])]
            raise MismatchError(f"{self.name}: the score of shot {shot} is NaN or infinite: damaged weights")
        if (left_out := self._left_out(block)) is not None:
            scores[:, torch.from_numpy(left_out)] = -torch.inf
        self.spent.append(time.perf_counter() - begun)
        return scores

    def _left_out(self, block: Joined) -> np.ndarray | None:
        """(N,) bool, the shots without a score."""
        if block.lacking is None:
            return None
        none = np.zeros(len(block.ids), bool)
        lacking = [block.lacking.get(feature.name, none) for feature in self.head.videos]
        together: np.ndarray = (np.logical_or if self.skip else np.logical_and).reduce(lacking)
        return together

    def exact(self, block: Joined, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(P,) float32: as `scan`, up to rounding."""
        scores = np.empty(len(query), np.float32)
        for low in range(0, len(block.ids), self.rows):
            inside = np.flatnonzero((item >= low) & (item < low + self.rows))
            some = block.part(low, low + self.rows)
            scores[inside] = self.scan(some).numpy()[query[inside], item[inside] - low]
        return scores


def padded(head: Head, block: Joined, rows: int) -> list[Vectors]:
    """The features of a block, padded with zeros to `rows` shots."""
    device = next(head.parameters()).device
    lacking = rows - len(block.ids)
    vectors = []
    for feature in head.videos:
        x = as_vectors(block.features[feature.name])
        if lacking and isinstance(x, Ragged):
            ends = x.offsets[-1] + torch.arange(1, lacking + 1)
            x = Ragged(torch.cat([x.vectors, torch.zeros(lacking, x.vectors.shape[1])]), torch.cat([x.offsets, ends]))
        elif lacking and isinstance(x, torch.Tensor):
            x = torch.cat([x, torch.zeros(lacking, x.shape[1])])
        vectors.append(on(x, device))
    return vectors
