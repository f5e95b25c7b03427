"""Live: galleries that stay open, with their models loaded: search, more like a shot, marks that teach, exports.

with Live(["videos.h5"], marks="marks.qrels") as live:
    answer = live.search(Question("a dog on a beach -people"))
    live.mark(Question("a dog on a beach -people"), "beach_12", True)
    better = live.search(Question("a dog on a beach -people"))          # re-ranked by the mark
    live.write(better, "run", "dog.run")

Every answer is made by the functions that the commands call. A gallery that changes on disk is opened again before the
next question. All methods may be called from several threads.
"""

import hashlib
import math
import os
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

import numpy as np

from avs_cli.core.device import prepare
from avs_cli.core.search.confidence import Confidence
from avs_cli.core.search.diversity import near_duplicates
from avs_cli.core.search.exact import Searchable, every_score, one_thread, shot_units, top_shots
from avs_cli.core.search.queries import is_plain, line, parse, words_of
from avs_cli.core.search.subset import Held, Subset
from avs_cli.errors import FormatError, MismatchError, SpecError, UnavailableError
from avs_cli.io.resource import Resource
from avs_cli.io.store.reader import Gallery, features, open_gallery
from avs_cli.io.store.schema import Ids
from avs_cli.io.store.texts import TextStore, kind_of_feature
from avs_cli.io.text.marks import IRRELEVANT, RELEVANT, Mark, MarksFile
from avs_cli.io.text.trec import write_run
from avs_cli.io.video.find import video_files
from avs_cli.io.video.frames import is_picture
from avs_cli.provenance import HEAD
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.clip import Cut, cuts, write_clips, write_list
from avs_cli.stages.fuse import fuse
from avs_cli.stages.inputs import FilePath, Paths, comparison, missing_videos, path_names
from avs_cli.stages.rerank import rerank
from avs_cli.stages.search import against_chance, calibration
from avs_cli.stages.search_steps import step_vector, without
from avs_cli.stages.search_words import search_words
from avs_cli.stages.sequences import Timeline
from avs_cli.stages.topic_texts import TopicStep, in_steps
from avs_cli.stages.topics import (
    SentenceEncoder,
    TopicVectors,
    check_images,
    encoded_by,
    encoded_sentences,
    text_encoder,
)
from avs_cli.stages.view import doubt, having_words, readable, usual_aspect
from avs_cli.types import Judgment, Piece, QueryPart, QueryStep, Run, Shot, Topic, Variant, ranked

__all__ = ["Export", "Facet", "Live", "LiveAnswer", "Question"]

Export = Literal["run", "csv", "edl", "fcpxml", "m3u"]
"""What `Live.write` writes: the ranking as a run, or the first shots as a cut list."""

# Shots of an answer.
DEPTH = 1000
# Above this number of shots, the sentences that confidences are made from take too long.
SURE = 200_000
# Answers that are remembered, so that marks and pages of results search nothing again.
REMEMBERED = 64
# Thumbnails that the shape of frames is taken from.
SAMPLED = 100
# How the topics of questions begin or end that are no sentences.
_OTHERWISE = re.compile(r"(^|, )(picture|similar to) \S|, then .* within \S+ s$")
# Bytes of a feature that is held in memory.
HELD = 1 << 30
# The best shots of an answer, among which near-duplicates are looked for.
FOLDED = 500
# The topic within an answer's runs.
ONE = "query"


class _Said(Reporter):
    """For stages whose notes repeat what an answer says."""

    def note(self, message: str) -> None:
        """Left out."""


SAID = _Said()


