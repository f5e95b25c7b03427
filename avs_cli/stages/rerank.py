"""Rerank: new scores for the top shots of runs, from their vectors, a query bank, or scores made elsewhere.

    again = rerank(run, ["frames.h5"], method="framemax", topics="tv22.txt", weight=0.6)

The scores of the run and of the method are min-max normalised and interpolated; shots that are not reranked stay below
those that are, in their order.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avs_cli.core.device import prepare
from avs_cli.core.search.exact import top_shots
from avs_cli.core.search.rerankers import rerankers
from avs_cli.core.search.rerankers.candidates import Bank, Candidates, evidence_of, joined
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.store.reader import Gallery, open_gallery
from avs_cli.io.text.scores import read_verdicts
from avs_cli.io.text.topics import absent_topics, align_topics, is_topics_file, select_topics, topic_ids
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, Paths, Runs, comparison, given_runs, path_names
from avs_cli.stages.topics import Topics, check_images, encoded, read, stored
from avs_cli.types import Run, Topic, ranked

Method = Callable[[Candidates], np.ndarray]


def rerank(
    run: Run | FilePath,
    gallery: Paths = (),
    *,
    method: str,
    topics: Topics | None = None,
    vectors: FilePath = "",
    bank: FilePath = "",
    scores: FilePath | Run = "",
    depth: int = 1000,
    weight: float = 0.5,
    weights: FilePath | None = None,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    report: Reporter = LOGGED,
) -> Run:
    """The run with new scores for the first `depth` shots of each topic; see `rerank_runs`."""
    (again,) = rerank_runs(
        {"the run": run} if isinstance(run, dict) else run,
        gallery,
        method=method,
        topics=topics,
        vectors=vectors,
        bank=bank,
        scores=scores,
        depth=depth,
        weight=weight,
        weights=weights,
        allow_mismatch=allow_mismatch,
        device=device,
        threads=threads,
        report=report,
    ).values()
    return again


def rerank_runs(
    runs: Runs,
    gallery: Paths = (),
    *,
    method: str,
    topics: Topics | None = None,
    vectors: FilePath = "",
    bank: FilePath = "",
    scores: FilePath | Run = "",
    depth: int = 1000,
    weight: float = 0.5,
    weights: FilePath | None = None,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    report: Reporter = LOGGED,
) -> dict[str, Run]:
    """The runs with new scores for the first `depth` shots of each topic.

    runs            files or values; the result has their names
    gallery         feature stores of the shots, FILE or FILE::FEATURE
    method          a reranker, as NAME or NAME:KEY=VALUE
    topics          the topics to rerank: a topics file, topics, the text of each by its id, or ids and ranges such as
                    731-750,761; None: all. A method that needs queries encodes their texts, unless `vectors` is given
    vectors         a store of topics, encoded already
    bank            a store of other texts, such as training captions
    scores          for the method `scores`: a run, a file of topic, shot and score or of shot and score, or its content
                    as a run, where the topic "" stands for all
    weight          of the method's score; the run's score has 1 - `weight`
    weights         a local checkpoint of the gallery's model, to encode topics with
    allow_mismatch  note where vectors come from different models, instead of raising MismatchError
    device          auto (a GPU if there is one), cpu, cuda, cuda:1, mps …
    threads         CPU threads; 0: all cores
    Raises SpecError for evidence that the method lacks or does not use, MismatchError for a run without any of the
    topics, for a topic without a query, and for shots that the gallery lacks.
    """
    score = rerankers.load(method)
    used = evidence_of(score)
    for kind, given in {"gallery": gallery, "queries": vectors, "bank": bank, "scores": scores}.items():
        if given and kind not in used:
            raise SpecError(f"{method} uses no {'vectors of topics' if kind == 'queries' else kind}")
    machine = prepare(device, threads)
    texts, wanted = _wanted(topics)
    named = given_runs(runs)
    selected = _selected({one.where: one.read() for one in named}, wanted, report)
    with ExitStack() as stack:
        shots = (
            stack.enter_context(open_gallery(path_names(gallery), comparison(allow_mismatch, report)))
            if gallery
            else None
        )
        queries: dict[str, np.ndarray] = {}
        if shots is not None and vectors:
            queries = dict(zip(*stored(str(vectors), shots), strict=True))
        elif shots is not None and texts and "queries" in used:
            check_images(texts, str(topics) if isinstance(topics, str | Path) else "")
            queries = dict(zip(*encoded(texts, shots, machine.device, machine.threads, weights), strict=True))
        evidence = _Evidence(
            shots,
            queries,
            _bank(str(bank), shots, machine.threads) if bank and shots is not None else None,
            (scores if isinstance(scores, dict) else read_verdicts(str(scores))) if scores else None,
        )
        again = {where: _again(where, run, score, evidence, depth, weight, report) for where, run in selected.items()}
    return {one.name: again[one.where] for one in named}


def _wanted(topics: Topics | None) -> tuple[list[Topic], list[str] | None]:
    """The topics with their texts, as far as they have any, and the ids to select; None selects all."""
    if topics is None or topics == "":
        return [], None
    if isinstance(topics, str) and not is_topics_file(topics):
        return [], topic_ids(topics)
    texts = read(topics)
    return texts, [topic.id for topic in texts]


def _selected(runs: Mapping[str, Run], wanted: Sequence[str] | None, report: Reporter) -> dict[str, Run]:
    """The runs with the topics to rerank; raises MismatchError for a run that has none of them."""
    chosen = dict(runs)
    if wanted is not None:
        if absent := absent_topics(wanted, runs.values()):
            report.note(absent)
        chosen = {name: select_topics(run, wanted) for name, run in runs.items()}
    for name, run in chosen.items():
        if not run:
            raise MismatchError(f"{name} has none of the topics that --topics selects; leave it out")
    left = len({topic for name, run in runs.items() for topic in run.keys() - chosen[name].keys()})
    if left:
        report.note(f"left out {left} topic{'s' * (left > 1)} of the runs, which --topics does not select")
    return chosen


class _Evidence(NamedTuple):
    """The evidence for reranking.

    queries   topic -> (D,)
    verdicts  topic -> shot -> score; the topic "" stands for all
    """

    shots: Gallery | None
    queries: Mapping[str, np.ndarray]
    bank: Bank | None
    verdicts: Run | None


def _again(name: str, run: Run, score: Method, evidence: _Evidence, depth: int, weight: float, report: Reporter) -> Run:
    """One run, reranked."""
    queries, renamed = align_topics(evidence.queries, run)
    verdicts = align_topics(evidence.verdicts, run)[0] if evidence.verdicts else {}
    if renamed:
        report.note(renamed)
    if lost := [topic for topic in run if queries and topic not in queries]:
        raise MismatchError(f"{name}: no query for {len(lost)} of its topics: {few(lost)}")
    places = _places(evidence.shots, name, {shot for scores in run.values() for shot in ranked(scores)[:depth]})
    again: Run = {}
    without = 0
    for topic, scores in run.items():
        best = ranked(scores)[:depth]
        chosen, judged = best, None
        if evidence.verdicts is not None:
            judged = verdicts.get("", {}) | verdicts.get(topic, {})
            chosen = [shot for shot in best if shot in judged]
            without += len(best) - len(chosen)
        again[topic] = dict(scores)
        if chosen:
            candidates = _candidates(chosen, scores, queries.get(topic), evidence, places, judged)
            again[topic] = joined(scores, chosen, score(candidates), weight)
    if without:
        report.note(f"{name}: {without} shots have no score in --scores and stay below those that have one")
    return again


def _candidates(
    shots: Sequence[str],
    scores: Mapping[str, float],
    query: np.ndarray | None,
    evidence: _Evidence,
    places: Mapping[str, int],
    judged: Mapping[str, float] | None,
) -> Candidates:
    return Candidates(
        shots,
        np.array([scores[shot] for shot in shots]),
        evidence.shots.take(np.array([places[shot] for shot in shots], np.int64))
        if evidence.shots is not None
        else None,
        query,
        evidence.bank,
        np.array([judged[shot] for shot in shots]) if judged is not None else None,
    )


def _places(shots: Gallery | None, name: str, wanted: set[str]) -> dict[str, int]:
    """Shot -> its row in the gallery; raises MismatchError for shots that the gallery lacks."""
    if shots is None:
        return {}
    places = {id: place for place, id in enumerate(shots.ids) if id in wanted}
    if lost := sorted(wanted - places.keys()):
        raise MismatchError(f"the gallery lacks {len(lost)} of the shots of {name}: {few(lost)}")
    return places


def _bank(name: str, shots: Gallery, threads: int) -> Bank:
    """The query bank; its top shots are computed on demand."""
    vectors = stored(name, shots).vectors

    @cache
    def favourites() -> frozenset[str]:
        (best,) = top_shots([vectors], shots, 1, threads)
        return frozenset(shot for ranking in best for shot in ranking)

    return Bank(vectors, favourites)
