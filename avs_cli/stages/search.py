"""Search: the best shots for each topic, in a feature's own space or by trained heads.

    run = search(["gallery.h5"], {"661": "a hang glider floating in the sky"})
    runs = search_heads(["clip.h5", "blip.h5"], "tv22.txt", ["laff.safetensors"])    # {"laff": run}

Scores are cosines, or what a head computes; ties are broken by descending shot id.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from avs_cli.core.device import prepare
from avs_cli.core.search.exact import Cosine, Dot, Scorer, best_shots, top_shots
from avs_cli.errors import AvsError, MismatchError, SpecError, few
from avs_cli.io.store.reader import Gallery, open_gallery
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine, check_readable
from avs_cli.stages.inputs import FilePath, Paths, comparison, path_names
from avs_cli.stages.topics import (
    NO_WEIGHTS,
    TextFeatures,
    Topics,
    Wordings,
    all_wordings,
    check_images,
    encoded,
    field_of_heads,
    of_field,
    read,
    stored,
    text_features,
)
from avs_cli.types import Joined, Run, ranked

# A search by cosines imports nothing of heads.
if TYPE_CHECKING:
    from avs_cli.core.models.layers import Vectors
    from avs_cli.io.store.galleries import Galleries, JoinedGallery
    from avs_cli.stages.heads import TrainedHead

Field = Literal["query", "narrative", "both"]
Missing = Literal["error", "skip", "zero"]
# Below this cosine, the best shot of a query was wrong in every case checked.
DOUBTFUL = {"conse": 0.35}
NAMED = 5
# Shots per block: large enough for matrix products, small enough for the cache.
ROWS = 256
EXPLAINED = 10


class TimedRun(NamedTuple):
    """A run, and the seconds that its topics took together: to load text models, encode and search."""

    run: Run
    seconds: float


# In the space of a feature


def search(
    gallery: Paths,
    topics: Topics | None = None,
    *,
    vectors: FilePath = "",
    weights: FilePath | None = None,
    field: Field | None = None,
    depth: int = 1000,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Run:
    """The `depth` shots of the highest cosine for each topic; of a shot with several vectors, the best counts.

    gallery         feature stores of one feature, FILE or FILE::FEATURE
    topics          what to search for; with `vectors`, which topics of that store (None: all)
    vectors         a store of topics, encoded already
    weights         a local checkpoint of the gallery's model, to encode topics with
    field           the text of each topic; None: "query", or that of `vectors`
    allow_mismatch  note where vectors come from different models, instead of raising MismatchError
    device          auto (a GPU if there is one), cpu, cuda, cuda:1, mps …
    threads         CPU threads; 0: all cores
    engine          workers of a cluster that search instead of this process, one store each; the result is the same
    """
    with searching(
        gallery,
        topics,
        vectors=vectors,
        weights=weights,
        field=field,
        depth=depth,
        allow_mismatch=allow_mismatch,
        device=device,
        threads=threads,
        engine=engine,
        report=report,
    ) as found:
        return found.run


class GallerySearch(NamedTuple):
    """A search in a gallery that is open: the run, the seconds that its topics took together, and the gallery."""

    run: Run
    seconds: float
    gallery: Gallery


@contextmanager
def searching(
    gallery: Paths,
    topics: Topics | None = None,
    *,
    vectors: FilePath = "",
    weights: FilePath | None = None,
    field: Field | None = None,
    depth: int = 1000,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Iterator[GallerySearch]:
    """As `search`, with all that the search knows; its gallery is open as long as the context is."""
    if topics is None and not vectors:
        raise SpecError("a search needs topics or their vectors")
    stores = path_names(gallery)
    check_readable(engine, stores)
    with open_gallery(stores, comparison(allow_mismatch, report)) as shots:
        if not len(shots):
            raise MismatchError(f"{', '.join(stores)}: no shots to search")
        # A store's topics are encoded already: their texts only say which of them to search for.
        wanted = None if topics is None else read(topics, "query" if vectors else field or "query")
        if wanted is not None and not vectors:
            check_images(wanted, _file(topics))
        machine = prepare(device, threads)
        begun = time.perf_counter()
        if vectors:
            queries = stored(str(vectors), shots, None if wanted is None else [topic.id for topic in wanted], field)
        else:
            queries = encoded(wanted or [], shots, machine.device, machine.threads, weights)
        if engine is None:
            (rankings,) = top_shots([queries.vectors], shots, depth, machine.threads)
        else:
            scorer = partial(Cosine, queries.vectors)
            rankings = _in_stores(engine, [_InStore(name, scorer, depth, threads or engine.cores) for name in stores])
        seconds = time.perf_counter() - begun
        run: Run = dict(zip(queries.ids, rankings, strict=True))
        doubt(run, shots.provenance, report)
        yield GallerySearch(run, seconds, shots)


class _InStore(NamedTuple):
    """A search in one store, for a task; `scorer` makes what scores its shots."""

    store: str
    scorer: Callable[[], Scorer]
    depth: int
    threads: int


def _in_stores(engine: Engine, tasks: Sequence[_InStore]) -> list[dict[str, float]]:
    """The rankings of a gallery whose stores are searched by a task each."""
    found = []
    for task, rankings in engine.map(_search_store, tasks):
        if rankings is None:
            raise AvsError(f"{task.store}: killed the workers that searched it (out of memory?)")
        found.append(rankings)
    return _best(found, tasks[0].depth)


def _search_store(task: _InStore) -> list[dict[str, float]]:
    """In a worker: the rankings of one store."""
    threads = prepare("cpu", task.threads).threads
    with open_gallery([task.store]) as shots:
        (rankings,) = best_shots([task.scorer()], shots, task.depth, threads)
    return rankings


def _best(parts: Sequence[Sequence[dict[str, float]]], depth: int) -> list[dict[str, float]]:
    """The rankings of a gallery from those of its parts."""
    best = []
    for rankings in zip(*parts, strict=True):
        together = {shot: score for ranking in rankings for shot, score in ranking.items()}
        best.append({shot: together[shot] for shot in ranked(together)[:depth]})
    return best


def doubt(run: Run, provenance: Mapping[str, Any], report: Reporter = LOGGED) -> None:
    """Note the topics whose results are probably irrelevant, for models with a known threshold."""
    model = str(provenance.get("spec", "")).partition(":")[0]
    if model not in DOUBTFUL:
        return
    doubtful = [topic for topic, scores in run.items() if max(scores.values(), default=1.0) < DOUBTFUL[model]]
    if doubtful:
        which = "the best shot" if [*run] == ["query"] else f"the best shot of {_named(doubtful)}"
        report.note(
            f"{which} has a cosine below {DOUBTFUL[model]} ({model}): low similarity, results may be irrelevant"
        )


def _named(topics: Sequence[str]) -> str:
    return f"topic {few(topics, NAMED)}" if len(topics) <= NAMED else f"{len(topics)} topics ({few(topics, NAMED)})"


def _file(topics: Topics | None) -> str:
    """The topics' file, for a message; "" when they come from elsewhere."""
    return str(topics) if isinstance(topics, str | Path) else ""


