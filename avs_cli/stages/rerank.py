"""Rerank: new scores for the top shots of runs, from their vectors, a query bank, judgments, a judge, or other scores.

    again = rerank(run, ["frames.h5"], method="framemax", topics="tv22.txt", weight=0.6)
    again = rerank(run, ["videos.h5"], method="feedback", qrels=marks, topics={"query": "a dog on a beach"})
    again = rerank(run, ["videos.h5"], method="judge:model=smolvlm", topics="tv22.txt", judging=Judging("v.jsonl"))

The scores of the run and of the method are min-max normalised and interpolated; shots that are not reranked stay below
those that are, in their order. With judgments, the shots judged relevant come first and those judged irrelevant last.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avs_cli.core.device import Place, prepare
from avs_cli.core.judges import judges
from avs_cli.core.search.exact import shot_units, top_shots
from avs_cli.core.search.feedback import with_marks
from avs_cli.core.search.rerankers import depth_of, rerankers, weight_of
from avs_cli.core.search.rerankers.candidates import CELLS, Bank, Candidates, GalleryBank, Marks, joined, needs_of
from avs_cli.core.search.sinkhorn import query_scalings
from avs_cli.errors import AvsError, MismatchError, SpecError, few
from avs_cli.io.store.compatibility import Comparison
from avs_cli.io.store.reader import Gallery, open_gallery
from avs_cli.io.text.scores import read_verdicts
from avs_cli.io.text.topics import absent_topics, align_topics, is_topics_file, select_topics, topic_ids
from avs_cli.io.text.trec import read_qrels
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine, check_readable
from avs_cli.stages.inputs import FilePath, Paths, Runs, comparison, given_runs, path_names
from avs_cli.stages.judge import Judging, judge_shots
from avs_cli.stages.runtime import runtime
from avs_cli.stages.topic_texts import Topics, read
from avs_cli.stages.topics import TopicVectors, check_images, encoded, stored
from avs_cli.types import Block, Qrels, Run, Seeing, Topic, ranked

__all__ = ["Judging", "rerank", "rerank_runs"]

Method = Callable[[Candidates], np.ndarray]


def rerank(
    run: Run | FilePath,
    gallery: Paths | Gallery = (),
    *,
    method: str,
    topics: Topics | None = None,
    vectors: FilePath | TopicVectors = "",
    bank: FilePath = "",
    gallery_bank: FilePath = "",
    scores: FilePath | Run = "",
    qrels: FilePath | Qrels = "",
    judging: Judging | None = None,
    depth: int | None = None,
    weight: float | None = None,
    weights: FilePath | None = None,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
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
        gallery_bank=gallery_bank,
        scores=scores,
        qrels=qrels,
        judging=judging,
        depth=depth,
        weight=weight,
        weights=weights,
        allow_mismatch=allow_mismatch,
        device=device,
        threads=threads,
        engine=engine,
        report=report,
    ).values()
    return again


def rerank_runs(
    runs: Runs,
    gallery: Paths | Gallery = (),
    *,
    method: str,
    topics: Topics | None = None,
    vectors: FilePath | TopicVectors = "",
    bank: FilePath = "",
    gallery_bank: FilePath = "",
    scores: FilePath | Run = "",
    qrels: FilePath | Qrels = "",
    judging: Judging | None = None,
    depth: int | None = None,
    weight: float | None = None,
    weights: FilePath | None = None,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> dict[str, Run]:
    """The runs with new scores for the first `depth` shots of each topic.

    runs            files or values; the result has their names
    gallery         feature stores of the shots, FILE or FILE::FEATURE; or a gallery that is open, which stays so
    method          a reranker, as NAME or NAME:KEY=VALUE
    topics          the topics to rerank: a topics file, topics, the text of each by its id, or ids and ranges such as
                    731-750,761; None: all. A method that needs queries encodes their texts, unless `vectors` is given
    vectors         a store of topics, encoded already; or their vectors
    bank            a store of other texts, such as training captions
    gallery_bank    a store of other shots, such as training videos
    scores          for the method `scores`: a run, a file of topic, shot and score or of shot and score, or its content
                    as a run, where the topic "" stands for all
    qrels           for the method `feedback`: judgments of some shots, in the run or not. Topics without any keep their
                    scores
    judging         for the method `judge`: where verdicts are kept, a budget, and where the videos are
    depth           None: 1000, but 100 for `judge`
    weight          of the method's score; the run's score has 1 - `weight`. None: 0.5, but 1 for `diverse` and `judge`,
                    and 0.75 for `feedback` with queries
    weights         a local checkpoint of the gallery's model, to encode topics with, or of the judge
    allow_mismatch  note where vectors come from different models, instead of raising MismatchError
    device          auto (a GPU if there is one), cpu, cuda, cuda:1, mps …
    threads         CPU threads; 0: all cores
    engine          workers of a cluster that rerank instead of this process, some topics each; the result is the same
    Notes topics without a judgment, judged shots that the gallery lacks, and what `stages.judge` notes. Raises
    SpecError for evidence that the method lacks or does not use, MismatchError for a run without any of the topics,
    for a topic without a query, for shots that the gallery lacks, and for judgments of none of the topics.
    """
    score = rerankers.load(method)
    used, seeing = needs_of(score)
    depth = depth_of(method) if depth is None else depth
    for kind, given in (
        ("gallery", gallery),
        ("queries", vectors),
        ("bank", bank),
        ("gallery bank", gallery_bank),
        ("scores", scores),
        ("qrels", qrels),
    ):
        if given and kind not in used and not (kind == "gallery" and seeing):
            raise SpecError(f"{method} uses no {'vectors of topics' if kind == 'queries' else kind}")
    if "qrels" in used and not qrels:
        raise SpecError(f"{method} needs judged shots; give --qrels FILE")
    if judging is not None and seeing is None:
        raise SpecError(f"{method} asks no judge")
    opened: Gallery | None = None
    if isinstance(gallery, Gallery):
        opened, stores = gallery, [f"{one.path}::{one.feature}" for one in gallery.stores]
    else:
        stores = path_names(gallery)
    check_readable(engine, [*stores, str(bank), str(gallery_bank)])
    machine = prepare(device, threads)
    texts, wanted = _wanted(topics)
    named = given_runs(runs)
    selected = _selected({one.where: one.read() for one in named}, wanted, report)
    log_odds: Run | None = None
    if seeing is not None:
        log_odds = _judged(selected, gallery, texts, seeing, depth, judging or Judging(), machine, weights, report)
        opened, stores = None, []
    with ExitStack() as stack:
        shots = opened
        if shots is None and stores:
            shots = stack.enter_context(open_gallery(stores, comparison(allow_mismatch, report)))
        queries: dict[str, np.ndarray] = {}
        if shots is not None and vectors:
            given_vectors = vectors if isinstance(vectors, TopicVectors) else stored(str(vectors), shots)
            queries = dict(zip(*given_vectors, strict=True))
        elif shots is not None and texts and "queries" in used:
            check_images(texts, str(topics) if isinstance(topics, str | Path) else "")
            queries = dict(zip(*encoded(texts, shots, machine.device, machine.threads, weights), strict=True))
        weight = weight_of(method, bool(queries)) if weight is None else weight
        outside = (scores if isinstance(scores, dict) else read_verdicts(str(scores))) if scores else None
        evidence = _Evidence(
            shots,
            queries,
            outside if log_odds is None else log_odds,
            (qrels if isinstance(qrels, dict) else read_qrels(str(qrels))) if qrels else None,
            "score in --scores" if log_odds is None else "verdict",
        )
        by_run = {where: _candidates(where, run, evidence, depth, report) for where, run in selected.items()}
        banks = _banks(str(bank), str(gallery_bank), shots, machine.threads)
        if engine is None:
            again = {
                where: {topic: _again(one, score, shots, banks, weight) for topic, one in topics.items()}
                for where, topics in by_run.items()
            }
        else:
            how = _Reranking(method, stores, str(bank), str(gallery_bank), weight, threads or engine.cores)
            again = _again_elsewhere(engine, how, by_run)
    return {one.name: again[one.where] for one in named}


def _judged(
    runs: Mapping[str, Run],
    gallery: Paths | Gallery,
    texts: Sequence[Topic],
    seeing: Seeing,
    depth: int,
    judging: Judging,
    machine: Place,
    weights: FilePath | None,
    report: Reporter,
) -> Run:
    """The log-odds of the shots to rerank, from the judge; raises SpecError without topics or a gallery."""
    if not texts:
        raise SpecError("a judge reads the topics; give --topics FILE")
    if not gallery:
        raise SpecError("a judge looks at the shots, which stores describe; give --gallery STORE")
    one = judging.judge
    if one is None:
        of_model = runtime(machine.device, machine.threads, None if weights is None else str(weights))
        one = judges.load(seeing.model)(of_model, seeing)
    found = judge_shots(runs, gallery, texts, one, depth=depth, judging=judging, workers=machine.workers, report=report)
    return found.log_odds


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
    verdicts  topic -> shot -> score, or log-odds of a judge; the topic "" stands for all
    kind      what these are, for a note
    """

    shots: Gallery | None
    queries: Mapping[str, np.ndarray]
    verdicts: Run | None
    qrels: Qrels | None
    kind: str