@dataclass(frozen=True)
class Question:
    """What to search for, and where.

    text      a query of `core.search.queries`: "a dog on a beach -people -a leash", "a dog runs > it jumps"
    pictures  paths of example images, for the first step of the query
    like      ids of shots to resemble in the first step; they are left out of the answer
    then      a second query, whose shot is to follow that of the first one in the same video
    within    seconds from one to the other
    features  the features that are searched and fused; none: all
    file      a video, as shots name it; "" for all
    folder    the folder of videos; "" for all
    since     seconds from the start of the video at which shots may start, at least
    until     and at most
    """

    text: str = ""
    pictures: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    then: str = ""
    within: float = 30.0
    features: tuple[str, ...] = ()
    file: str = ""
    folder: str = ""
    since: float = 0.0
    until: float = math.inf

    def steps(self) -> tuple[QueryStep, ...]:
        """What is asked, without pictures and where, as steps of a query.

        Raises SpecError for a text that is not of the grammar, and for one that names a picture on the disk.
        """
        steps = [*parse(self.text)]
        steps[0] = QueryStep((*steps[0].parts, *(QueryPart(1.0, shot, True) for shot in self.like)))
        if self.then:
            first, *others = parse(self.then, "then")
            steps += [first._replace(within=self.within), *others]
        # Elsewhere the name of a picture is the picture, and a question's text names no files.
        for part in (part for step in steps for part in step.parts if not part.example):
            if is_picture(part.text):
                raise SpecError(f"{part.text!r} reads like the name of a picture; drop the picture itself on the page")
        return tuple(steps)

    def topic(self) -> Topic:
        """What is asked, without where, as a topic of the marks. Raises SpecError where nothing is asked."""
        steps = self.steps()
        wanted = [any(part.weight > 0 for part in step.parts) for step in steps]
        if not all(wanted[1:]) or not (wanted[0] or self.pictures):
            raise SpecError("type what to look for: a sentence, or an example picture")
        first, *absent = steps[0].parts if steps[0].parts else (QueryPart(1.0, ""),)
        pictures = [f"picture {PurePath(path).name}" for path in self.pictures]
        # A sentence and what it excludes are wordings with weights, which other programs read as such.
        is_simple = all(part.weight < 0 and not part.example for part in absent)
        if len(steps) > 1 or first.example or not (first.weight < 0 or first.weight == 1) or not is_simple:
            return Topic(ONE, ", ".join([line(steps), *pictures]))
        if first.weight < 0:
            first, absent = QueryPart(1.0, ""), [first, *absent]
        query = ", ".join(filter(None, [first.text, *pictures]))
        excluded = tuple(Variant(part.weight, part.text) for part in absent)
        return Topic(ONE, query, variants=(Variant(1.0, query), *excluded) if excluded else ())


class Facet(NamedTuple):
    """A file or folder and the number of shots of an answer that are in it."""

    name: str
    shots: int


class LiveAnswer(NamedTuple):
    """The shots for a question, best first.

    question    what was asked
    topic       its id among the marks
    ranking     shot -> score
    behind      shot -> the better shot that it is a near-duplicate of
    shots       shot -> its place in a video, where known
    confidence  shot -> confidence from 0 to 1, where known
    doubt       what to say where probably nothing is relevant; "" for others
    judged      shot -> judgment, also of shots that are not in the ranking
    taught      whether the marks have changed the order
    files       the videos of the ranking, those with most shots first
    folders     and the folders of all its files
    version     of the galleries, which numbers shots and videos
    seconds     that it took
    """

    question: Question
    topic: str
    ranking: Mapping[str, float]
    behind: Mapping[str, str]
    shots: Mapping[str, Shot]
    confidence: Mapping[str, float]
    doubt: str
    judged: Mapping[str, Judgment]
    taught: bool
    files: Sequence[Facet]
    folders: Sequence[Facet]
    version: str
    seconds: float


@dataclass(frozen=True)
class _Feature:
    """A feature of the galleries.

    searched the same, in memory if it is not too large
    texts    its text encoder; None where it has none
    numbers  (N,) the number of the shot in each row
    rows     (S,) the row of each shot; -1 where the feature lacks it
    sure     None where confidences are not known
    """

    gallery: Gallery
    searched: Searchable
    texts: SentenceEncoder | None
    numbers: np.ndarray
    rows: np.ndarray
    sure: Confidence | None

    def has(self, number: int) -> bool:
        """Whether it has the shot with this number."""
        return bool(self.rows[number] >= 0)


class _Base(NamedTuple):
    """What a question finds before marks: the vector and the ranking of each feature."""

    vectors: Mapping[str, np.ndarray]
    rankings: Mapping[str, dict[str, float]]


