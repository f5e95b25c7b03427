"""Teachers of a distillation on stored features: trained heads, whose vectors are computed once and cached."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from avs_cli.core.training.distillation import Method, Recipe
from avs_cli.core.training.pairs import Column, Pairs, embed_captions, embed_items
from avs_cli.core.training.teaching import HeadTutor
from avs_cli.errors import SpecError
from avs_cli.io.store.compatibility import Comparison
from avs_cli.io.store.galleries import Galleries
from avs_cli.provenance import digest
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.heads import load_heads
from avs_cli.stages.team import Team
from avs_cli.stages.training_data import TrainingData
from avs_cli.stages.vector_cache import Elsewhere, Workers, cached_vectors, key_of

# Items that are read at a time.
BLOCK = 512
# Weights of the matching, coarse and fine losses.
LossWeights = tuple[float, float, float]


def recipe_of(teachers: Sequence[str], coarse: Method, fine: Method, weights: LossWeights | None) -> Recipe:
    """The losses of a distillation; without teachers there is only the matching loss, so its weight is 1.

    weights  of the matching, coarse and fine losses; None: as published
    Raises SpecError for weights without teachers.
    """
    if not teachers:
        if weights:
            raise SpecError("loss_weights have no effect without teachers")
        return Recipe(matching_weight=1.0)
    return Recipe(coarse, fine, 1.0, *(map(float, weights) if weights else (None, None, None)))


class HeadTeacher:
    """A trained head as a teacher on stored features."""

    def __init__(self, path: str, data: TrainingData, device: str):
        """Raises MismatchError where the stores lack one of its features or have a different one."""
        (trained,) = load_heads([path], device)
        self.path, self.head, self.description = path, trained.head, trained.description
        self.data = data
        for galleries, end in ((data.videos, "videos"), (data.texts, "texts")):
            galleries.check(path, self.description[end])

    def pairs(self, pairs: Pairs) -> Pairs:
        """The same captions and videos, with the features of this head."""
        videos, texts = ([feature["name"] for feature in self.description[end]] for end in ("videos", "texts"))
        return self.data.only(videos, texts).same(pairs)

    def tutor(
        self,
        stack: ExitStack,
        team: Team,
        folder: Path,
        pairs: Pairs,
        temperature: float,
        report: Reporter = LOGGED,
        workers: Workers | None = None,
    ) -> tuple[HeadTutor, tuple[Column, Column]]:
        """The tutor, and its columns of captions and videos, which `workers` may compute."""
        own = self.pairs(pairs)
        name = f"{Path(self.path).stem}-{key_of([digest(self.path), content(own)])}"
        texts = cached_vectors(
            stack, team, folder / f"{name}-texts.h5", own.captions,
            lambda which: {"embedded": embed_captions(self.head, own, which)}, report,
            workers and Elsewhere(workers, load_pass, self._pass("texts"), partial(_inputs, own.texts, own.sentences)),
        )  # fmt: skip
        videos = cached_vectors(
            stack, team, folder / f"{name}-videos.h5", own.items,
            lambda which: {"embedded": embed_items(self.head, own, which)}, report,
            workers and Elsewhere(workers, load_pass, self._pass("videos"), partial(_inputs, own.videos, ())),
        )  # fmt: skip
        return HeadTutor(self.head, temperature, texts.shapes, videos.shapes), (texts.column(), videos.column())

    def _pass(self, side: Literal["videos", "texts"]) -> "HeadPass":
        galleries = self.data.videos if side == "videos" else self.data.texts
        features = [galleries.features[feature["name"]] for feature in self.description[side]]
        stores = [f"{store.path}::{store.feature}" for gallery in features for store in gallery.stores]
        return HeadPass(self.path, side, tuple(stores))


# On the workers of a cluster


class HeadPass(NamedTuple):
    """What a worker loads to compute a teacher's vectors: the head, and the stores of its features of one side."""

    path: str
    side: Literal["videos", "texts"]
    stores: tuple[str, ...]


class HeadInputs(NamedTuple):
    """Videos, or captions with their sentences, by their positions in each feature."""

    positions: list[np.ndarray]
    sentences: list[str]


def _inputs(columns: Sequence[Column], sentences: Sequence[str], which: np.ndarray) -> HeadInputs:
    """These items of a task."""
    return HeadInputs(
        [column.positions[which] for column in columns], [sentences[i] for i in which.tolist()] if sentences else []
    )


def load_pass(model: HeadPass, device: str) -> Callable[[HeadInputs], dict[str, torch.Tensor]]:
    """In a worker: what computes a teacher's vectors of items; its stores stay open."""
    (trained,) = load_heads([model.path], device)
    galleries = Galleries(model.stores, Comparison(force=True))  # the command has compared and reported
    features = [galleries.features[feature["name"]] for feature in trained.description[model.side]]

    def compute(inputs: HeadInputs) -> dict[str, torch.Tensor]:
        count = len(inputs.sentences) or len(inputs.positions[0])
        columns = [Column(rows, places) for rows, places in zip(features, inputs.positions, strict=True)]
        own = np.arange(count)
        ids = [""] * count
        if model.side == "videos":
            return {"embedded": embed_items(trained.head, Pairs(ids, ids, ids, own, columns, [], {}), own)}
        return {"embedded": embed_captions(trained.head, Pairs(ids, inputs.sentences, ids, own, [], columns, {}), own)}

    return compute


def content(pairs: Pairs) -> str:
    """A digest of all vectors and sentences, since equal names do not imply equal inputs."""
    digested = hashlib.sha256(b"[")
    for number, texts in enumerate((pairs.captions, pairs.sentences, pairs.items)):
        digested.update(b", [" if number else b"[")
        for low in range(0, len(texts), BLOCK):
            digested.update(b", " * (low > 0) + json.dumps(list(texts[low : low + BLOCK]))[1:-1].encode())
        digested.update(b"]")
    digested.update(b"]")
    for columns in (pairs.videos, pairs.texts):
        for column in columns:
            for low in range(0, len(column.positions), BLOCK):
                block = column.rows.take(column.positions[low : low + BLOCK])
                digested.update(block.vectors.tobytes())
                if block.offsets is not None:
                    digested.update(np.ascontiguousarray(block.offsets).tobytes())
    return digested.hexdigest()
