"""A head's scores in a search: a block of shots is read once and scored by every head for every topic.

A head always sees `rows` shots, the last block padded by zeros, on one thread: a product of the same shape is done in
the same order, so a shot has the same score whatever its neighbours and however many threads there are. Its row in the
block does matter, to the last bits, so a gallery comes in an order that depends on its shots alone. A gallery that is
searched part by part may have other last digits.
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
    """Scores of shots for Q topics by one head; minus infinity for a shot that it leaves out.

    spent  the seconds that each call of `scan` took
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
        """How a topic's wordings come together is the caller's: a head's score need not be linear in its texts.

        texts  (F, S, d) as the head embedded them
        merge  (F, …) of the texts to (Q, …) of the topics, linear
        skip   leave out shots that lack one of the head's features; otherwise only those that lack all of them
        name   the head's, for a message
        Raises MismatchError for texts that are not finite, as they are with damaged weights.
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
        """(N,) the shots that have no score."""
        if block.lacking is None:
            return None
        none = np.zeros(len(block.ids), bool)
        lacking = [block.lacking.get(feature.name, none) for feature in self.head.videos]
        together: np.ndarray = (np.logical_or if self.skip else np.logical_and).reduce(lacking)
        return together

    def exact(self, block: Joined, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(P,) float32: what `scan` gives, but for its last bits."""
        scores = np.empty(len(query), np.float32)
        for low in range(0, len(block.ids), self.rows):
            inside = np.flatnonzero((item >= low) & (item < low + self.rows))
            some = block.part(low, low + self.rows)
            scores[inside] = self.scan(some).numpy()[query[inside], item[inside] - low]
        return scores


def padded(head: Head, block: Joined, rows: int) -> list[Vectors]:
    """The head's features of a block, filled up with shots of zeros to `rows`."""
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
