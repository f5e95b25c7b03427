"""Sequences: shots that are followed by others in the same video.

    run = search(["videos.h5"], {"661": "a dog > a cat < 20s"})                      # of all shots of a gallery
    run = sequence(dogs, cats, ["videos.h5"], within=30)                             # of two runs
    run = sequence(dogs, sequence(cats, birds, ["videos.h5"]), ["videos.h5"])        # and then a bird

Runs must hold every shot that may count: those of `avs_cli.stages.search` have as many as `depth` says.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np

from avs_cli.core.search.sequences import best_sequences
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.store.texts import open_any
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import Paths, path_names
from avs_cli.stages.topic_texts import TopicStep
from avs_cli.types import Run, Shot, ranked


@runtime_checkable
class DescribesShots(Protocol):
    """An open gallery, which knows the videos and times of shots."""

    def some_shots(self, ids: Sequence[str], /) -> dict[str, Shot]: ...


@dataclass(frozen=True)
class Timeline:
    """Where shots are that have a time.

    ids         of N shots
    places      (N,) their positions among all shots
    video       (N,) the number of their video
    start, end  (N,) seconds
    """

    ids: Sequence[str]
    places: np.ndarray
    video: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def best(self, scores: np.ndarray, within: Sequence[float], depth: int) -> dict[str, float]:
        """The `depth` shots that begin the best sequences, best first; a score is the sum over the sequence.

        scores  (S, M) of all shots at each step, also of those without a time; -inf for those that cannot be there
        within  (S,) seconds from the step before, at most; the first has no effect
        """
        totals = best_sequences(scores[:, self.places], self.video, self.start, self.end, within)
        there = np.flatnonzero(totals > -np.inf)
        if depth < len(there):
            there = there[totals[there] >= np.partition(totals[there], -depth)[-depth]]
        found = {self.ids[place]: float(totals[place]) for place in there.tolist()}
        return {shot: found[shot] for shot in ranked(found)[:depth]}


def timeline(ids: Sequence[str], gallery: Paths | DescribesShots, report: Reporter = LOGGED) -> Timeline:
    """Where these shots are; notes those without a time, and raises MismatchError if none has one."""
    shots = _described(ids, gallery)
    if absent := [id for id in ids if id not in shots]:
        if len(absent) == len(ids):
            raise MismatchError(
                f"no times of these shots in the gallery, which a sequence needs: {few(absent)}; index the videos "
                "with avs index"
            )
        report.note(f"{len(absent)} of {len(ids)} shots have no time in the gallery and are left out: {few(absent)}")
    places = np.array([place for place, id in enumerate(ids) if id in shots], np.int64)
    known = [shots[id] for id in ids if id in shots]
    videos = {video: number for number, video in enumerate({shot.video: None for shot in known})}
    return Timeline(
        [shot.id for shot in known],
        places,
        np.array([videos[shot.video] for shot in known], np.int64),
        np.array([shot.start for shot in known], np.float64),
        np.array([shot.end for shot in known], np.float64),
    )


def sequence(
    first: Run, then: Run, gallery: Paths | DescribesShots, within: float = 30.0, report: Reporter = LOGGED
) -> Run:
    """The shots of `first` that shots of `then` follow in the same video, topic by topic, best first.

    gallery  stores that know the shots' times, or a gallery that is open
    within   seconds from the end of the first shot to the start of the second, at most; the second starts later than
             the first, which it may overlap

    A score is that of the first shot plus the highest of those that follow it, so that a sequence may itself be what
    follows. Notes topics without a sequence and shots without a time. Raises SpecError for a negative `within`,
    MismatchError for a topic that `then` lacks, and if no shot has a time.
    """
    if not within >= 0:
        raise SpecError(f"within {within:g} seconds: expected 0 or more")
    if lost := [topic for topic in first if topic not in then]:
        raise MismatchError(f"nothing is to follow for {len(lost)} of {len(first)} topics: {few(lost)}")
    of_steps = {topic: [first[topic], then[topic]] for topic in first}
    return _joined(of_steps, {topic: [0.0, within] for topic in first}, gallery, report)


def in_sequences(
    run: Run, asked: Mapping[str, Sequence[TopicStep]], gallery: DescribesShots, depth: int, report: Reporter = LOGGED
) -> Run:
    """The run of topics from that of their steps: `depth` shots for each, of a sequence those that begin it.

    run    of the steps, one after the other; for a sequence, of all shots
    asked  the steps of each topic
    """
    rankings = iter(run.values())
    of_steps = {topic: [next(rankings) for _ in steps] for topic, steps in asked.items()}
    several = {topic: found for topic, found in of_steps.items() if len(found) > 1}
    within = {topic: [step.within for step in asked[topic]] for topic in several}
    best = _joined(several, within, gallery, report, depth) if several else {}
    return {topic: best[topic] if topic in best else first_shots(found[0], depth) for topic, found in of_steps.items()}


def first_shots(ranking: Mapping[str, float], depth: int) -> dict[str, float]:
    """The best `depth` of a ranking."""
    return dict(islice(ranking.items(), depth))


def note_lonely(run: Run, within: Mapping[str, Sequence[float]], report: Reporter = LOGGED) -> None:
    """Note the topics without a sequence.

    within  of each topic that is a sequence, the seconds of its steps
    """
    if none := [topic for topic in within if not run[topic]]:
        times = {seconds for topic in none for seconds in within[topic][1:]}
        within_what = f" within {times.pop():g} s" if len(times) == 1 else ""
        report.note(f"no shot is followed by what is to follow{within_what}, for topic {few(none)}")


def _joined(
    of_steps: Mapping[str, Sequence[Mapping[str, float]]],
    within: Mapping[str, Sequence[float]],
    gallery: Paths | DescribesShots,
    report: Reporter,
    depth: int = sys.maxsize,
) -> Run:
    """The sequences of each topic, from the scores of its steps by shot."""
    ids = sorted({shot for found in of_steps.values() for scores in found for shot in scores})
    line = timeline(ids, gallery, report)
    run: Run = {}
    for topic, found in of_steps.items():
        table = np.array([[scores.get(id, -np.inf) for id in ids] for scores in found])
        run[topic] = line.best(table, within[topic], depth)
    note_lonely(run, within, report)
    return run


def _described(ids: Sequence[str], gallery: Paths | DescribesShots) -> dict[str, Shot]:
    """The shots that the gallery describes, by id; any feature of a store will do."""
    if isinstance(gallery, DescribesShots):
        return gallery.some_shots(ids)
    found: dict[str, Shot] = {}
    with ExitStack() as stack:
        for name in path_names(gallery):
            found = stack.enter_context(open_any(name)).some_shots(ids) | found
    return found
