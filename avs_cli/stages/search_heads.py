"""Search by trained heads: the best shots for each topic, for all heads in one pass over the gallery."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from avs_cli.core.device import prepare
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.store.reader import Gallery
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine, check_readable
from avs_cli.stages.head_ranking import Missing, TimedRun, join, merged, rank, rank_stored
from avs_cli.stages.head_ranking_tasks import HeadSearching, rank_elsewhere
from avs_cli.stages.inputs import FilePath, Paths, comparison, path_names
from avs_cli.stages.sequences import in_sequences
from avs_cli.stages.topic_texts import Field, Negation, Topics, file_of, of_field, read, steps_of
from avs_cli.stages.topics import (
    NO_WEIGHTS,
    TextFeatures,
    Wordings,
    all_wordings,
    check_images,
    field_of_heads,
    text_features,
)
from avs_cli.types import Run

if TYPE_CHECKING:
    from avs_cli.io.store.galleries import JoinedGallery
    from avs_cli.stages.heads import TrainedHead

EXPLAINED = 10


def search_heads(
    gallery: Paths,
    topics: Topics,
    heads: Paths,
    *,
    vectors: Paths = (),
    weights: Mapping[str, FilePath] = NO_WEIGHTS,
    field: Field | None = None,
    negation: Negation = "subtract",
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
    negation        what becomes of parts of a query that are to be absent: "subtract" or "sentence"
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
        negation=negation,
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
            if len(run) < len(self.wordings.topics):
                raise MismatchError("no weights of features for sequences: they are those of single shots")
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
    negation: Negation = "subtract",
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

    if negation == "deo":
        raise SpecError("negation deo moves vectors in the space of a gallery; with heads, use subtract or sentence")
    check_readable(engine, path_names(gallery))
    compared = comparison(allow_mismatch, report)
    given = read(topics, negation=negation)
    check_images(given, file_of(topics))
    machine = prepare(device, threads)
    loaded = load_heads(path_names(heads), machine.device)
    with Galleries(path_names(gallery), compared) as shots, Galleries(path_names(vectors), compared) as text_stores:
        chosen = field_of_heads(loaded, text_stores, field)
        asked = {topic.id: steps_of(topic) for topic in of_field(given, chosen, file_of(topics))}
        every = [step for steps in asked.values() for step in steps]
        if shot := next((shot for step in every for shot in step.shots), ""):
            raise MismatchError(f"like:{shot} is a shot, and heads take text only")
        wordings = all_wordings([step.topic for step in every if step.topic])
        # Any shot may be part of the best sequence.
        searched = sys.maxsize if len(every) > len(asked) else depth
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
            runs = rank(computed, of_computed, wordings, joined, searched, machine.threads, missing)
        elif joined is not None and engine is not None:
            names = path_names(gallery), [one.path for one in computed]
            how = HeadSearching(*names, [], wordings, missing, searched, device, threads or engine.cores)
            runs = rank_elsewhere(engine, how, computed, of_computed, len(joined))
        found = {one.path: run for one, run in zip(computed, runs, strict=True)}
        for one in loaded:
            if one.path in stored_of:
                held = shots.features[stored_of[one.path]]
                some_threads = machine.threads if engine is None else threads or engine.cores
                found[one.path] = rank_stored(one, vectors_of[one.path], wordings, held, searched, some_threads, engine)
        shown = joined or shots.features[stored_of[loaded[0].path]]
        timed = {
            one.name: TimedRun(
                in_sequences(found[one.path].run, asked, shown, depth, report),
                features.seconds + found[one.path].seconds,
            )
            for one, features in zip(loaded, texts, strict=True)
        }
        yield HeadSearch(timed, shown, loaded, wordings, texts, [*stored_of])
