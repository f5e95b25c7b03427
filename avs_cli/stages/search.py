"""Search: the best shots for each topic, in a feature's own space or by trained heads.

    run = search(["gallery.h5"], {"661": "a hang glider floating in the sky"})
    run = search(["gallery.h5"], {"a": "a dog runs > it jumps into water < 20s", "b": "a beach -people"})
    run = search(["gallery.h5"], like=["beach_12"])                                  # {"query": {…}}
    runs = search_heads(["clip.h5", "blip.h5"], "tv22.txt", ["laff.safetensors"])    # {"laff": run}

Scores are cosines, or what a head computes; ties are broken by descending shot id.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from avs_cli.core.device import prepare
from avs_cli.core.encoders import encoders
from avs_cli.core.search.confidence import DOUBTFUL, Calibration, Confidence, check_share
from avs_cli.core.search.exact import Cosine, top_shots
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.store.reader import Gallery, open_gallery
from avs_cli.provenance import HEAD
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine, check_readable
from avs_cli.stages.inputs import FilePath, Paths, comparison, path_names
from avs_cli.stages.search_heads import FeatureWeight, HeadSearch, search_heads, searching_heads
from avs_cli.stages.search_steps import rank_steps, step_vectors
from avs_cli.stages.search_stores import StoreSearch, search_stores
from avs_cli.stages.topic_texts import (
    Field,
    Negation,
    Topics,
    TopicStep,
    file_of,
    ids_of,
    is_image,
    read,
    steps_of,
    wordings_of,
)
from avs_cli.stages.topics import check_images, encoded, other_sentences, stored
from avs_cli.types import Run, Topic

__all__ = [
    "FeatureWeight",
    "GallerySearch",
    "HeadSearch",
    "doubt",
    "search",
    "search_heads",
    "searching",
    "searching_heads",
]

# When to estimate confidences: "cheap" is for a calibrated model and a gallery of at most `FEW` shots.
Estimated = Literal["never", "cheap", "always"]
FEW = 50_000
NAMED = 5


def search(
    gallery: Paths,
    topics: Topics | None = None,
    *,
    vectors: FilePath = "",
    weights: FilePath | None = None,
    field: Field | None = None,
    negation: Negation = "subtract",
    like: Sequence[str] = (),
    depth: int = 1000,
    at_least: float = 0.0,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Run:
    """The `depth` shots of the highest cosine for each topic; of a shot with several vectors, the best counts.

    gallery         feature stores of one feature, FILE or FILE::FEATURE
    topics          what to search for, as queries of `core.search.queries`; with `vectors`, which topics of that store
                    (None: all)
    vectors         a store of topics, encoded already
    weights         a local checkpoint of the gallery's model, to encode topics with
    field           the text of each topic; None: "query", or that of `vectors`
    negation        what becomes of parts of a query that are to be absent
    like            shots of the gallery to search with, alone (as the topic "query") or beside topics, which move
                    towards them as by feedback; they are left out of the run
    at_least        leave out shots of a lower confidence, from 0 to 1; see `core.search.confidence`
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
        negation=negation,
        like=like,
        depth=depth,
        at_least=at_least,
        allow_mismatch=allow_mismatch,
        device=device,
        threads=threads,
        engine=engine,
        report=report,
    ) as found:
        return found.run


class GallerySearch(NamedTuple):
    """A search in a gallery that is open.

    run         of its topics
    seconds     that they took together
    gallery     that was searched
    confidence  of the run's scores; None where it was not estimated
    """

    run: Run
    seconds: float
    gallery: Gallery
    confidence: Confidence | None = None


