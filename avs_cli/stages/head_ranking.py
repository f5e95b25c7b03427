"""The shots of a gallery ranked by trained heads, or by their stored vectors."""

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from avs_cli.core.search.exact import Dot, best_shots
from avs_cli.errors import MismatchError
from avs_cli.io.store.reader import Gallery
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine
from avs_cli.stages.search_stores import StoreSearch, search_stores
from avs_cli.stages.topics import Wordings
from avs_cli.types import Run

# A search by cosines imports nothing of heads.
if TYPE_CHECKING:
    from avs_cli.core.models.layers import Vectors
    from avs_cli.io.store.galleries import Galleries, JoinedGallery
    from avs_cli.stages.heads import TrainedHead

Missing = Literal["error", "skip", "zero"]
# Shots per block: large enough for matrix products, small enough for the cache.
ROWS = 256


class TimedRun(NamedTuple):
    """A run, and the seconds that its topics took together: to load text models, encode and search."""

    run: Run
    seconds: float


def join(
    galleries: "Galleries", heads: "Sequence[TrainedHead]", missing: Missing = "error", report: Reporter = LOGGED
) -> "JoinedGallery":
    """The gallery with the features of the heads; raises MismatchError for missing or different features.

    missing  shots that lack features: reject ("error"), skip ("skip"), or use zero vectors ("zero")
    """
    from avs_cli.io.store.galleries import JoinedGallery

    for one in heads:
        galleries.check(one.path, one.description["videos"])
    features = dict.fromkeys(feature["name"] for one in heads for feature in one.description["videos"])
    joined = JoinedGallery(galleries, list(features), ROWS)
    notes = []
    for one in heads:
        own = [feature["name"] for feature in one.description["videos"]]
        for feature, found in joined.gaps(own).items():
            gap = joined.described_gap(feature, found)
            if missing == "error":
                raise MismatchError(
                    f"{gap}; use --missing skip to skip these shots, or --missing zero to use zero vectors instead"
                )
            notes.append(
                f"{gap}; {'these shots are skipped' if missing == 'skip' else 'zero vectors are used instead'}"
            )
        if not joined.count(own, every=missing == "skip"):
            raise MismatchError(
                f"{one.path}: no shot to search has {'all' if missing == 'skip' else 'any'} of its features"
            )
    report.note_each(notes)
    return joined


def rank(
    heads: "Sequence[TrainedHead]",
    texts: "Sequence[Sequence[Vectors]]",
    wordings: Wordings,
    gallery: "JoinedGallery",
    depth: int,
    threads: int,
    missing: Missing = "error",
) -> list[TimedRun]:
    """One run per head in a single pass over the gallery; a topic's score is the weighted mean over its wordings.

    texts  of each head, the vectors of its text features
    The seconds of a head are its share of the pass, in proportion to its scoring time.
    """
    from avs_cli.core.search.heads import HeadScorer

    scorers, seconds = [], []
    with torch.inference_mode():
        for one, vectors in zip(heads, texts, strict=True):
            begun = time.perf_counter()
            embedded = one.head.embed_texts(vectors, wordings.texts)
            merge = partial(merged, wordings)
            scorers.append(HeadScorer(one.head, embedded, ROWS, merge, missing != "zero", one.path))
            seconds.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    rankings = best_shots(scorers, gallery, depth, threads)
    whole = time.perf_counter() - begun
    spent = [sum(scorer.spent) for scorer in scorers]
    found = []
    for ranking, own, took in zip(rankings, spent, seconds, strict=True):
        found.append(TimedRun(run_of(ranking, wordings), took + whole * own / sum(spent)))
    return found


def rank_stored(
    head: "TrainedHead",
    texts: "Sequence[Vectors]",
    wordings: Wordings,
    gallery: Gallery,
    depth: int,
    threads: int,
    engine: Engine | None = None,
) -> TimedRun:
    """The run of a head over its stored vectors: the score of a shot is the dot product with the topic's vector.

    A topic's vector is the weighted mean over its wordings, times the head's weight. So scores are the head's, apart
    from the rounding of the stored vectors.
    """
    begun = time.perf_counter()
    with torch.inference_mode():
        embedded = head.head.embed_texts(texts, wordings.texts).flatten(1).double().cpu()
        queries = (head.head.weight * merged(wordings, embedded)).numpy()
    if not np.isfinite(queries).all():
        raise MismatchError(f"{head.path}: its text vectors are NaN or infinite: damaged weights")
    where = f"{gallery.stores[0].path}::{gallery.feature}"
    if gallery.frame_level or queries.shape[1] != gallery.dim:
        raise MismatchError(f"{where} has vectors of {gallery.dim} dimensions, and {head.path} of {queries.shape[1]}")
    if not len(gallery):
        raise MismatchError(f"{where}: no shots to search")
    scorer = partial(Dot, queries, math.sqrt(head.head.spaces))
    if engine is None:
        (rankings,) = best_shots([scorer(where)], gallery, depth, threads)
    else:
        stores = [f"{store.path}::{store.feature}" for store in gallery.stores]
        rankings = search_stores(engine, [StoreSearch(name, partial(scorer, name), depth, threads) for name in stores])
    return TimedRun(run_of(rankings, wordings), time.perf_counter() - begun)


def run_of(rankings: Sequence[Mapping[str, float]], wordings: Wordings) -> Run:
    """The rankings of topics as a run, without the shots that have no score."""
    scored = ({shot: score for shot, score in scores.items() if score > -math.inf} for scores in rankings)
    return dict(zip((topic.id for topic in wordings.topics), scored, strict=True))


def merged(wordings: Wordings, values: torch.Tensor, sizes: bool = False) -> torch.Tensor:
    """(W, …) of wordings to (N, …) of topics: sums, weighted by the wordings' weights or their absolute values."""
    weights = torch.tensor(wordings.weights, dtype=values.dtype, device=values.device)
    weighted = values * (weights.abs() if sizes else weights).view(-1, *[1] * (values.dim() - 1))
    owner = torch.tensor(wordings.owner, device=values.device)
    return values.new_zeros(len(wordings.topics), *values.shape[1:]).index_add(0, owner, weighted)
