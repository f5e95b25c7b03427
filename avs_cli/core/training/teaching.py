"""Training of a student with teachers: outputs on a batch of pairs, and the loss.

A teacher's vectors of each text and each video do not change, so they are computed once and cached, one row per item;
its scores depend on the pairs of a batch, so they are computed from these rows in each step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from avs_cli.core.models.layers import Head, Watching
from avs_cli.core.models.teachers.base import Teacher
from avs_cli.core.training.distillation import Recipe, Targets, distill
from avs_cli.core.training.objectives.base import Embedded, twins
from avs_cli.core.training.pairs import Batch, Column, Pairs, gathered, plain, read_ahead
from avs_cli.errors import MismatchError

# The score of positive pairs off the diagonal: excluded by softmax, and finite.
NEVER = -1e4
B = TypeVar("B")
Shapes = Mapping[str, tuple[int, ...]]


def packed(arrays: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Concatenate arrays of N items to (N, n), in the order of their names."""
    return torch.cat([arrays[name].flatten(1) for name in sorted(arrays)], dim=1)


def unpacked(rows: torch.Tensor, shapes: Shapes) -> dict[str, torch.Tensor]:
    """The inverse of `packed`; `shapes` are those of one item."""
    parts = rows.split([prod(shapes[name]) for name in sorted(shapes)], dim=1)  # type: ignore[no-untyped-call]
    return {name: part.reshape(-1, *shapes[name]) for name, part in zip(sorted(shapes), parts, strict=True)}


class Tutor(Protocol):
    """A teacher on cached vectors."""

    def targets(self, texts: torch.Tensor, videos: torch.Tensor) -> Targets:
        """The targets for N texts and N videos, from their (N, n) rows in the cache."""
        ...


@dataclass(frozen=True)
class HeadTutor:
    """A trained head; its scores are divided by a temperature.

    texts, videos  the shape of one embedded text, and of one video, under the name "embedded"
    """

    head: Head
    temperature: float
    texts: Shapes
    videos: Shapes

    def targets(self, texts: torch.Tensor, videos: torch.Tensor) -> Targets:
        """The head's scores, and the relevance of frames if it is a head over frames."""
        texts, videos = unpacked(texts, self.texts)["embedded"], unpacked(videos, self.videos)["embedded"]
        return Targets(self.head.scores(texts, videos) / self.temperature, self.head.relevance(texts, videos))


@dataclass(frozen=True)
class ModelTutor:
    """A teacher of the registry, over the vectors of its CLIP model.

    texts, videos  the shapes of the arrays of one embedded text, and of one video
    """

    teacher: Teacher
    texts: Shapes
    videos: Shapes

    def targets(self, texts: torch.Tensor, videos: torch.Tensor) -> Targets:
        """The teacher's scores, with its own scale, and the relevance of frames."""
        embedded = unpacked(texts, self.texts), unpacked(videos, self.videos)
        return Targets(self.teacher.similarities(*embedded), self.teacher.relevance(*embedded))


class Lesson(NamedTuple, Generic[B]):
    """A student's batch, and per teacher the cached rows of its texts and of its videos."""

    batch: B
    rows: list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Lessons(Generic[B]):
    """Pairs in batches, with the cached vectors of teachers.

    columns  per teacher its vectors of captions and of videos
    batch    the student's batch of some captions, given a generator for random choices
    """

    pairs: Pairs
    columns: Sequence[tuple[Column, Column]]
    batch: Callable[[np.ndarray, np.random.Generator], B]

    def rows(self, which: np.ndarray) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Per teacher the rows of these captions and of their videos."""
        items = self.pairs.item[which]
        return [
            (plain(texts.rows.take(texts.positions[which])), plain(videos.rows.take(videos.positions[items])))
            for texts, videos in self.columns
        ]

    def epoch(self, number: int, size: int, seed: int, process: int = 0, processes: int = 1) -> Iterator[Lesson[B]]:
        """The batches of `Pairs.epoch`."""
        generator = np.random.default_rng([seed, number, 1])
        spans = self.pairs.spans(number, size, seed, process, processes)
        return read_ahead(lambda span: Lesson(self.batch(span, generator), self.rows(span)), spans)


class HeadStudent(nn.Module):
    """A head over stored features as the student; its scores are divided by a temperature."""

    def __init__(self, head: Head, temperature: float):
        super().__init__()
        if not head.one_product:
            raise MismatchError(
                "a student needs one vector per shot, unlike this head; use avs train to train it as a teacher"
            )
        self.head, self.temperature = head, temperature

    def begin_epoch(self) -> None:
        """As the head."""
        self.head.begin_epoch()

    def watch(self, batch: Batch) -> Watching:
        """The vectors of captions and videos, and the weights of frames if it is a head over frames."""
        batch = batch.to(next(self.head.parameters()).device)
        texts = self.head.embed_texts(batch.texts, batch.sentences).flatten(1)
        videos, logits = self.head.watch_videos(batch.videos)
        return Watching(texts, videos.flatten(1), logits, batch.items, self.head.weight / self.temperature)


class Teaching(nn.Module, Generic[B]):
    """The loss of a lesson. In a distributed run, each process computes it over the pairs of all processes."""

    def __init__(self, student: Any, tutors: Sequence[Tutor], recipe: Recipe):
        super().__init__()
        self.student, self.tutors, self.recipe = student, tutors, recipe

    def begin_epoch(self) -> None:
        """As the student."""
        self.student.begin_epoch()

    def forward(self, lesson: Lesson[B]) -> torch.Tensor:
        seen: Watching = self.student.watch(lesson.batch)
        texts, videos, logits, items, scale = seen
        device = texts.device
        rows = [(of_texts.to(device), of_videos.to(device)) for of_texts, of_videos in lesson.rows]
        if torch.distributed.is_initialized():
            texts, videos, items = (gathered(x) for x in (texts, videos, items))
            logits = None if logits is None else gathered(logits)
            rows = [(gathered(of_texts), gathered(of_videos)) for of_texts, of_videos in rows]
            # Each process computes the whole loss, and gradients are summed: the scale's come from one of them only.
            if isinstance(scale, torch.Tensor) and torch.distributed.get_rank():
                scale = scale.detach()
        with torch.autocast(device.type, enabled=False):
            others = twins(Embedded(texts, videos, items=items))
            others = others & ~torch.eye(len(texts), dtype=torch.bool, device=device)
            with torch.no_grad():
                targets = [tutor.targets(*own) for tutor, own in zip(self.tutors, rows, strict=True)]
            targets = [Targets(one.scores.masked_fill(others, NEVER), one.relevance) for one in targets]
            scores = (scale * (texts.float() @ videos.float().T)).masked_fill(others, NEVER)
            return distill(scores, None if logits is None else logits.float(), targets, self.recipe).total