class _Opened(Resource):
    """Galleries as they are on disk at one moment.

    words     features of texts -> their stores, which are searched for words
    ids       of all shots; their positions are their numbers
    shots     by id, where known
    videos    as shots name them; their positions are their numbers
    files     of the videos, where found
    folders   of the videos
    video_of  (S,) the number of the video of each shot; -1 where unknown
    starts    (S,) seconds, and so are ends
    """

    def __init__(
        self,
        galleries: Mapping[str, Gallery],
        words: Mapping[str, Sequence[str]],
        folders: Sequence[str],
        version: str,
        stack: ExitStack,
    ):
        self.galleries, self.words, self.version, self._resources = galleries, words, version, stack
        self.ids = list(dict.fromkeys(id for gallery in galleries.values() for id in gallery.ids))
        self.numbers = {id: number for number, id in enumerate(self.ids)}
        self.shots: dict[str, Shot] = {}
        places: dict[str, str] = {}
        for gallery in galleries.values():
            for store in gallery.stores:
                shots = store.shots()
                self.shots = shots | self.shots
                places = {shot.video: store.path for shot in shots.values()} | places
        self.videos = list(places)
        self.files = video_files(places, folders)
        self.folders = {video: str(PurePath(video).parent) for video in self.videos}
        by_name = {video: number for number, video in enumerate(self.videos)}
        known = [self.shots.get(id) for id in self.ids]
        self.video_of = np.array([by_name[shot.video] if shot else -1 for shot in known], np.int64)
        self.starts, self.ends = np.array([(shot.start, shot.end) if shot else (0.0, 0.0) for shot in known]).T
        self.pictured = {id for gallery in galleries.values() for one in gallery.stores for id in Ids(one.pictures[0])}
        self.aspect = self._aspect()
        self.features: dict[str, _Feature] = {}
        self.users = 0
        self.replaced = False

    def thumbnail(self, shot: str) -> bytes | None:
        """A thumbnail as JPEG, from the first file that has one of the shot."""
        found = (gallery.thumbnail(shot) for gallery in self.galleries.values())
        return next((jpeg for jpeg in found if jpeg is not None), None)

    def _aspect(self) -> float:
        some = list(islice((shot for shot in self.ids if shot in self.pictured), SAMPLED))
        return usual_aspect([one for shot in some if (one := readable(self.thumbnail(shot)))])

    def some_shots(self, ids: Sequence[str], /) -> dict[str, Shot]:
        """Those of these shots that are described, by id."""
        return {id: self.shots[id] for id in ids if id in self.shots}

    def timeline(self, numbers: np.ndarray) -> Timeline:
        """Where the shots with these numbers are, as far as they are described."""
        places = np.flatnonzero(self.video_of[numbers] >= 0)
        own = numbers[places]
        ids = [self.ids[number] for number in own.tolist()]
        return Timeline(ids, places, self.video_of[own], self.starts[own], self.ends[own])

    def there(self, question: Question) -> np.ndarray | None:
        """(S,) whether a shot is where the question asks; None: all are."""
        chosen = np.ones(len(self.ids), bool)
        if question.file or question.folder:
            wanted = [
                (not question.file or video == question.file)
                and (not question.folder or self.folders[video] == question.folder)
                for video in self.videos
            ]
            chosen &= np.array([*wanted, False])[self.video_of]
        if question.since > 0 or question.until < math.inf:
            chosen &= (self.starts >= question.since) & (self.starts <= question.until)
        return None if chosen.all() else chosen