# By trained heads


def search_heads(
    gallery: Paths,
    topics: Topics,
    heads: Paths,
    *,
    vectors: Paths = (),
    weights: Mapping[str, FilePath] = NO_WEIGHTS,
    field: Field | None = None,
    missing: Missing = "error",
    depth: int = 1000,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> dict[str, Run]:
    """The run of each head, by the head's name, in one pass over the gallery for all of them.

    gallery         feature stores of the heads' features, or of their vectors (`extract_heads`); FILE or FILE::FEATURE
    heads           files of trained heads
    vectors         stores of the heads' text features; features that they lack are encoded
    weights         text feature -> a local checkpoint of its encoder
    field           the text of each topic; None: "query", or that of `vectors`
    missing         shots that lack some of a head's features: "error", "skip", or "zero" for vectors of zeros
    allow_mismatch  note where vectors come from different models, instead of raising MismatchError
    device          auto (a GPU if there is one), cpu, cuda, cuda:1, mps …
    threads         CPU threads; 0: all cores
    engine          workers of a cluster that search instead of this process, some of the shots each; the result is
                    the same
    """
    with searching_heads(
        gallery,
        topics,
        heads,
        vectors=vectors,
        weights=weights,
        field=field,
        missing=missing,
        depth=depth,
        allow_mismatch=allow_mismatch,
        device=device,
        threads=threads,
        engine=engine,
        report=report,
    ) as found:
        return {name: timed.run for name, timed in found.runs.items()}


class FeatureWeight(NamedTuple):
    """The weight of a feature of a head, for a shot of a topic, or for the topic's text where `shot` is ""."""

    head: str
    topic: str
    shot: str
    feature: str
    weight: float


@dataclass(frozen=True)
class HeadSearch:
    """A search with heads in a gallery that is open.

    runs       head name -> its run
    gallery    the shots, with the features of all heads; with the vectors of one, if all of them are stored
    heads      the heads, and `texts` of each the text features of `wordings`
    stored     the paths of heads whose vectors are stored
    """

    runs: Mapping[str, TimedRun]
    gallery: "JoinedGallery | Gallery"
    heads: "Sequence[TrainedHead]"
    wordings: Wordings
    texts: Sequence[TextFeatures]
    stored: Sequence[str] = ()

    def explanation(self) -> Iterator[FeatureWeight]:
        """The weights of features, as means over a head's spaces: of each topic, and of its best shots.

        Raises MismatchError for a head whose vectors are stored: the weights are those of the features.
        """
        from avs_cli.core.search.heads import padded

        if self.stored or isinstance(self.gallery, Gallery):
            raise MismatchError(
                f"{self.stored[0]}: no weights of features, since its vectors are stored; give the stores of its "
                "features instead"
            )
        for one, texts in zip(self.heads, self.texts, strict=True):
            run = self.runs[one.name].run
            names = [part["name"] for part in (*one.description["texts"], *one.description["encoders"])]
            with torch.inference_mode():
                of_texts = one.head.text_weights(texts.vectors, self.wordings.texts)
                of_texts = None if of_texts is None else merged(self.wordings, of_texts, sizes=True)
            for row, topic in enumerate(self.wordings.topics):
                if of_texts is not None:
                    for name, weight in zip(names, of_texts[row].mean(0).tolist(), strict=True):
                        yield FeatureWeight(one.name, topic.id, "", name, weight)
                best = [*run[topic.id]][:EXPLAINED]
                block = self.gallery.take(self.gallery.places(best))
                with torch.inference_mode():
                    of_shots = one.head.video_weights(padded(one.head, block, len(best)))
                if of_shots is not None:
                    for shot, weights in zip(best, of_shots.mean(1).tolist(), strict=True):
                        for feature, weight in zip(one.head.videos, weights, strict=True):
                            yield FeatureWeight(one.name, topic.id, shot, feature.name, weight)


@contextmanager
def searching_heads(
    gallery: Paths,
    topics: Topics,
    heads: Paths,
    *,
    vectors: Paths = (),
    weights: Mapping[str, FilePath] = NO_WEIGHTS,
    field: Field | None = None,
    missing: Missing = "error",
    depth: int = 1000,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Iterator[HeadSearch]:
    """As `search_heads`, with all that the search knows; its stores are open as long as the context is."""
    from avs_cli.io.store.galleries import Galleries
    from avs_cli.stages.heads import load_heads, stored_vectors

    check_readable(engine, path_names(gallery))
    compared = comparison(allow_mismatch, report)
    given = read(topics)
    check_images(given, _file(topics))
    machine = prepare(device, threads)
    loaded = load_heads(path_names(heads), machine.device)
    with Galleries(path_names(gallery), compared) as shots, Galleries(path_names(vectors), compared) as text_stores:
        chosen = field_of_heads(loaded, text_stores, field)
        wordings = all_wordings(of_field(given, chosen, _file(topics)))
        stored_of = stored_vectors(loaded, shots)
        computed = [one for one in loaded if one.path not in stored_of]
        if missing != "error" and not computed:
            report.note("no feature can be missing from the stored vectors of heads, so --missing has no effect")
        joined = join(shots, computed, missing, report) if computed else None
        texts = text_features(loaded, wordings, text_stores, machine.device, machine.threads, weights)
        vectors_of = {one.path: features.vectors for one, features in zip(loaded, texts, strict=True)}
        of_computed = [vectors_of[one.path] for one in computed]
        runs: list[TimedRun] = []
        if joined is not None and engine is None:
            runs = rank(computed, of_computed, wordings, joined, depth, machine.threads, missing)
        elif joined is not None and engine is not None:
            names = path_names(gallery), [one.path for one in computed]
            how = _HeadSearching(*names, [], wordings, missing, depth, device, threads or engine.cores)
            runs = _rank_elsewhere(engine, how, computed, of_computed, len(joined))
        found = {one.path: run for one, run in zip(computed, runs, strict=True)}
        for one in loaded:
            if one.path in stored_of:
                held = shots.features[stored_of[one.path]]
                some_threads = machine.threads if engine is None else threads or engine.cores
                found[one.path] = rank_stored(one, vectors_of[one.path], wordings, held, depth, some_threads, engine)
        timed = {
            one.name: TimedRun(found[one.path].run, features.seconds + found[one.path].seconds)
            for one, features in zip(loaded, texts, strict=True)
        }
        shown = joined or shots.features[stored_of[loaded[0].path]]
        yield HeadSearch(timed, shown, loaded, wordings, texts, [*stored_of])


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
        for feature, lost in joined.lacks(own).items():
            gap = joined.described_gap(feature, lost, own)
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
        found.append(TimedRun(_run_of(ranking, wordings), took + whole * own / sum(spent)))
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
        rankings = _in_stores(engine, [_InStore(name, partial(scorer, name), depth, threads) for name in stores])
    return TimedRun(_run_of(rankings, wordings), time.perf_counter() - begun)


def _run_of(rankings: Sequence[Mapping[str, float]], wordings: Wordings) -> Run:
    """The rankings of topics as a run, without the shots that have no score."""
    scored = ({shot: score for shot, score in scores.items() if score > -math.inf} for scores in rankings)
    return dict(zip((topic.id for topic in wordings.topics), scored, strict=True))


@dataclass(frozen=True)
class _HeadSearching:
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

    how: _HeadSearching
    low: int
    high: int


class _RankedPart(NamedTuple):
    """Of each head, the rankings of a part and the seconds that they took."""

    rankings: list[list[dict[str, float]]]
    seconds: list[float]


def _rank_elsewhere(
    engine: Engine,
    how: _HeadSearching,
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
    best = [_best(rankings, how.depth) for rankings in zip(*(result.rankings for result in found), strict=True)]
    return [
        TimedRun(_run_of(ranking, how.wordings), whole * own / spent.sum())
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

    def blocks(self) -> Iterator[Joined]:
        for low in range(self.low, self.high, ROWS):
            yield self.whole.take(np.arange(low, min(low + ROWS, self.high)))

    def take(self, positions: np.ndarray) -> Joined:
        return self.whole.take(positions + self.low)


def merged(wordings: Wordings, values: torch.Tensor, sizes: bool = False) -> torch.Tensor:
    """(W, …) of wordings to (N, …) of topics: sums, weighted by the wordings' weights or their absolute values."""
    weights = torch.tensor(wordings.weights, dtype=values.dtype, device=values.device)
    weighted = values * (weights.abs() if sizes else weights).view(-1, *[1] * (values.dim() - 1))
    owner = torch.tensor(wordings.owner, device=values.device)
    return values.new_zeros(len(wordings.topics), *values.shape[1:]).index_add(0, owner, weighted)
