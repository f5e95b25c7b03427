"""Judge: a model looks at the frames of the best shots of runs and gives the log-odds that they fit their topics.

    found = judge_shots({"the run": run}, "videos.h5", topics, judge, judging=Judging("verdicts.jsonl", budget=60))
    found.log_odds["661"]["shot1_2"]

Shots are judged rank by rank, for all topics and runs at each rank, so that all topics are judged to the same depth
whenever it ends. Every verdict is in the file when its batch is done; what the file has is not judged again.
"""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avs_cli.core.extraction.sampling import sample_times
from avs_cli.core.judges import Judge, ShotQuestion
from avs_cli.errors import AvsError, MismatchError, SpecError, few
from avs_cli.io.store.reader import Gallery
from avs_cli.io.store.texts import open_any
from avs_cli.io.text.topics import align_topics
from avs_cli.io.text.verdicts import VerdictFile
from avs_cli.io.video.find import video_files
from avs_cli.io.video.frames import decode, jobs_of
from avs_cli.io.video.workers import ahead
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, Paths, missing_videos, path_names
from avs_cli.stages.topic_texts import is_image
from avs_cli.stages.vector_cache import key_of
from avs_cli.types import Failure, Run, Sampling, Shot, Topic, Whole, ranked

# Questions per forward pass.
BATCH = 8
# Bytes of decoded frames that wait for the judge.
LOADED = 1 << 27
# Seconds without a decoded packet after which a video counts as unreadable.
TIMEOUT = 60.0


class Judging(NamedTuple):
    """How a judge is asked.

    verdicts    the file in which verdicts are kept, and found again by judge, topic and shot; "": they are not kept
    budget      minutes; no batch starts that would exceed them. 0: no limit
    batch_size  questions per forward pass; without influence on verdicts
    videos      folders or files in which to look for the videos by name, if they are not where the stores say
    judge       a judge of your own, instead of the model that a method names
    """

    verdicts: FilePath = ""
    budget: float = 0.0
    batch_size: int = BATCH
    videos: Paths = ()
    judge: Judge | None = None


class Verdicts(NamedTuple):
    """The verdicts on the best shots of runs.

    log_odds  topic -> shot -> log-odds
    calls     how many verdicts are new
    left      how many shots the budget left without one
    failures  the shots that could not be read
    """

    log_odds: Run
    calls: int
    left: int
    failures: list[Failure]


class _Pair(NamedTuple):
    """A shot to be judged for a topic, and its rank, from 1."""

    topic: Topic
    shot: Shot
    rank: int


def judge_shots(
    runs: Mapping[str, Run],
    gallery: Paths | Gallery,
    topics: Sequence[Topic],
    judge: Judge,
    *,
    depth: int = 100,
    judging: Judging | None = None,
    workers: int = 1,
    report: Reporter = LOGGED,
) -> Verdicts:
    """The verdicts on the first `depth` shots of each topic of the runs.

    gallery  stores with the videos and times of the shots; the first that has a shot decides
    topics   the texts of the topics of the runs, and perhaps of others
    workers  processes that decode videos
    Notes how many shots are to be judged, an estimate of the time after the first batch, what a budget left out, and
    shots that cannot be read. Raises MismatchError for a topic without a text or with an example image, and for shots
    and videos that are missing; AvsError for a verdict that is not a number.
    """
    judging = judging or Judging()
    if judging.budget < 0 or judging.batch_size < 1:
        raise SpecError("a budget is at least 0 minutes, and a batch at least one question")
    started = time.monotonic()
    wanted = _wanted(runs, topics, depth)
    shots = _shots(gallery, [shot for _, shot, _ in wanted])
    pairs = [_Pair(topic, shots[shot], rank) for topic, shot, rank in wanted]
    with ExitStack() as stack:
        kept: VerdictFile | None = None
        if judging.verdicts:
            about = judge.provenance
            kept = stack.enter_context(VerdictFile(judging.verdicts, key_of(about), about))
        found: dict[tuple[str, str], float] = {}
        for pair in pairs:
            odds = kept.get(pair.topic, pair.shot) if kept else None
            if odds is not None:
                found[pair.topic.id, pair.shot.id] = odds
        todo = [pair for pair in pairs if (pair.topic.id, pair.shot.id) not in found]
        topics_asked = len({pair.topic.id for pair in pairs})
        many = f"{len(todo):,} call{'s' * (len(todo) != 1)}, for {topics_asked:,} topic{'s' * (topics_asked != 1)}"
        known = f"; {len(found):,} verdicts are in {judging.verdicts}" if kept else ""
        report.note(f"{judge.name}: {many} at depth {depth:,}{known}")
        todo = _placed(gallery, todo, path_names(judging.videos)) if judge.sampling else todo
        new, failures = _ask(judge, todo, judging, kept, started, workers, report)
    found |= new
    unread = {failure.id for failure in failures}
    report.note_each(failure.message for failure in failures)
    lacking = [pair for pair in todo if (pair.topic.id, pair.shot.id) not in found and pair.shot.id not in unread]
    if lacking:
        report.note(
            f"the budget of {judging.budget:g} minutes is spent: {len(new):,} verdicts are new and {len(lacking):,} "
            f"are lacking; every topic is judged to rank {min(pair.rank for pair in lacking) - 1:,}"
            + (", and the same command goes on" if judging.verdicts else "")
        )
    by_topic: Run = {}
    for (topic, shot), odds in found.items():
        by_topic.setdefault(topic, {})[shot] = odds
    return Verdicts(by_topic, len(new), len(lacking), failures)