@contextmanager
def searching(
    gallery: Paths,
    topics: Topics | None = None,
    *,
    vectors: FilePath = "",
    weights: FilePath | None = None,
    field: Field | None = None,
    negation: Negation = "subtract",
    like: Sequence[str] = (),
    depth: int = 1000,
    at_least: float = 0.0,
    confidence: Estimated = "never",
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Iterator[GallerySearch]:
    """As `search`, with all that the search knows; its gallery is open as long as the context is.

    confidence  "always", "never", or where it is "cheap": for a calibrated model and at most `FEW` shots; `at_least`
                implies it
    Notes the topics that have probably no relevant shot, where confidences are probabilities. Raises MismatchError for
    confidences of a topic that has an example image: the bank is of sentences. So does SpecError with `like`.
    """
    check_share(at_least)
    if topics is None and not vectors and not like:
        raise SpecError("a search needs topics, their vectors or shots to search with")
    if like and (at_least or confidence == "always"):
        raise SpecError("confidences are those of sentences, and not of shots to search with")
    if vectors and negation != "subtract":
        raise SpecError(f"negation {negation}: the topics of a store are encoded already")
    stores = path_names(gallery)
    check_readable(engine, stores)
    with open_gallery(stores, comparison(allow_mismatch, report)) as shots:
        if not len(shots):
            raise MismatchError(f"{', '.join(stores)}: no shots to search")
        # A store's topics are encoded already: their texts only say which of them to search for.
        wanted = None if topics is None or vectors else read(topics, field or "query", negation)
        if wanted is not None:
            check_images(wanted, file_of(topics))
        machine = prepare(device, threads)
        begun = time.perf_counter()
        known = None
        asked = {topic.id: steps_of(topic, like) for topic in wanted or []}
        if vectors:
            known = stored(str(vectors), shots, None if topics is None else ids_of(topics), field)
            asked = {topic: [TopicStep(None, dict.fromkeys(like, 1.0))] for topic in known.ids}
        elif texts := [step.topic for steps in asked.values() for step in steps if step.topic]:
            known = encoded(texts, shots, machine.device, machine.threads, weights, negation)
        elif not asked:
            asked = {"query": [TopicStep(None, dict.fromkeys(like, 1.0))]}
        queries = step_vectors(asked, known, shots)

        def best(vectors: np.ndarray, depth: int) -> list[dict[str, float]]:
            if engine is None:
                (rankings,) = top_shots([vectors], shots, depth, machine.threads)
                return rankings
            scorer = partial(Cosine, vectors)
            return search_stores(engine, [StoreSearch(name, scorer, depth, threads or engine.cores) for name in stores])

        run = rank_steps(asked, queries, shots, depth, best, machine.threads if engine is None else None, report)
        seconds = time.perf_counter() - begun
        sure = None
        if at_least or confidence == "always" or (confidence == "cheap" and not like and is_cheap(shots, wanted)):
            check_sentences(wanted or [])
            sure = against_chance(best(other_sentences(shots, machine.device, machine.threads, weights), 1), shots)
            doubt(run, sure, report)
            run = at_least_so_sure(run, sure, at_least) if at_least else run
        yield GallerySearch(run, seconds, shots, sure)


def calibration(provenance: Mapping[str, Any]) -> Calibration | None:
    """That of the model of a gallery; None for a model without one."""
    found: Calibration | None = getattr(encoders.module(str(provenance["spec"])), "CALIBRATION", None)
    return found


def against_chance(bank: Sequence[Mapping[str, float]], gallery: Gallery) -> Confidence:
    """The confidence of cosines in a gallery.

    bank  the best shot of each of `other_sentences`
    """
    return Confidence(np.array([max(scores.values()) for scores in bank]), calibration(gallery.provenance))


def is_cheap(shots: Gallery, topics: Sequence[Topic] | None) -> bool:
    """Whether confidences cost little beside the search itself, and are probabilities."""
    if any(topic.variants or topic.steps for topic in topics or []):
        return False
    known = isinstance(shots.provenance.get("spec"), str) and HEAD not in shots.provenance
    return known and len(shots) <= FEW and bool(calibration(shots.provenance)) and not _pictured(topics or [])


def check_sentences(topics: Sequence[Topic]) -> None:
    """Raises MismatchError for a topic with an example image or steps, whose scores are not those of a sentence."""
    if stepped := next((topic.id for topic in topics if topic.steps), ""):
        raise MismatchError(f"topic {stepped} is a sequence or has examples, and confidences are those of sentences")
    if pictured := _pictured(topics):
        raise MismatchError(f"topic {pictured} has an example image, and confidences are those of sentences")


def _pictured(topics: Sequence[Topic]) -> str:
    """The first topic that has an example image; "" without one."""
    return next((topic.id for topic in topics if any(is_image(text) for _, text in wordings_of(topic))), "")


def at_least_so_sure(run: Run, sure: Confidence, at_least: float) -> Run:
    """The shots of a run of a confidence of `at_least` or more; a topic without one has no shots."""
    return {
        topic: {shot: run[topic][shot] for shot, confidence in of_shots.items() if confidence >= at_least}
        for topic, of_shots in sure.of_run(run).items()
    }


def doubt(run: Run, sure: Confidence, report: Reporter = LOGGED) -> None:
    """Note the topics that have probably no relevant shot, and how to read confidences that are no probabilities."""
    if sure.calibration is None:
        report.note(
            "this model is not calibrated: a confidence is no probability, but the share of "
            f"{len(sure.bank)} other sentences for which the gallery has nothing as close"
        )
        return
    best = {topic: max(scores.values(), default=-1.0) for topic, scores in run.items()}
    confidences = dict(zip(best, sure.of(np.array([*best.values()])).tolist(), strict=True))
    if doubtful := [topic for topic, confidence in confidences.items() if confidence < DOUBTFUL]:
        which = "" if [*run] == ["query"] else f"{_named(doubtful)}: "
        value = (
            f"has a confidence of {confidences[doubtful[0]]:.0%}" if len(doubtful) == 1 else f"is below {DOUBTFUL:.0%}"
        )
        report.note(f"{which}probably nothing relevant in this gallery: the best shot {value}")


def _named(topics: Sequence[str]) -> str:
    return f"topic {few(topics, NAMED)}" if len(topics) <= NAMED else f"{len(topics)} topics ({few(topics, NAMED)})"
