"""Pairs of captions and videos for training: features stay in their stores, and each batch reads its rows."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from avs_cli.core.device import copied
from avs_cli.core.models.layers import Head, Ragged, Vectors
from avs_cli.core.training.objectives.base import Embedded, Objective
from avs_cli.types import Block

AHEAD = 2
T = TypeVar("T")


class Rows(Protocol):
    """Items of a feature, by position."""

    def take(self, positions: np.ndarray) -> Block: ...


class Column(NamedTuple):
    """A feature, and the position of each item (or caption) in it."""

    rows: Rows
    positions: np.ndarray

    def take(self, which: np.ndarray) -> Vectors:
        """The vectors of items, in float32."""
        return as_vectors(self.rows.take(self.positions[which]))


def as_vectors(block: Block) -> Vectors:
    """The vectors of a block as input of a head."""
    vectors = torch.from_numpy(block.vectors.astype(np.float32))
    return vectors if block.offsets is None else Ragged(vectors, torch.from_numpy(block.offsets.astype(np.int64)))


class NegatedCaption(NamedTuple):
    """A sentence that negates a caption, and its row in each text feature."""

    sentence: str
    rows: tuple[int, ...]


class Batch(NamedTuple):
    """N captions and their videos; M negated captions, and which of the N captions each negates.

    negated            per text feature the vectors of the negated captions
    negated_sentences  their texts
    owner              (M,) the caption that each negates
    """

    videos: list[Vectors]
    texts: list[Vectors]
    sentences: list[str]
    items: torch.Tensor
    negated: list[Vectors]
    negated_sentences: list[str]
    owner: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch with its arrays on a device."""
        return Batch(
            [on(x, device) for x in self.videos],
            [on(x, device) for x in self.texts],
            self.sentences,
            copied(self.items, device),
            [on(x, device) for x in self.negated],
            self.negated_sentences,
            copied(self.owner, device),
        )


def on(x: Vectors, device: torch.device) -> Vectors:
    """Vectors on a device."""
    return copied(x, device) if isinstance(x, torch.Tensor) else Ragged(*(copied(part, device) for part in x))