class _MarkedShots(NamedTuple):
    """Shots judged relevant, L of them, and shots judged irrelevant; places (L+M,) in the gallery, if there is one."""

    liked: Sequence[str]
    disliked: Sequence[str]
    places: np.ndarray | None

    def vectors(self, shots: Gallery) -> Marks:
        """Their unit vectors."""
        units = shot_units(shots.take(self.places)) if self.places is not None else np.empty((0, shots.dim))
        return Marks(units[: len(self.liked)], units[len(self.liked) :])


class _TopicCandidates(NamedTuple):
    """What is known of a topic to rerank.

    scores  of the run
    chosen  the shots to rerank, in the order of the run
    places  of these in the gallery, if there is one
    query   (D,)
    judged  the external scores of the shots, or the log-odds of a judge
    marked  the judged shots, wherever in the gallery
    """

    scores: Mapping[str, float]
    chosen: Sequence[str]
    places: np.ndarray | None
    query: np.ndarray | None
    judged: np.ndarray | None
    marked: _MarkedShots | None


def _candidates(name: str, run: Run, evidence: _Evidence, depth: int, report: Reporter) -> dict[str, _TopicCandidates]:
    """The topics of one run."""
    queries, renamed = align_topics(evidence.queries, run)
    verdicts = align_topics(evidence.verdicts, run)[0] if evidence.verdicts else {}
    marks = {} if evidence.qrels is None else _marks(name, run, evidence.qrels, evidence.shots, report)
    if renamed:
        report.note(renamed)
    if lost := [topic for topic in run if queries and topic not in queries]:
        raise MismatchError(f"{name}: no query for {len(lost)} of its topics: {few(lost)}")
    # A topic without a judgment keeps its order.
    best_shots = {
        topic: ranked(scores)[:depth] if evidence.qrels is None or topic in marks else []
        for topic, scores in run.items()
    }
    places = _places(evidence.shots, name, {shot for best in best_shots.values() for shot in best})
    by_topic: dict[str, _TopicCandidates] = {}
    without = 0
    for topic, scores in run.items():
        chosen, judged = best_shots[topic], None
        if evidence.verdicts is not None:
            known = verdicts.get("", {}) | verdicts.get(topic, {})
            best, chosen = chosen, [shot for shot in chosen if shot in known]
            without += len(best) - len(chosen)
            judged = np.array([known[shot] for shot in chosen])
        rows = np.array([places[shot] for shot in chosen], np.int64) if evidence.shots is not None else None
        by_topic[topic] = _TopicCandidates(scores, chosen, rows, queries.get(topic), judged, marks.get(topic))
    if without:
        report.note(f"{name}: {without} shots have no {evidence.kind} and stay below those that have one")
    return by_topic


