"""Scores of heads in a search: each block of shots is read once and scored by all heads for all topics.

Blocks always have `rows` shots, the last one padded with zeros, and are processed by one thread each: products of the
same shape have the same order of operations, so scores do not depend on the number of threads.

Nor do they depend on the shots beside them, so that the parts of a gallery may be searched separately. Matrix products
add up in the same order for every row of a block, except in libraries that treat some rows otherwise, such as those of
matrices with few columns (MKL, for at most ten or so). Since this depends on the processor, each head is probed:
copies of a shot at all rows of a block must have the same score, bit by bit. If they have not, scores are computed in
float64 and rounded to multiples of `GRID`; where errors of up to `DOUBT` might decide to which one, a shot is computed
again, at the first row of a block of its own.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from copy import deepcopy
from functools import cached_property

import numpy as np
import torch

from avs_cli.core.models.layers import Head, Input, Ragged, Vectors
from avs_cli.core.search.exact import in_parallel, one_thread
from avs_cli.core.training.pairs import as_vectors, on
from avs_cli.errors import MismatchError
from avs_cli.types import Joined

GRID = 2.0**-24
# An estimate of the errors of a head in float64, with a margin; they were not measured.
DOUBT = 2.0**-42
# The number of distinct shots in a probe.
PROBES = 16


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
        self.uniform = self._is_uniform()

    @torch.inference_mode()
    def scan(self, block: Joined) -> torch.Tensor:
        """(Q, N) float32. Raises MismatchError for a score that is NaN or infinite."""
        begun = time.perf_counter()
        if self.uniform:
            scores = self._scores(self.head, self.texts, padded(self.head, block, self.rows))
            scores = scores[:, : len(block.ids)].cpu().contiguous()
        else:
            scores = self._rounded(block)
        if not scores.isfinite().all():
            shot = block.ids[int((~scores.isfinite()).any(0).nonzero()[0])]
            raise MismatchError(f"{self.name}: the score of shot {shot} is NaN or infinite: damaged weights")
        if (left_out := self._left_out(block)) is not None:
            scores[:, torch.from_numpy(left_out)] = -torch.inf
        self.spent.append(time.perf_counter() - begun)
        return scores

    def _scores(self, head: Head, texts: torch.Tensor, videos: Sequence[Vectors]) -> torch.Tensor:
        """(Q, N)."""
        return self.merge(head.scores(texts, head.embed_videos(videos)))

    @torch.inference_mode()
    def _is_uniform(self) -> bool:
        """Whether the score of a shot is the same, bit by bit, at all rows of a block."""
        copied, videos = probe(self.head, self.rows)
        with one_thread():
            scores = self._scores(self.head, self.texts, videos).cpu()
        return torch.equal(scores, scores[:, [copied.index(shot) for shot in copied]])

    @cached_property
    def _precise(self) -> tuple[Head, torch.Tensor]:
        """The head and the texts in float64, on a device that has it."""
        device = self.texts.device if self.texts.device.type != "mps" else torch.device("cpu")
        return deepcopy(self.head).to(device).double(), self.texts.to(device).double()

    def _rounded(self, block: Joined) -> torch.Tensor:
        """(Q, N) float32: multiples of `GRID`, independent of the rows of the shots."""
        steps = self._steps(block)
        doubtful = ((steps - steps.floor() - 0.5).abs() < DOUBT / GRID).any(0)
        for column in doubtful.nonzero().flatten().tolist():
            steps[:, column] = self._steps(block.part(column, column + 1))[:, 0]
        return (steps.round() * GRID).float()

    def _steps(self, block: Joined) -> torch.Tensor:
        """(Q, N) float64: scores in units of `GRID`."""
        head, texts = self._precise
        videos = [_double(x) for x in padded(head, block, self.rows)]
        return self._scores(head, texts, videos)[:, : len(block.ids)].cpu() / GRID

    def _left_out(self, block: Joined) -> np.ndarray | None:
        """(N,) bool, the shots without a score."""
        if block.lacking is None:
            return None
        none = np.zeros(len(block.ids), bool)
        lacking = [block.lacking.get(feature.name, none) for feature in self.head.videos]
        together: np.ndarray = (np.logical_or if self.skip else np.logical_and).reduce(lacking)
        return together

    def exact(self, block: Joined, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(P,) float32: as `scan`."""
        scores = np.empty(len(query), np.float32)
        for low in range(0, len(block.ids), self.rows):
            inside = np.flatnonzero((item >= low) & (item < low + self.rows))
            some = block.part(low, low + self.rows)
            scores[inside] = self.scan(some).numpy()[query[inside], item[inside] - low]
        return scores


def probe(head: Head, rows: int) -> tuple[list[int], list[Vectors]]:
    """A block of copies of a few random shots, always the same: which shot each row has, and the features."""
    draw = torch.Generator().manual_seed(0)
    copied = torch.randint(PROBES, (rows,), generator=draw).tolist()
    device = next(head.parameters()).device
    return copied, [on(_copies(feature, copied, draw), device) for feature in head.videos]


def _copies(feature: Input, copied: Sequence[int], draw: torch.Generator) -> Vectors:
    """A feature of copies of random shots; a shot of several vectors has one to four."""
    counts = torch.arange(PROBES) % 4 + 1 if feature.frames else torch.ones(PROBES, dtype=torch.int64)
    shots = [torch.randn(count, feature.dim, generator=draw) for count in counts.tolist()]
    vectors = torch.cat([shots[shot] for shot in copied])
    if not feature.frames:
        return vectors
    return Ragged(vectors, torch.cat([torch.zeros(1, dtype=torch.int64), counts[copied].cumsum(0)]))


def _double(x: Vectors) -> Vectors:
    return x.double() if isinstance(x, torch.Tensor) else Ragged(x.vectors.double(), x.offsets)


def embedded(head: Head, blocks: Iterable[Joined], rows: int, threads: int) -> Generator[tuple[Joined, np.ndarray]]:
    """Each block, and (N, S * d) float32 vectors of its shots: the head's spaces one after the other.

    The score of a shot is `head.weight` times the dot product with the vector of a text, likewise of all spaces.
    """

    @torch.inference_mode()
    def embed(block: Joined) -> tuple[Joined, np.ndarray]:
        vectors = head.embed_videos(padded(head, block, rows)).flatten(1)
        return block, vectors[: len(block.ids)].float().cpu().numpy()

    with one_thread():
        yield from in_parallel(embed, blocks, threads)


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
