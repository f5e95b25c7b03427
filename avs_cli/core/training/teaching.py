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
from avs_cli.core.training.distillation import Recipe, Taught, distill
from avs_cli.core.training.objectives.base import Embedded, twins
from avs_cli.core.training.pairs import Batch, Column, Pairs, gathered, plain, read_ahead
from avs_cli.errors import MismatchError

# A score of a pair that is right too though it is not on the diagonal: as good as none, and no infinity.
NEVER = -1e4
B = TypeVar("B")
Shapes = Mapping[str, tuple[int, ...]]


def packed(arrays: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Arrays whose rows are N items as one (N, n), in the order of their names."""
    return torch.cat([arrays[name].flatten(1) for name in sorted(arrays)], dim=1)


def unpacked(rows: torch.Tensor, shapes: Shapes) -> dict[str, torch.Tensor]:
    """The arrays again; `shapes` are those of one item."""
    parts = rows.split([prod(shapes[name]) for name in sorted(shapes)], dim=1)  # type: ignore[no-untyped-call]
    return {name: part.reshape(-1, *shapes[name]) for name, part in zip(sorted(shapes), parts, strict=True)}


class Tutor(Protocol):
    """A teacher, seen from the student."""

    def taught(self, texts: torch.Tensor, videos: torch.Tensor) -> Taught:
        """What it says of N texts and N videos, from the (N, n) rows that were kept of them."""
        ...


@dataclass(frozen=True)
class HeadTutor:
    """A trained head; its scores are divided by a temperature.

    texts, videos  the shape of what it embeds one of them as, called "embedded"
    """

    head: Head
    temperature: float
    texts: Shapes
    videos: Shapes

    def taught(self, texts: torch.Tensor, videos: torch.Tensor) -> Taught:
        """Its scores; and the frames' relevance, if it looks at frames."""
        written, seen = unpacked(texts, self.texts)["embedded"], unpacked(videos, self.videos)["embedded"]
        return Taught(self.head.scores(written, seen) / self.temperature, self.head.relevance(written, seen))


@dataclass(frozen=True)
class ModelTutor:
    """One of the registry of teachers, over what its CLIP made of raw clips.

    texts, videos  the shapes of the arrays that it embeds one of them as
    """

    teacher: Teacher
    texts: Shapes
    videos: Shapes

    def taught(self, texts: torch.Tensor, videos: torch.Tensor) -> Taught:
        """Scores by its own scale."""
        written, seen = unpacked(texts, self.texts), unpacked(videos, self.videos)
        return Taught(self.teacher.similarities(written, seen), self.teacher.relevance(written, seen))


class Lesson(NamedTuple, Generic[B]):
    """A student's batch, and per teacher the rows of its texts and of its videos."""

    batch: B
    kept: list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Lessons(Generic[B]):
    """Pairs in batches, and where the rows of each teacher's texts and videos are.

    batch  gives the student's batch of some captions, given a generator for what is left to chance
    """

    pairs: Pairs
    kept: Sequence[tuple[Column, Column]]
    batch: Callable[[np.ndarray, np.random.Generator], B]

    def rows(self, which: np.ndarray) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Per teacher the rows of these captions and of their videos."""
        items = self.pairs.item[which]
        return [
            (plain(texts.rows.take(texts.place[which])), plain(videos.rows.take(videos.place[items])))
            for texts, videos in self.kept
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
        """The head's own."""
        self.head.begin_epoch()

    def watch(self, batch: Batch) -> Watching:
        """Of a head over frames the frames' weights too."""
        batch = batch.to(next(self.head.parameters()).device)
        texts = self.head.embed_texts(batch.texts, batch.sentences).flatten(1)
        videos, logits = self.head.watch_videos(batch.videos)
        return Watching(texts, videos.flatten(1), logits, batch.items, self.head.weight / self.temperature)


class Teaching(nn.Module, Generic[B]):
    """A lesson to its loss. In a distributed run every process sees all processes' pairs."""

    def __init__(self, student: Any, tutors: Sequence[Tutor], recipe: Recipe):
        super().__init__()
        self.student, self.tutors, self.recipe = student, tutors, recipe

    def begin_epoch(self) -> None:
        """The student's own."""
        self.student.begin_epoch()

    def forward(self, lesson: Lesson[B]) -> torch.Tensor:
        seen: Watching = self.student.watch(lesson.batch)
        texts, videos, logits, items, scale = seen
        device = texts.device
        kept = [(written.to(device), shown.to(device)) for written, shown in lesson.kept]
        if torch.distributed.is_initialized():
            texts, videos, items = (gathered(x) for x in (texts, videos, items))
            logits = None if logits is None else gathered(logits)
            kept = [(gathered(written), gathered(shown)) for written, shown in kept]
            # Each process computes the whole loss; the scale's gradients are added up, so one of them is enough.
            if isinstance(scale, torch.Tensor) and torch.distributed.get_rank():
                scale = scale.detach()
        with torch.autocast(device.type, enabled=False):
            others = twins(Embedded(texts, videos, items=items))
            others = others & ~torch.eye(len(texts), dtype=torch.bool, device=device)
            with torch.no_grad():
                told = [tutor.taught(*rows) for tutor, rows in zip(self.tutors, kept, strict=True)]
            told = [Taught(one.scores.masked_fill(others, NEVER), one.relevance) for one in told]
            scores = (scale * (texts.float() @ videos.float().T)).masked_fill(others, NEVER)
            return distill(scores, None if logits is None else logits.float(), told, self.recipe).total