def _marks(name: str, run: Run, qrels: Qrels, shots: Gallery | None, report: Reporter) -> dict[str, _MarkedShots]:
    """The judged shots of each topic of a run that has some; those that the gallery lacks are left out, with a note."""
    judged = {
        topic: {shot: one.relevance > 0 for shot, one in judgments.items() if one.relevance >= 0}
        for topic, judgments in align_topics(qrels, run)[0].items()
        if topic in run
    }
    ids = sorted({shot for of_topic in judged.values() for shot in of_topic})
    places = dict(zip(ids, shots.places(ids).tolist(), strict=True)) if shots is not None else {}
    if lost := [shot for shot, place in places.items() if place < 0]:
        report.note(
            f"{name}: the gallery lacks {len(lost)} of the {len(ids)} judged shots, which are left out: {few(lost)}"
        )
    marks = {}
    for topic, of_topic in judged.items():
        held = {shot: likes for shot, likes in of_topic.items() if places.get(shot, 0) >= 0}
        liked, disliked = ([shot for shot, likes in held.items() if likes == kind] for kind in (True, False))
        if held:
            rows = np.array([places[shot] for shot in [*liked, *disliked]], np.int64) if places else None
            marks[topic] = _MarkedShots(liked, disliked, rows)
    if not marks:
        raise MismatchError(f"{name}: no shot is judged for its topics {few(run)}; there are judgments of {few(qrels)}")
    if without := [topic for topic in run if topic not in marks]:
        report.note(
            f"{name}: no judged shots for {len(without)} of {len(run)} topics, which stay as they are: {few(without)}"
        )
    return marks