@dataclass(frozen=True)
class Pairs:
    """Captions and the videos that they describe.

    captions   ids
    sentences  their texts
    items      ids of the videos
    item       (C,) index of the video of each caption
    videos     per video feature, its rows by video
    texts      per text feature, its rows by caption
    negated    index of a caption -> its negated captions
    """

    captions: Sequence[str]
    sentences: Sequence[str]
    items: Sequence[str]
    item: np.ndarray
    videos: Sequence[Column]
    texts: Sequence[Column]
    negated: dict[int, list[NegatedCaption]]

    def batch(self, which: np.ndarray, generator: np.random.Generator) -> Batch:
        """These captions, each with one of its negated captions, chosen at random."""
        owners = [row for row, caption in enumerate(which.tolist()) if caption in self.negated]
        choices = [self.negated[int(which[row])] for row in owners]
        chosen = [negated[int(generator.integers(len(negated)))] for negated in choices]
        return Batch(
            self.video_vectors(self.item[which]),
            self.text_vectors(which),
            [self.sentences[caption] for caption in which.tolist()],
            torch.from_numpy(self.item[which]),
            [
                as_vectors(column.rows.take(np.array([negated.rows[k] for negated in chosen])))
                for k, column in enumerate(self.texts)
                if chosen
            ],
            [negated.sentence for negated in chosen],
            torch.tensor(owners, dtype=torch.int64),
        )

    def video_vectors(self, which: np.ndarray) -> list[Vectors]:
        """The features of these videos."""
        return [column.take(which) for column in self.videos]

    def text_vectors(self, which: np.ndarray) -> list[Vectors]:
        """The features of these captions."""
        return [column.take(which) for column in self.texts]

    def steps(self, size: int, processes: int = 1) -> int:
        """The number of batches in an epoch, for each process."""
        if processes > 1:
            return max(1, len(self.captions) // processes // size)
        return max(1, (len(self.captions) - 2) // size + 1)

    def epoch(self, number: int, size: int, seed: int, process: int = 0, processes: int = 1) -> Iterator[Batch]:
        """All captions once, in an order determined by seed and number of the epoch; batches are prefetched.

        A last batch of one caption, which has no negatives, is dropped. In a distributed run, processes have different
        captions and the same number of full batches.
        """
        generator = np.random.default_rng([seed, number, 1])
        return read_ahead(lambda span: self.batch(span, generator), self.spans(number, size, seed, process, processes))

    def spans(self, number: int, size: int, seed: int, process: int = 0, processes: int = 1) -> list[np.ndarray]:
        """The captions of each batch of an epoch."""
        order = np.random.default_rng([seed, number]).permutation(len(self.captions))[process::processes]
        spans = [order[low : low + size] for low in range(0, len(order), size)]
        return spans[: self.steps(size, processes)]


def read_ahead(read: Callable[[np.ndarray], T], spans: Sequence[np.ndarray]) -> Iterator[T]:
    """The results of `read` for each span, in order; a thread reads the next ones ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="avs-pairs") as reader:
        pending = []
        for span in spans:
            pending.append(reader.submit(read, span))
            if len(pending) > AHEAD:
                yield pending.pop(0).result()
        for waiting in pending:
            yield waiting.result()


def plain(block: Block) -> torch.Tensor:
    """(N, n) float32 vectors of items with one vector each."""
    return torch.from_numpy(block.vectors.astype(np.float32))


class Matching(nn.Module):
    """The loss of a batch: a head and its objective.

    In a distributed run, the pairs of all processes are negatives in each.
    """

    def __init__(self, head: Head, objective: Objective):
        super().__init__()
        self.head, self.objective = head, objective

    def begin_epoch(self) -> None:
        """As the head."""
        self.head.begin_epoch()

    def forward(self, batch: Batch) -> torch.Tensor:
        batch = batch.to(next(self.head.parameters()).device)
        texts = self.head.embed_texts(batch.texts, batch.sentences)
        videos = self.head.embed_videos(batch.videos)
        negated = self.head.embed_texts(batch.negated, batch.negated_sentences) if batch.negated_sentences else None
        items = batch.items
        if torch.distributed.is_initialized():
            texts, videos, items = (gathered(x) for x in (texts, videos, items))
        # Half precision is for the matrix products of the head, not for differences of cosines.
        with torch.autocast(texts.device.type, enabled=False):
            scores = None if self.head.one_product else self.head.scores
            return self.objective(
                Embedded(texts.float(), videos.float(), self.head.weight, items, negated, batch.owner, scores)
            )


def gathered(x: torch.Tensor) -> torch.Tensor:
    """The rows of all processes; gradients flow to those of this one, and `add_gradients` sums over processes."""
    parts = [torch.empty_like(x) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, x.detach().contiguous())
    parts[torch.distributed.get_rank()] = x
    return torch.cat(parts)


@torch.inference_mode()
def embed_items(head: Head, pairs: Pairs, which: np.ndarray, size: int = 256) -> torch.Tensor:
    """(V, S, d) embeddings of these videos, in batches of `size`."""
    device = next(head.parameters()).device
    parts = [which[low : low + size] for low in range(0, len(which), size)]
    return torch.cat([head.embed_videos([on(x, device) for x in pairs.video_vectors(part)]) for part in parts])


@torch.inference_mode()
def embed_captions(head: Head, pairs: Pairs, which: np.ndarray, size: int = 256) -> torch.Tensor:
    """(T, S, d) embeddings of these captions, in batches of `size`."""
    device = next(head.parameters()).device
    parts = [which[low : low + size] for low in range(0, len(which), size)]
    return torch.cat(
        [
            head.embed_texts([on(x, device) for x in pairs.text_vectors(part)], [pairs.sentences[i] for i in part])
            for part in parts
        ]
    )


@torch.inference_mode()
def mean_weights(head: Head, pairs: Pairs, sample: int) -> dict[str, dict[str, float]]:
    """Mean attention weights per feature of "videos" and "texts", over items (or captions) and spaces.

    Empty for a head without attention. The paper selects features by these weights.
    """
    head.eval()
    device = next(head.parameters()).device
    items, captions = (np.arange(min(sample, len(ids))) for ids in (pairs.items, pairs.captions))
    seen = head.video_weights([on(x, device) for x in pairs.video_vectors(items)])
    vectors = [on(x, device) for x in pairs.text_vectors(captions)]
    written = head.text_weights(vectors, [pairs.sentences[i] for i in captions.tolist()])
    if seen is None or written is None:
        return {}
    sides = {"videos": ([video.name for video in head.videos], seen), "texts": (head.text_names, written)}
    return {
        side: dict(zip(names, weights.mean((0, 1)).tolist(), strict=True)) for side, (names, weights) in sides.items()
    }


def scores_of(head: Head, pairs: Pairs) -> Callable[[np.ndarray], torch.Tensor]:
    """From captions to their (C, V) float32 scores for every video; the videos are embedded once, now."""
    head.eval()
    videos = embed_items(head, pairs, np.arange(len(pairs.items)))

    @torch.inference_mode()
    def scores(which: np.ndarray) -> torch.Tensor:
        return head.scores(embed_captions(head, pairs, which), videos).float().cpu()

    return scores


def score_matrix(head: Head, pairs: Pairs) -> torch.Tensor:
    """(C, V) float32 scores of every caption and every video."""
    return scores_of(head, pairs)(np.arange(len(pairs.captions)))
