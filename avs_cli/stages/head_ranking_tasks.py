"""As `head_ranking.rank`, on the workers of a cluster: some of the shots in each task."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from avs_cli.core.device import prepare
from avs_cli.core.search.exact import best_shots
from avs_cli.errors import AvsError
from avs_cli.stages.engine import Engine
from avs_cli.stages.head_ranking import ROWS, Missing, TimedRun, merged, run_of
from avs_cli.stages.search_stores import merged_best
from avs_cli.stages.topics import Wordings
from avs_cli.types import Joined

if TYPE_CHECKING:
    from avs_cli.core.models.layers import Vectors
    from avs_cli.io.store.galleries import JoinedGallery
    from avs_cli.stages.heads import TrainedHead


@dataclass(frozen=True)
class HeadSearching:
    """A search with heads, for tasks; `texts` are the embeddings of the wordings for each head."""

    gallery: Sequence[str]
    heads: Sequence[str]
    texts: Sequence[torch.Tensor]
    wordings: Wordings
    missing: Missing
    depth: int
    device: str
    threads: int


class _Part(NamedTuple):
    """The shots from `low` to before `high` of a gallery."""

    how: HeadSearching
    low: int
    high: int


class _RankedPart(NamedTuple):
    """Of each head, the rankings of a part and the seconds that they took."""

    rankings: list[list[dict[str, float]]]
    seconds: list[float]


def rank_elsewhere(
    engine: Engine,
    how: HeadSearching,
    heads: "Sequence[TrainedHead]",
    texts: "Sequence[Sequence[Vectors]]",
    count: int,
) -> list[TimedRun]:
    """As `rank`, for a gallery of `count` shots, part by part in tasks."""
    begun = time.perf_counter()
    with torch.inference_mode():
        embedded = [
            one.head.embed_texts(vectors, how.wordings.texts).cpu() for one, vectors in zip(heads, texts, strict=True)
        ]
    how = replace(how, texts=embedded)
    # Each task opens the stores, which takes longer than the search of some blocks.
    step = max(1, math.ceil(count / ROWS / engine.workers)) * ROWS
    parts = [_Part(how, low, min(low + step, count)) for low in range(0, count, step)]
    found = []
    for part, result in engine.map(_rank_part, parts):
        if result is None:
            raise AvsError(f"shots {part.low} to {part.high}: killed the workers that searched them (out of memory?)")
        found.append(result)
    whole = time.perf_counter() - begun
    spent = np.array([result.seconds for result in found]).sum(axis=0)
    best = [merged_best(rankings, how.depth) for rankings in zip(*(result.rankings for result in found), strict=True)]
    return [
        TimedRun(run_of(ranking, how.wordings), whole * own / spent.sum())
        for ranking, own in zip(best, spent.tolist(), strict=True)
    ]


def _rank_part(part: _Part) -> _RankedPart:
    """In a worker: the rankings of a part of the shots."""
    from avs_cli.core.search.heads import HeadScorer
    from avs_cli.io.store.compatibility import Comparison
    from avs_cli.io.store.galleries import Galleries, JoinedGallery
    from avs_cli.stages.heads import load_heads

    how = part.how
    machine = prepare(how.device, how.threads)
    heads = load_heads(how.heads, machine.device)
    # The command has compared and reported.
    with Galleries(how.gallery, Comparison(force=True)) as galleries:
        features = dict.fromkeys(feature["name"] for one in heads for feature in one.description["videos"])
        joined = JoinedGallery(galleries, list(features), ROWS)
        merge = partial(merged, how.wordings)
        scorers = [
            HeadScorer(one.head, texts.to(machine.device), ROWS, merge, how.missing != "zero", one.path)
            for one, texts in zip(heads, how.texts, strict=True)
        ]
        with torch.inference_mode():
            rankings = best_shots(scorers, _Blocks(joined, part.low, part.high), how.depth, machine.threads)
    return _RankedPart(rankings, [sum(scorer.spent) for scorer in scorers])


class _Blocks(NamedTuple):
    """The shots from `low` to before `high` of a gallery, as one to search."""

    whole: "JoinedGallery"
    low: int
    high: int

    def pieces(self) -> Iterator[tuple[int, Callable[[], Joined]]]:
        for low in range(self.low, self.high, ROWS):
            yield low - self.low, partial(self.whole.take, np.arange(low, min(low + ROWS, self.high)))

    def take(self, positions: np.ndarray) -> Joined:
        return self.whole.take(positions + self.low)
