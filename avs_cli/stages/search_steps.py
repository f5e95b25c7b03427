"""Topics of steps, searched in a gallery of vectors: a vector for each step, and a ranking for each topic."""

import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from avs_cli.core.search.exact import every_score
from avs_cli.core.search.feedback import moved_by
from avs_cli.io.store.reader import Gallery
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.sequences import first_shots, note_lonely, timeline
from avs_cli.stages.topic_texts import TopicStep
from avs_cli.stages.topics import TopicVectors, checked, liked
from avs_cli.types import Run

Best = Callable[[np.ndarray, int], list[dict[str, float]]]
"""The best shots for (Q, D) vectors, so many of each, with their cosines."""
# Scores of all shots that are held at a time.
ROOM = 1 << 26


def step_vector(step: TopicStep, vector: np.ndarray | None, gallery: Gallery) -> np.ndarray | None:
    """(D,) of a step: that of its sentences and pictures, None without any, moved towards its shots of the gallery.

    Raises MismatchError for a shot that the gallery lacks, and for a zero vector.
    """
    if not step.shots:
        return vector
    name = step.topic.id if step.topic else "query"
    moved = moved_by(vector, liked([*step.shots], gallery), np.array([*step.shots.values()]))
    return np.asarray(checked(TopicVectors([name], moved[None])).vectors[0])


def step_vectors(
    asked: Mapping[str, Sequence[TopicStep]], known: TopicVectors | None, gallery: Gallery
) -> dict[str, np.ndarray]:
    """The (S, D) vectors of the steps of each topic.

    known  of the steps that have sentences or pictures, by their ids
    """
    by_id = dict(zip(*known, strict=True)) if known else {}
    found = {}
    for topic, steps in asked.items():
        own = [by_id.get(step.topic.id if step.topic else topic) for step in steps]
        found[topic] = np.array([step_vector(step, one, gallery) for step, one in zip(steps, own, strict=True)])
    return found


def rank_steps(
    asked: Mapping[str, Sequence[TopicStep]],
    vectors: Mapping[str, np.ndarray],
    gallery: Gallery,
    depth: int,
    best: Best,
    threads: int | None = None,
    report: Reporter = LOGGED,
) -> Run:
    """The best `depth` shots of each topic, without its examples; of a sequence, the shots that begin it.

    vectors  (S, D) of the steps of each topic
    threads  that compute the scores of all shots for sequences; None: they are those of `best`
    """
    single = [topic for topic, steps in asked.items() if len(steps) == 1]
    run: Run = {}
    if single:
        most = max(len(asked[topic][0].shots) for topic in single)
        rankings = best(np.concatenate([vectors[topic] for topic in single]), depth + most)
        for topic, ranking in zip(single, rankings, strict=True):
            run[topic] = without(ranking, asked[topic][0].shots, depth)
    several = [topic for topic in asked if topic not in run]
    if not several:
        return run
    line = timeline(gallery.ids, gallery, report)
    some = max(1, ROOM // (len(gallery) * max(len(asked[topic]) for topic in several)))
    for low in range(0, len(several), some):
        batch = several[low : low + some]
        scores = iter(_every_score(np.concatenate([vectors[topic] for topic in batch]), gallery, best, threads))
        for topic in batch:
            table = np.array([next(scores) for _ in asked[topic]])
            for row, step in zip(table, asked[topic], strict=True):
                row[gallery.places([*step.shots])] = -np.inf
            run[topic] = line.best(table, [step.within for step in asked[topic]], depth)
    note_lonely(run, {topic: [step.within for step in asked[topic]] for topic in several}, report)
    return {topic: run[topic] for topic in asked}


def without(ranking: Mapping[str, float], shots: Mapping[str, float], depth: int) -> dict[str, float]:
    """The best `depth` of a ranking, without these shots."""
    return first_shots(
        {shot: score for shot, score in ranking.items() if shot not in shots} if shots else ranking, depth
    )


def _every_score(vectors: np.ndarray, gallery: Gallery, best: Best, threads: int | None) -> np.ndarray:
    """(Q, N) float32, in the order of the gallery."""
    if threads is not None:
        return every_score(vectors, gallery, threads)
    scores = np.full((len(vectors), len(gallery)), -np.inf, np.float32)
    for row, ranking in zip(scores, best(vectors, sys.maxsize), strict=True):
        row[gallery.places([*ranking])] = [*ranking.values()]
    return scores