class _Banks(NamedTuple):
    """The query bank and the gallery bank, if they are given."""

    queries: Bank | None = None
    shots: GalleryBank | None = None


def _again(
    one: _TopicCandidates, score: Method, shots: Gallery | None, banks: _Banks, weight: float
) -> dict[str, float]:
    """One topic, reranked."""
    scores, chosen, places, query, judged, marked = one
    if not chosen:
        return dict(scores)
    block = shots.take(places) if shots is not None and places is not None else None
    marks = marked.vectors(shots) if shots is not None and marked else None
    given = np.array([scores[shot] for shot in chosen])
    candidates = Candidates(chosen, given, block, query, banks.queries, judged, marks, judged, banks.shots)
    again = joined(scores, chosen, score(candidates), weight)
    return with_marks(again, marked.liked, marked.disliked) if marked else again


class _Reranking(NamedTuple):
    """How topics are reranked, for tasks; the parameters of `rerank_runs`."""

    method: str
    gallery: Sequence[str]
    bank: str
    gallery_bank: str
    weight: float
    threads: int


class _Topics(NamedTuple):
    """Some topics for one task, with the runs that they are from."""

    how: _Reranking
    topics: Sequence[tuple[str, str, _TopicCandidates]]


def _again_elsewhere(
    engine: Engine, how: _Reranking, by_run: Mapping[str, Mapping[str, _TopicCandidates]]
) -> dict[str, Run]:
    """The runs, reranked in tasks of some topics each."""
    everything = [(where, topic, one) for where, topics in by_run.items() for topic, one in topics.items()]
    # Each task opens the gallery, and may search it for the queries of the bank.
    step = math.ceil(len(everything) / engine.workers)
    tasks = [_Topics(how, everything[low : low + step]) for low in range(0, len(everything), step)]
    # In the order of the runs, whichever task ends first.
    again: dict[str, Run] = {where: {topic: {} for topic in topics} for where, topics in by_run.items()}
    for task, result in engine.map(_rerank_topics, tasks):
        if result is None:
            raise AvsError(f"{how.method}: killed the workers that reranked (out of memory?)")
        for (where, topic, _), scores in zip(task.topics, result, strict=True):
            again[where][topic] = scores
    return again


def _rerank_topics(task: _Topics) -> list[dict[str, float]]:
    """In a worker: some topics, reranked."""
    how = task.how
    score, threads = rerankers.load(how.method), prepare("cpu", how.threads).threads
    with ExitStack() as stack:
        # The command has compared and reported.
        shots = stack.enter_context(open_gallery(how.gallery, Comparison(force=True))) if how.gallery else None
        banks = _banks(how.bank, how.gallery_bank, shots, threads)
        return [_again(one, score, shots, banks, how.weight) for _, _, one in task.topics]


def _places(shots: Gallery | None, name: str, wanted: set[str]) -> dict[str, int]:
    """Shot -> its row in the gallery; raises MismatchError for shots that the gallery lacks."""
    if shots is None:
        return {}
    ids = sorted(wanted)
    places = dict(zip(ids, shots.places(ids).tolist(), strict=True))
    if lost := [id for id, place in places.items() if place < 0]:
        raise MismatchError(f"the gallery lacks {len(lost)} of the shots of {name}: {few(lost)}")
    return places


def _banks(queries: str, others: str, shots: Gallery | None, threads: int) -> _Banks:
    """The banks of these names; what the whole gallery says of them is computed on demand.

    Raises MismatchError for banks of another space than the gallery.
    """
    if shots is None or not queries:
        return _Banks()
    vectors = stored(queries, shots).vectors

    @cache
    def favourites() -> frozenset[str]:
        (best,) = top_shots([vectors], shots, 1, threads)
        return frozenset(shot for ranking in best for shot in ranking)

    bank = Bank(vectors, favourites)
    if not others:
        return _Banks(bank)
    around = Block(*stored(others, shots))

    @cache
    def scalings(tau: float, iterations: int) -> np.ndarray:
        count = len(shots) + len(around.ids)
        return query_scalings(vectors, lambda: chain(shots.blocks(), [around]), count, tau, iterations, CELLS)

    return _Banks(bank, GalleryBank(around.vectors, scalings))
