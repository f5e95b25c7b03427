"""Search: the best shots for each topic, in a feature's own space or by trained heads.

    run = search(["gallery.h5"], {"661": "a hang glider floating in the sky"})
    runs = search_heads(["clip.h5", "blip.h5"], "tv22.txt", ["laff.safetensors"])    # {"laff": run}

Scores are cosines, or what a head computes; ties are broken by descending shot id.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from avs_cli.core.device import prepare
from avs_cli.core.search.exact import best_shots, top_shots
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.store.reader import Gallery, open_gallery
from avs_cli.reporting import LOGGED, Reporter
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
from avs_cli.types import Run

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
    report: Reporter = LOGGED,
) -> Iterator[GallerySearch]:
    """As `search`, with all that the search knows; its gallery is open as long as the context is."""
    if topics is None and not vectors:
        raise SpecError("a search needs topics or their vectors")
    stores = path_names(gallery)
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
        (rankings,) = top_shots([queries.vectors], shots, depth, machine.threads)
        seconds = time.perf_counter() - begun
        run: Run = dict(zip(queries.ids, rankings, strict=True))
        doubt(run, shots.provenance, report)
        yield GallerySearch(run, seconds, shots)


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
    report: Reporter = LOGGED,
) -> dict[str, Run]:
    """The run of each head, by the head's name, in one pass over the gallery for all of them.

    gallery         feature stores that hold the heads' features, FILE or FILE::FEATURE
    heads           files of trained heads
    vectors         stores of the heads' text features; features that they lack are encoded
    weights         text feature -> a local checkpoint of its encoder
    field           the text of each topic; None: "query", or that of `vectors`
    missing         shots that lack some of a head's features: "error", "skip", or "zero" for vectors of zeros
    allow_mismatch  note where vectors come from different models, instead of raising MismatchError
    device          auto (a GPU if there is one), cpu, cuda, cuda:1, mps …
    threads         CPU threads; 0: all cores
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
    gallery    the shots, with the features of all heads
    heads      the heads, and `texts` of each the text features of `wordings`
    """

    runs: Mapping[str, TimedRun]
    gallery: "JoinedGallery"
    heads: "Sequence[TrainedHead]"
    wordings: Wordings
    texts: Sequence[TextFeatures]

    def explanation(self) -> Iterator[FeatureWeight]:
        """The weights of features, as means over a head's spaces: of each topic, and of its best shots."""
        from avs_cli.core.search.heads import padded

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
    report: Reporter = LOGGED,
) -> Iterator[HeadSearch]:
    """As `search_heads`, with all that the search knows; its stores are open as long as the context is."""
    from avs_cli.io.store.galleries import Galleries
    from avs_cli.stages.heads import load_heads

    compared = comparison(allow_mismatch, report)
    given = read(topics)
    check_images(given, _file(topics))
    machine = prepare(device, threads)
    loaded = load_heads(path_names(heads), machine.device)
    with Galleries(path_names(gallery), compared) as shots, Galleries(path_names(vectors), compared) as text_stores:
        chosen = field_of_heads(loaded, text_stores, field)
        wordings = all_wordings(of_field(given, chosen, _file(topics)))
        joined = join(shots, loaded, missing, report)
        texts = text_features(loaded, wordings, text_stores, machine.device, machine.threads, weights)
        runs = rank(loaded, [one.vectors for one in texts], wordings, joined, depth, machine.threads, missing)
        timed = {
            one.name: TimedRun(found.run, features.seconds + found.seconds)
            for one, features, found in zip(loaded, texts, runs, strict=True)
        }
        yield HeadSearch(timed, joined, loaded, wordings, texts)


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
        scored = ({shot: score for shot, score in scores.items() if score > -math.inf} for scores in ranking)
        run = dict(zip((topic.id for topic in wordings.topics), scored, strict=True))
        found.append(TimedRun(run, took + whole * own / sum(spent)))
    return found


def merged(wordings: Wordings, values: torch.Tensor, sizes: bool = False) -> torch.Tensor:
    """(W, …) of wordings to (N, …) of topics: sums, weighted by the wordings' weights or their absolute values."""
    weights = torch.tensor(wordings.weights, dtype=values.dtype, device=values.device)
    weighted = values * (weights.abs() if sizes else weights).view(-1, *[1] * (values.dim() - 1))
    owner = torch.tensor(wordings.owner, device=values.device)
    return values.new_zeros(len(wordings.topics), *values.shape[1:]).index_add(0, owner, weighted)