def _ask(
    judge: Judge,
    pairs: Sequence[_Pair],
    judging: Judging,
    kept: VerdictFile | None,
    started: float,
    workers: int,
    report: Reporter,
) -> tuple[dict[tuple[str, str], float], list[Failure]]:
    """The log-odds by topic and shot, as far as the budget goes, and the shots that cannot be read."""
    found: dict[tuple[str, str], float] = {}
    failures: list[Failure] = []
    clock = _Clock(judging.budget * 60, started, len(pairs), report)
    with (
        report.progress("judging", len(pairs)) as advance,
        closing(_questions(judge, pairs, judging.batch_size, workers)) as batches,
    ):
        for batch in batches:
            if isinstance(batch, Failure):
                failures.append(batch)
                continue
            if not clock.allows():
                break
            own = [pair for pair, _ in batch]
            odds = judge.log_odds([question for _, question in batch])
            _check(judge, own, odds)
            verdicts = [(pair.topic, pair.shot, float(one)) for pair, one in zip(own, odds, strict=True)]
            if kept:
                kept.add(verdicts)
            found |= {(topic.id, shot.id): one for topic, shot, one in verdicts}
            clock.done(len(own))
            advance(len(own))
    return found, failures


def _wanted(runs: Mapping[str, Run], topics: Sequence[Topic], depth: int) -> list[tuple[Topic, str, int]]:
    """The topics and their best shots with their ranks, rank by rank."""
    given = {topic.id: topic for topic in topics}
    for topic in topics:
        if is_image(topic.query):
            raise MismatchError(f"topic {topic.id} is an example image, and judges read sentences")
    best: list[tuple[Topic, list[str]]] = []
    for name, run in runs.items():
        texts = align_topics(given, run)[0]
        if lost := [topic for topic in run if topic not in texts]:
            raise MismatchError(f"{name}: no text for {len(lost)} of its topics: {few(lost)}")
        best += [(texts[topic], ranked(scores)[:depth]) for topic, scores in run.items()]
    found: dict[tuple[str, str], tuple[Topic, str, int]] = {}
    for rank in range(1, max((len(shots) for _, shots in best), default=0) + 1):
        for topic, shots in best:
            if rank <= len(shots):
                found.setdefault((topic.id, shots[rank - 1]), (topic, shots[rank - 1], rank))
    return list(found.values())


def _shots(gallery: Paths | Gallery, ids: Sequence[str]) -> dict[str, Shot]:
    """The shots by id; raises MismatchError for those that the stores do not describe."""
    wanted = sorted(set(ids))
    if isinstance(gallery, Gallery):
        found = gallery.some_shots(wanted)
    else:
        found = {}
        for name in path_names(gallery):
            with open_any(name) as store:
                found = store.some_shots(wanted) | found
    if lost := [id for id in wanted if id not in found]:
        raise MismatchError(f"the gallery does not describe {len(lost)} of {len(wanted)} shots: {few(lost)}")
    return found


def _placed(gallery: Paths | Gallery, pairs: Sequence[_Pair], folders: Sequence[str]) -> list[_Pair]:
    """The pairs with the paths of their videos; raises MismatchError for videos that are missing."""
    stores = [str(store.path) for store in gallery.stores] if isinstance(gallery, Gallery) else path_names(gallery)
    videos = list(dict.fromkeys(pair.shot.video for pair in pairs))
    found: dict[str, Path] = {}
    for name in stores:
        found = video_files(dict.fromkeys(videos, name), folders) | found
    if lost := [video for video in videos if video not in found]:
        cure = "give --videos FOLDER" if not folders else "give the folder that contains them"
        raise MismatchError(f"{missing_videos(lost, len(videos), folders, stores)}: {cure}")
    return [pair._replace(shot=pair.shot._replace(video=str(found[pair.shot.video]))) for pair in pairs]


