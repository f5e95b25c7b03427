"""Sequences: shots that are followed by others in the same video.

    run = sequence(dogs, cats, ["videos.h5"], within=30)                             # a dog, then a cat
    run = sequence(dogs, sequence(cats, birds, ["videos.h5"]), ["videos.h5"])        # and then a bird

Runs must hold every shot that may count: those of `avs_cli.stages.search` have as many as `depth` says.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import reduce
from typing import Protocol, runtime_checkable

import numpy as np

from avs_cli.core.search.sequences import best_followers
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.store.texts import open_any
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import Paths, path_names
from avs_cli.types import Run, Shot, ranked


@runtime_checkable
class DescribesShots(Protocol):
    """An open gallery, which knows the videos and times of shots."""

    def some_shots(self, ids: Sequence[str], /) -> dict[str, Shot]: ...


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
    ids = sorted({shot for topic in first for shot in (*first[topic], *then[topic])})
    shots = _described(ids, gallery)
    if absent := [id for id in ids if id not in shots]:
        if len(absent) == len(ids):
            raise MismatchError(
                f"no times of these shots in the gallery, which a sequence needs: {few(absent)}; index the videos "
                "with avs index"
            )
        report.note(f"{len(absent)} of {len(ids)} shots have no time in the gallery and are left out: {few(absent)}")
    ids = [id for id in ids if id in shots]
    videos = {video: number for number, video in enumerate(sorted({shot.video for shot in shots.values()}))}
    video = np.array([videos[shots[id].video] for id in ids], np.int64)
    start, end = (np.array([time(shots[id]) for id in ids], np.float64) for time in (_start, _end))
    run: Run = {}
    for topic, scores in first.items():
        followers = np.array([then[topic].get(id, -np.inf) for id in ids], np.float64)
        best = dict(zip(ids, best_followers(followers, video, start, end, within).tolist(), strict=True))
        together = {id: scores[id] + best[id] for id in ids if id in scores and best[id] > -np.inf}
        run[topic] = {id: together[id] for id in ranked(together)}
    if none := [topic for topic, found in run.items() if not found]:
        report.note(f"no shot is followed by what is to follow within {within:g} s, for topic {few(none)}")
    return run


def in_order(run: Run, gallery: Paths | DescribesShots, within: float = 30.0, report: Reporter = LOGGED) -> Run:
    """As `sequence`, of the topics of one run: each is followed by the next, and the first one's id is the result's."""
    first, *_ = run
    *before, last = ({first: scores} for scores in run.values())
    return reduce(lambda then, one: sequence(one, then, gallery, within, report), reversed(before), last)


def _described(ids: Sequence[str], gallery: Paths | DescribesShots) -> dict[str, Shot]:
    """The shots that the gallery describes, by id; any feature of a store will do."""
    if isinstance(gallery, DescribesShots):
        return gallery.some_shots(ids)
    found: dict[str, Shot] = {}
    with ExitStack() as stack:
        for name in path_names(gallery):
            found = stack.enter_context(open_any(name)).some_shots(ids) | found
    return found


def _start(shot: Shot) -> float:
    return shot.start


def _end(shot: Shot) -> float:
    return shot.end