class Live(Resource):
    """Galleries and models that stay open, and the marks of a user."""

    def __init__(
        self,
        galleries: Paths,
        *,
        marks: FilePath = "marks.qrels",
        videos: Paths = (),
        weights: FilePath | None = None,
        allow_mismatch: bool = False,
        device: str = "auto",
        threads: int = 0,
        report: Reporter = LOGGED,
    ):
        """Opens the galleries and loads their text encoders.

        galleries  feature stores: FILE with all its features, or FILE::FEATURE. Stores of one feature are one gallery;
                   rankings of several features, also of features of texts, are fused
        marks      qrels to which judgments are added; created with the first one. The texts of their topics are in a
                   file beside it, see `io.text.marks`
        videos     folders or files in which to look for the videos by name, if they are not where the stores say
        weights    a local checkpoint of the galleries' model

        Notes features that read no sentences, and videos that are missing. Raises MismatchError where no feature reads
        sentences, FormatError for files that are none of these.
        """
        self.stores, self.folders = path_names(galleries), path_names(videos)
        self._weights, self._report = weights, report
        self._comparison = comparison(allow_mismatch, report)
        self._machine = prepare(device, threads)
        self._resources = ExitStack()
        self._encoders: dict[str, tuple[object, SentenceEncoder | None]] = {}
        self._searching, self._marking = threading.Lock(), threading.Lock()
        self._opening, self._replacing = threading.Lock(), threading.Lock()
        self._failed = ""
        self._remembered: OrderedDict[tuple[str, Question], _Base] = OrderedDict()
        self.marks = MarksFile(marks)
        self._opened = self._open(_state(self.stores))
        self._resources.callback(self._retire)
        missing = [video for video in self._opened.videos if not is_picture(video) and video not in self._opened.files]
        if missing:
            lost = missing_videos(missing, len(self._opened.videos), self.folders, self.stores)
            report.note(f"{lost}: their shots do not play; give --videos FOLDER")

    # What there is

    @property
    def features(self) -> list[str]:
        """The features that are searched."""
        return [*(name for name, one in self._opened.features.items() if one.texts), *self._opened.words]

    def __len__(self) -> int:
        """Number of shots."""
        return len(self._opened.ids)

    @property
    def version(self) -> str:
        """Changes with the galleries; numbers of shots and videos are of one version."""
        return self._opened.version

    @property
    def aspect(self) -> float:
        """Width over height of most thumbnails, from 0.8 to 1.8."""
        return self._opened.aspect

    @property
    def calibrated(self) -> bool:
        """Whether confidences of sentences are known."""
        return any(one.sure for one in self._opened.features.values())

    def shot(self, id: str) -> Shot:
        """A shot's place in a video. Raises MismatchError where it is unknown."""
        if id not in self._opened.shots:
            raise MismatchError(f"the gallery has no times of a shot {id!r}")
        return self._opened.shots[id]

    def is_pictured(self, shot: str) -> bool:
        """Whether a shot has a thumbnail."""
        return shot in self._opened.pictured

    def pieces(self, question: Question, shots: Sequence[str]) -> dict[str, list[Piece]]:
        """Of these shots, the pieces of their texts that have words of a question."""
        found: dict[str, list[Piece]] = {}
        for name in (one for stores in self._opened.words.values() for one in stores if question.text):
            path, _, feature = name.partition("::")
            with TextStore(path, feature) as store:
                for shot, pieces in having_words(store, shots, words_of(question.text)).items():
                    found.setdefault(shot, []).extend(pieces)
        return found

    def number(self, shot: str) -> int:
        """The number of a shot; -1 if the galleries lack it."""
        return self._opened.numbers.get(shot, -1)

    def video_number(self, shot: str) -> int:
        """The number of the video of a shot; -1 without a file of it."""
        opened = self._opened
        number = opened.numbers.get(shot, -1)
        video = int(opened.video_of[number]) if number >= 0 else -1
        return video if video >= 0 and opened.videos[video] in opened.files else -1

    def thumbnail(self, version: str, number: int) -> bytes | None:
        """The thumbnail of the shot with this number as JPEG; None if it has none, or if the galleries have changed."""
        with self._current() as opened:
            if version != opened.version or not 0 <= number < len(opened.ids):
                return None
            return opened.thumbnail(opened.ids[number])

    def video(self, version: str, number: int) -> Path | None:
        """The file of the video with this number; None where there is none, or if the galleries have changed."""
        opened = self._opened
        if version != opened.version or not 0 <= number < len(opened.videos):
            return None
        return opened.files.get(opened.videos[number])

    # Searching

    def search(
        self, question: Question, *, at_least: float = 0.0, by_marks: bool = True, fold: bool = False
    ) -> LiveAnswer:
        """The shots for a question.

        at_least  leave out shots of a lower confidence, unless their texts have the words; without effect where
                  confidences are unknown
        by_marks  whether what is marked for this question changes the order: method `feedback` of `stages.rerank`
        fold      whether near-duplicates stand behind the best of them, as method `diverse` finds them

        Raises SpecError for an empty question and for a feature that is not searched, MismatchError for a shot that the
        galleries lack.
        """
        begun = time.perf_counter()
        asked = question.topic()
        self.refresh()
        with self._marking:
            self.marks.refresh()
            topic = self.marks.topic(asked)
            judged = dict(self.marks.qrels.get(topic, {}))
        with self._current() as opened:
            base = self._base(opened, question)
            marked = {shot: one for shot, one in judged.items() if one.relevance >= 0 and shot in opened.numbers}
            taught = by_marks and bool(marked)
            rankings = self._taught(opened, base, marked) if taught else base.rankings
            ranking = _fused(rankings)
            sure = self._confidence(opened, question, base)
            if at_least and sure:
                said = {shot for name in base.rankings if name not in base.vectors for shot in base.rankings[name]}
                kept = said | marked.keys() | {shot for shot, value in sure.items() if value >= at_least}
                ranking = {shot: score for shot, score in ranking.items() if shot in kept}
            behind = self._behind(opened, base, ranking, judged) if fold else {}
            shots = {shot: opened.shots[shot] for shot in ranking if shot in opened.shots}
            files = Counter(shot.video for shot in shots.values() if shot.end > shot.start)
            folders: Counter[str] = Counter()
            for video, count in Counter(shot.video for shot in shots.values()).items():
                folders[opened.folders[video]] += count
            return LiveAnswer(
                question,
                topic,
                ranking,
                behind,
                shots,
                sure,
                doubt(sure),
                judged,
                taught,
                [Facet(*one) for one in files.most_common()],
                [Facet(*one) for one in folders.most_common()],
                opened.version,
                time.perf_counter() - begun,
            )

    def _base(self, opened: _Opened, question: Question) -> _Base:
        """What a question finds, without marks; remembered."""
        key = (opened.version, question)
        with self._searching:
            if key in self._remembered:
                self._remembered.move_to_end(key)
                return self._remembered[key]
            steps = _steps(question)
            chosen = self._chosen(opened, question, steps)
            vectors = {name: self._vectors(one, steps) for name, one in chosen.items()}
            there = opened.there(question)
            if len(steps) > 1:
                rankings = {
                    name: self._sequences(opened, one, vectors[name], steps, question) for name, one in chosen.items()
                }
            else:
                rankings = {name: self._rank(one, vectors[name], there, steps[0].shots) for name, one in chosen.items()}
            vectors = {name: found[0] for name, found in vectors.items()}
            found = _Base(vectors, rankings | self._words(opened, question))
            self._remembered[key] = found
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
            return found

    def _chosen(self, opened: _Opened, question: Question, steps: Sequence[TopicStep]) -> dict[str, _Feature]:
        """The features of vectors to search; those without sentences find what is like a shot."""
        needs_texts = any(step.topic for step in steps)
        known = {name: one for name, one in opened.features.items() if one.texts or not needs_texts}
        every = [*known, *opened.words]
        if unknown := [name for name in question.features if name not in every]:
            raise SpecError(f"no feature {unknown[0]!r} to search; there are {', '.join(every)}")
        return {name: one for name, one in known.items() if name in (question.features or known)}

    def _words(self, opened: _Opened, question: Question) -> dict[str, dict[str, float]]:
        """The rankings of features of texts, by `stages.search_words`, where some shot has the words of a sentence."""
        steps = question.steps()
        if question.pictures or not steps[0].parts or len(steps) > 1 or any(part.example for part in steps[0].parts):
            return {}
        there = opened.there(question)
        topic = in_steps(Topic(ONE, question.text), steps)
        found = {}
        for name, stores in opened.words.items():
            if name in (question.features or opened.words):
                scores = search_words(stores, [topic], depth=DEPTH, report=SAID)[ONE]
                numbers = {shot: opened.numbers[shot] for shot in scores if shot in opened.numbers}
                found[name] = {shot: scores[shot] for shot, n in numbers.items() if there is None or there[n]}
        return {name: ranking for name, ranking in found.items() if ranking}

    def _vectors(self, one: _Feature, steps: Sequence[TopicStep]) -> np.ndarray:
        """(S, D) of the steps of a question."""
        topics = [step.topic for step in steps if step.topic]
        check_images(topics)
        known: Iterator[np.ndarray] = iter(())
        if topics and one.texts:
            # For one sentence, threads wait for each other longer than they work.
            with one_thread():
                known = iter(encoded_by(one.texts, topics).vectors)
        return np.array([step_vector(step, next(known) if step.topic else None, one.gallery) for step in steps])

    def _rank(
        self, one: _Feature, vectors: np.ndarray, there: np.ndarray | None, examples: Mapping[str, float]
    ) -> dict[str, float]:
        places = one.searched if there is None else Subset(one.gallery, np.flatnonzero(there[one.numbers]))
        ((found,),) = top_shots([vectors], places, DEPTH + len(examples), self._machine.threads)
        return without(found, examples, DEPTH)

    def _sequences(
        self, opened: _Opened, one: _Feature, vectors: np.ndarray, steps: Sequence[TopicStep], question: Question
    ) -> dict[str, float]:
        """The shots that begin the best sequences; what follows may start at any time in the video."""
        scores = every_score(vectors, one.searched, self._machine.threads)
        later = opened.there(replace(question, since=0.0, until=math.inf))
        for number, (row, step) in enumerate(zip(scores, steps, strict=True)):
            there = later if number else opened.there(question)
            if there is not None:
                row[~there[one.numbers]] = -np.inf
            row[one.gallery.places([*step.shots])] = -np.inf
        return opened.timeline(one.numbers).best(scores, [step.within for step in steps], DEPTH)

    def _taught(self, opened: _Opened, base: _Base, marked: Mapping[str, Judgment]) -> dict[str, dict[str, float]]:
        """The rankings of a question, re-ranked by marks."""
        found = {}
        for name, ranking in base.rankings.items():
            if name not in base.vectors:
                found[name] = ranking
                continue
            feature = opened.features[name]
            held = {shot: one for shot, one in marked.items() if feature.has(opened.numbers[shot])}
            if not ranking or not held:
                found[name] = ranking
                continue
            (found[name],) = rerank(
                {ONE: ranking},
                feature.gallery,
                method="feedback",
                qrels={ONE: held},
                vectors=TopicVectors([ONE], base.vectors[name][None]),
                threads=self._machine.threads,
                report=SAID,
            ).values()
        return found

    def _behind(
        self, opened: _Opened, base: _Base, ranking: Mapping[str, float], judged: Collection[str]
    ) -> dict[str, str]:
        """Near-duplicate -> the better shot that stands for it, by the first feature; what is judged stands itself."""
        if not base.vectors:
            return {}
        feature = opened.features[next(iter(base.vectors))]
        held = [shot for shot in islice(ranking, FOLDED) if feature.has(opened.numbers[shot])]
        rows = feature.rows[[opened.numbers[shot] for shot in held]]
        stands = near_duplicates(shot_units(feature.searched.take(rows)).astype(np.float32))
        pairs = zip(held, (held[place] for place in stands.tolist()), strict=True)
        return {shot: other for shot, other in pairs if shot != other and shot not in judged}

    def _confidence(self, opened: _Opened, question: Question, base: _Base) -> dict[str, float]:
        """Of the shots of a plain sentence; others have none."""
        if question.pictures or not is_plain(question.steps()):
            return {}
        for name in base.vectors:
            sure, ranking = opened.features[name].sure, base.rankings[name]
            if sure is not None and ranking:
                return sure.of_run({ONE: dict(ranking)})[ONE]
        return {}

    # Marks

    def mark(self, question: Question, shot: str, relevant: bool | None) -> Mark:
        """Judge a shot for a question; None takes its judgment back. It is on the disk when this returns.

        Raises MismatchError for a shot that the galleries lack.
        """
        if self.number(shot) < 0:
            raise MismatchError(f"the gallery has no shot {shot!r}")
        judgment = None if relevant is None else RELEVANT if relevant else IRRELEVANT
        with self._marking:
            return self.marks.mark(question.topic(), shot, judgment)

    def undo(self, question: Question) -> Mark | None:
        """Take back the last mark for a question; None if there is none."""
        with self._marking:
            return self.marks.undo(question.topic())

    def marked(self) -> list[tuple[Topic, int, int]]:
        """The topics of the marks with how many shots are relevant and how many are not, the latest topic first."""
        with self._marking:
            self.marks.refresh()
            found = []
            for id, judged in self.marks.qrels.items():
                if id in self.marks.topics:
                    relevant = sum(one.relevance > 0 for one in judged.values())
                    found.append((self.marks.topics[id], relevant, len(judged) - relevant))
            return found[::-1]

    # What leaves

    def write(self, answer: LiveAnswer, kind: Export, path: FilePath, depth: int = DEPTH) -> None:
        """Write the first `depth` shots of an answer as a run or a cut list; `-` is stdout."""
        if kind == "run":
            write_run(str(path), _run_of(answer, depth), "avs", depth)
        else:
            write_list(path, self._cuts(answer, depth), kind, self._report)

    def write_clips(self, answer: LiveAnswer, folder: FilePath, depth: int = 20) -> list[Path]:
        """Write the first `depth` shots of an answer as video files; the files that are there now.

        Notes shots that could not be cut.
        """
        made = write_clips(self._cuts(answer, depth), folder, report=self._report)
        self._report.note_each(made.failures)
        return [*made.existing, *made.written]

    def _cuts(self, answer: LiveAnswer, depth: int) -> list[Cut]:
        with self._current() as opened:
            stores = [f"{one.path}::{one.feature}" for own in opened.galleries.values() for one in own.stores]
            found = cuts(_run_of(answer, depth), stores, depth=depth, videos=self.folders, report=self._report)
        self._report.note_each(found.failures)
        return found.cuts

    # Opening

    def refresh(self) -> None:
        """Open the galleries again if their files have changed; if that fails, the old ones stay, with a note.

        While one thread does so, the others go on with the old ones.
        """
        state = _state(self.stores)
        if state in (self._opened.version, self._failed) or not self._opening.acquire(blocking=False):
            return
        try:
            opened = self._open(state)
        except (FormatError, MismatchError, OSError) as error:
            self._failed = state
            self._report.note(f"{error}; the gallery as it was stays open")
        else:
            self._retire(opened)
            self._report.note(f"the gallery has changed: {len(opened.ids):,} shots")
        finally:
            self._opening.release()

    def _open(self, version: str) -> _Opened:
        with ExitStack() as stack:
            by_feature: dict[str, list[str]] = {}
            words: dict[str, list[str]] = {}
            for name in self.stores:
                path, _, chosen = name.partition("::")
                for feature in [chosen] if chosen else features(path):
                    _, has_texts = kind_of_feature(path, feature)
                    (words if has_texts else by_feature).setdefault(feature, []).append(f"{path}::{feature}")
            galleries = {
                feature: stack.enter_context(open_gallery(names, self._comparison))
                for feature, names in by_feature.items()
            }
            if not any(map(len, galleries.values())):
                raise MismatchError(f"{', '.join(self.stores)}: no shots to search")
            opened = _Opened(galleries, words, self.folders, version, stack.pop_all())
        for name, gallery in galleries.items():
            numbers = np.array([opened.numbers[id] for id in gallery.ids], np.int64)
            rows = np.full(len(opened.ids), -1, np.int64)
            rows[numbers] = np.arange(len(numbers))
            texts = self._text_encoder(name, gallery)
            opened.features[name] = _Feature(
                gallery,
                Held(gallery) if _is_small(gallery) else gallery,
                texts,
                numbers,
                rows,
                self._sure(gallery, texts),
            )
        if not any(one.texts for one in opened.features.values()):
            opened.close()
            raise MismatchError(f"{', '.join(self.stores)}: no feature that reads sentences; encode one with avs index")
        return opened

    def _text_encoder(self, name: str, gallery: Gallery) -> SentenceEncoder | None:
        """The text encoder of a feature, kept while the feature's provenance stays; None where it has none."""
        known = self._encoders.get(name)
        if known is None or known[0] != gallery.provenance:
            texts: SentenceEncoder | None = None
            try:
                texts = text_encoder(gallery, self._machine.device, self._machine.threads, self._weights)
                encoded_by(texts, [Topic(ONE, "a first sentence loads the network")])
            except (MismatchError, SpecError, UnavailableError) as error:
                self._report.note(f"{name} is left out of searches for sentences: {error}")
            known = self._encoders[name] = gallery.provenance, texts
        return known[1]

    def _sure(self, gallery: Gallery, texts: SentenceEncoder | None) -> Confidence | None:
        if texts is None or HEAD in gallery.provenance or calibration(gallery.provenance) is None:
            return None
        if not 0 < len(gallery) <= SURE:
            return None
        (bank,) = top_shots([encoded_sentences(texts)], gallery, 1, self._machine.threads)
        return against_chance(bank, gallery)

    @contextmanager
    def _current(self) -> Iterator[_Opened]:
        """The galleries, which stay open as long as the context is, also if new ones take their place."""
        with self._replacing:
            opened = self._opened
            opened.users += 1
        try:
            yield opened
        finally:
            with self._replacing:
                opened.users -= 1
                if opened.replaced and not opened.users:
                    opened.close()

    def _retire(self, new: _Opened | None = None) -> None:
        """Let new galleries take the place of those that are open, which are closed after their last reader."""
        with self._replacing:
            old = self._opened
            old.replaced, self._opened = True, new or old
            if not old.users:
                old.close()