_Batch = list[tuple[_Pair, ShotQuestion]]


def _questions(judge: Judge, pairs: Sequence[_Pair], size: int, workers: int) -> Generator[_Batch | Failure]:
    """The questions in batches, in order, and the shots that cannot be read.

    The first batch has one question: it warms up the judge, and the next one tells how long the others take.
    """
    waiting: _Batch = []
    first = True
    for loaded in _loaded(judge, pairs, size, workers):
        if isinstance(loaded, Failure):
            yield loaded
            continue
        waiting.append(loaded)
        if first or len(waiting) == size:
            yield waiting
            waiting, first = [], False
    if waiting:
        yield waiting


def _loaded(
    judge: Judge, pairs: Sequence[_Pair], size: int, workers: int
) -> Iterator[tuple[_Pair, ShotQuestion] | Failure]:
    """The questions with their frames, which are decoded while the judge works."""
    sampling = judge.sampling
    if sampling is None:
        for pair in pairs:
            yield pair, ShotQuestion(pair.topic, pair.shot.id, (), pair.shot.end - pair.shot.start)
        return
    each = (sampling.max_frames or sampling.count or 16) * judge.pixels.longest**2 * 3
    step = max(size, LOADED // each)
    parts = [pairs[low : low + step] for low in range(0, len(pairs), step)]
    decoded = ahead((_decoded(part, sampling, judge.pixels, workers) for part in parts), 1)
    for part, (frames, failures) in zip(parts, decoded, strict=True):
        yield from failures
        for pair in part:
            if seen := frames.get(pair.shot.id):
                yield pair, ShotQuestion(pair.topic, pair.shot.id, seen, pair.shot.end - pair.shot.start)


def _decoded(
    pairs: Sequence[_Pair], sampling: Sampling, pixels: Whole, workers: int
) -> tuple[dict[str, list[np.ndarray]], list[Failure]]:
    """The frames of the shots, and the shots that cannot be read."""
    shots = {pair.shot.id: pair.shot for pair in pairs}
    times = partial(sample_times, sampling=sampling)
    frames: dict[str, list[np.ndarray]] = {}
    failures: list[Failure] = []
    for piece in decode(jobs_of(shots.values()), times, pixels, workers=workers, timeout=TIMEOUT, thumbnail=0):
        if isinstance(piece, Failure):
            failures.append(piece)
        else:
            frames.setdefault(piece.shot, []).extend(piece.pixels)
    for failure in failures:
        frames.pop(failure.id, None)
    return frames, failures


def _check(judge: Judge, pairs: Sequence[_Pair], odds: np.ndarray) -> None:
    """Raises AvsError for log-odds that are no numbers."""
    for pair, one in zip(pairs, odds, strict=True):
        if not np.isfinite(one):
            raise AvsError(
                f"{judge.name} gave {one} for shot {pair.shot.id} and topic {pair.topic.id}; its weights may be damaged"
            )


class _Clock:
    """Times batches, estimates the whole after the second one, and says whether the budget, in seconds, allows more."""

    def __init__(self, budget: float, started: float, total: int, report: Reporter):
        self._budget, self._started, self._total, self._report = budget, started, total, report
        self._begun = time.monotonic()
        self._batches = self._judged = 0
        self._slowest = 0.0

    def allows(self) -> bool:
        """Whether another batch may start, which then begins."""
        self._begun = time.monotonic()
        return not self._budget or self._begun - self._started + self._slowest <= self._budget

    def done(self, count: int) -> None:
        """A batch of `count` questions has ended."""
        seconds = time.monotonic() - self._begun
        self._batches, self._judged = self._batches + 1, self._judged + count
        # The first batch has loaded the network, too.
        if self._batches == 1:
            return
        self._slowest = max(self._slowest, seconds)
        left = self._total - self._judged
        if self._batches == 2 and left:
            each = seconds / count
            text = f"{each:.2g} s a call: about {duration(each * left)} for the other {left:,}"
            spare = self._budget - (time.monotonic() - self._started)
            if self._budget and spare < each * left:
                text += f"; the budget allows about {max(0, int(spare / each)):,}"
            self._report.note(text)


def duration(seconds: float) -> str:
    """A time as text: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