def _run_of(answer: LiveAnswer, depth: int) -> Run:
    """The first `depth` shots of an answer as a run."""
    return {answer.topic: dict(islice(answer.ranking.items(), depth))}


def _steps(question: Question) -> list[TopicStep]:
    """The steps of a question, with its pictures in the first one. Raises SpecError where nothing is asked."""
    question.topic()
    found = []
    for number, step in enumerate(question.steps(), start=1):
        texts = [Variant(part.weight, part.text) for part in step.parts if not part.example]
        texts += [Variant(1.0, path) for path in question.pictures if number == 1]
        # An example is a shot, whatever its name: none is a file.
        shots = {part.text: part.weight for part in step.parts if part.example}
        topic = Topic(f"{ONE}, step {number}", question.text, variants=tuple(texts)) if texts else None
        found.append(TopicStep(topic, shots, step.within))
    return found


def line_of(topic: Topic) -> str:
    """The query line that asks for a topic of the marks; "" for one that was asked in another way."""
    parts = tuple(QueryPart(weight, text) for weight, text in topic.variants)
    written = line([QueryStep(parts)]) if parts else topic.query
    if _OTHERWISE.search(topic.query):
        return ""
    try:
        again = Question(written).topic()
    except SpecError:
        return ""
    return written if (again.query, again.variants) == (topic.query, topic.variants) else ""


def _is_small(gallery: Gallery) -> bool:
    """Whether the vectors of a gallery are held in memory: one of each shot, and not too many."""
    return 0 < len(gallery) * gallery.dim * gallery.dtype.itemsize <= HELD and not gallery.frame_level


def _fused(rankings: Mapping[str, dict[str, float]]) -> dict[str, float]:
    """One ranking of those of several features, by reciprocal rank fusion; best first."""
    if len(rankings) < 2:
        scores = next(iter(rankings.values()), {})
    else:
        (scores,) = fuse({name: {ONE: ranking} for name, ranking in rankings.items()}, "rrf", depth=DEPTH).values()
    return {shot: scores[shot] for shot in ranked(scores)}


def _state(stores: Sequence[str]) -> str:
    """A digest of which files the stores are."""
    states = []
    for name in dict.fromkeys(one.partition("::")[0] for one in stores):
        try:
            found = os.stat(name)
            states.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
        except OSError:
            states.append((0, 0, 0, 0))
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16]
