"""View: what a page of results shows, collected from runs, stores, topics and judgments.

html = render(page(["clip.run", "laff.run"], ["gallery.h5"], topics="tv22.txt"))    # `pages.results.render` draws it
"""

import hashlib
import io
import os
import re
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from avs_cli.core.search.confidence import DOUBTFUL
from avs_cli.core.search.tokens import matched
from avs_cli.errors import MismatchError
from avs_cli.io.atomic import replacing
from avs_cli.io.store.texts import TextStore, open_any, text_features
from avs_cli.io.text.topics import align_topics, is_topics_file, read_topics
from avs_cli.io.text.trec import read_qrels, read_run
from avs_cli.io.video.find import video_files
from avs_cli.io.video.frames import is_picture
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, Paths, Runs, given_runs, missing_videos, path_names, selected
from avs_cli.types import Piece, Qrels, Run, Shot, ranked

# Size in bytes beyond which browsers open a page slowly.
HEAVY = 20_000_000
# Bytes of a shot on the page without its thumbnail, about.
CARD = 500


NO_WORDS: Mapping[str, Mapping[str, Sequence[Piece]]] = MappingProxyType({})
NO_CONFIDENCE: Mapping[str, Mapping[str, float]] = MappingProxyType({})

_THUMBNAIL = re.compile(r"[0-9a-f]{16}\.jpg")


class Picture(NamedTuple):
    """A thumbnail: JPEG bytes, and its width over its height."""

    data: bytes
    aspect: float


Pictures = dict[str, Picture]
"""Shot id -> thumbnail."""


class RankedShot(NamedTuple):
    """A shot of one topic on the page, with its rank (from 1) and score in each run; None where a run lacks it."""

    shot: str
    ranks: tuple[int | None, ...]
    scores: tuple[float | None, ...]


class Page(NamedTuple):
    """What is shown.

    names       of the runs, as `RankedShot` orders them
    topics      topic -> its shots, from `laid_out`
    queries     topic -> text; a topic without one is called by its id
    shots       shot id -> its place in a video, where known
    pictures    shot id -> thumbnail, where there is one
    qrels       None where judgments are not asked for
    shown       the depth to which each run is shown
    videos      video, as shots name it -> its file, where there is one
    sources     kind of input -> its files, for the foot of the page; "" for what is not given
    confidence  topic -> shot -> confidence, from 0 to 1, where known
    words       topic -> shot -> the pieces of its texts that have words of the topic
    """

    names: Sequence[str]
    topics: Mapping[str, Sequence[RankedShot]]
    queries: Mapping[str, str]
    shots: Mapping[str, Shot]
    pictures: Mapping[str, Picture]
    qrels: Qrels | None
    shown: int
    videos: Mapping[str, Path]
    sources: Mapping[str, str]
    confidence: Mapping[str, Mapping[str, float]] = NO_CONFIDENCE
    words: Mapping[str, Mapping[str, Sequence[Piece]]] = NO_WORDS


def page(
    runs: Runs,
    gallery: Paths,
    *,
    topics: FilePath | Mapping[str, str] = "",
    qrels: FilePath | Qrels = "",
    confidence: FilePath | Run = "",
    shown: int = 100,
    beside: bool = False,
    videos: Paths = (),
    report: Reporter = LOGGED,
) -> Page:
    """The first shots of each topic of runs, with their thumbnails, the topics' texts and the judgments.

    runs     files or values; the topics' ids are those of the first
    gallery  stores with thumbnails and times of shots; the first that has a shot decides. Of features of texts in them,
             what has words of a topic is shown
    topics   a topics file, or the text of each topic by its id; or ids and ranges such as 731-750,761, to show these
             alone
    qrels    judgments, or their file
    confidence
             a run whose scores are confidences, from `avs search --confidence`, or its file
    shown    shots per topic and run
    beside   whether the thumbnails will be files beside the page, from `write_thumbnails`, and not in it
    videos   folders or files in which to look for the videos by name, if they are not where the stores say

    Notes shots without a thumbnail, topics without a text or a judgment, videos that are missing, and a page that
    browsers open slowly.
    """
    given, stores = given_runs(runs), path_names(gallery)
    names = [one.name for one in given] if isinstance(runs, Mapping) else run_names([one.where for one in given])
    first, *others = (one.read() for one in given)
    sources = {
        "runs": ", ".join(one.where for one in given),
        "gallery": ", ".join(stores),
        "topics": "",
        "judgments": "",
    }
    texts: Mapping[str, str] = {}
    if isinstance(topics, Mapping):
        texts = topics
    elif is_topics_file(topics := str(topics)):
        texts, sources["topics"] = {topic.id: topic.query for topic in read_topics(topics)}, topics
    elif topics:
        first, *others = selected([first, *others], topics, report)
    laid = laid_out([first, *(align_topics(run, first)[0] for run in others)], shown)
    queries: dict[str, str] = {}
    judged: Qrels | None = None
    if texts:
        queries, renamed = align_topics(texts, laid)
        _explain(sources["topics"] or "the topics", renamed, "query", laid, queries, report)
    if qrels:
        if not isinstance(qrels, Mapping):
            sources["judgments"] = str(qrels)
            qrels = read_qrels(str(qrels))
        judged, renamed = align_topics(qrels, laid)
        _explain(sources["judgments"] or "the judgments", renamed, "judgment", laid, judged, report)
    sure: Run = {}
    if confidence:
        if not isinstance(confidence, Mapping):
            sources["confidences"] = str(confidence)
            confidence = read_run(str(confidence))
        sure, renamed = align_topics(confidence, laid)
        where = sources.get("confidences", "the confidences")
        check_confidences(sure, where)
        _explain(where, renamed, "confidence", laid, sure, report)
    ids = dict.fromkeys(one.shot for of_topic in laid.values() for one in of_topic)
    shots, pictures, places = _pictured(stores, ids)
    found = video_files(places, path_names(videos))
    lost = len(ids.keys() - shots.keys())
    absent = f" ({lost} are not in the gallery)" if lost else ""
    if ids and not pictures:
        report.note(
            f"no thumbnails of these shots in {', '.join(stores)}{absent}: the page has no images; "
            "add a store that contains them with --gallery"
        )
    elif missing := len(ids) - len(pictures):
        report.note(
            f"{missing} of {len(ids)} shots have no thumbnail in {', '.join(stores)}{absent}; they are shown blank"
        )
    if absent_videos := sorted(places.keys() - found.keys()):
        missed = missing_videos(absent_videos, len(places), path_names(videos), stores)
        report.note(f"{missed}: their shots do not play; give --videos FOLDER")
    # base64: four characters for three bytes
    cards = CARD * sum(map(len, laid.values()))
    size = cards + (0 if beside else sum(len(picture.data) for picture in pictures.values()) * 4 // 3)
    if size > HEAVY:
        fewer = max(1, min(shown, max(map(len, laid.values()))) * HEAVY // size)
        other = "" if beside or not pictures else "--thumbnails-beside keeps the thumbnails out of it, or "
        report.note(
            f"the page takes about {size / 1e6:.0f} MB, which browsers open slowly; {other}--shown {fewer} takes about "
            f"{HEAVY / 1e6:.0f} MB"
        )
    words = _worded(stores, laid, queries) if queries else {}
    return Page(names, laid, queries, shots, pictures, judged, shown, found, sources, sure, words)


def doubt(confidences: Mapping[str, float]) -> str:
    """What to say of a topic that has probably no relevant shot, by the confidences of its shots; "" for others."""
    best = max(confidences.values(), default=1.0)
    return f"Probably nothing relevant in this gallery: no confidence exceeds {best:.0%}" if best < DOUBTFUL else ""


def check_confidences(confidences: Run, where: str) -> None:
    """Raises MismatchError for scores that are no confidences, such as those of a plain run."""
    for topic, of_shots in confidences.items():
        for shot, value in of_shots.items():
            if not 0 <= value <= 1:
                raise MismatchError(
                    f"{where}: shot {shot} of topic {topic} has {value:g}, and a confidence is from 0 to 1; "
                    "write confidences with avs search --confidence"
                )


def video_addresses(page: Page, folder: FilePath) -> dict[str, str]:
    """Video -> the address of its file relative to a page in a folder, percent-encoded.

    Links are not followed: browsers take the way through ".." from the names in an address.
    """
    return {video: quote(os.path.relpath(path, folder)) for video, path in page.videos.items()}


def write_thumbnails(pictures: Mapping[str, Picture], folder: FilePath) -> dict[str, str]:
    """Write thumbnails as JPEG files, for a page that loads them as they are scrolled to.

    returns  shot id -> name of its file in the folder

    A name is the digest of the content, so that no page ever shows thumbnails of another.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = {shot: f"{hashlib.sha256(one.data).hexdigest()[:16]}.jpg" for shot, one in pictures.items()}
    for shot, name in names.items():
        if not (folder / name).exists():
            with replacing(folder / name) as part:
                part.write_bytes(pictures[shot].data)
    return names


def remove_thumbnails(folder: FilePath, names: Collection[str]) -> None:
    """Remove the thumbnails of an earlier page from a folder, all but those of these names."""
    for path in Path(folder).iterdir():
        if _THUMBNAIL.fullmatch(path.name) and path.name not in names:
            path.unlink()


def laid_out(runs: Sequence[Run], shown: int) -> dict[str, list[RankedShot]]:
    """Each topic's shots: the first `shown` of the first run in its order, then what the others' first add.

    Topics come in the first run's order, then those that only later runs have.
    """
    return {topic: _of_topic(topic, runs, shown) for topic in dict.fromkeys(topic for run in runs for topic in run)}


def _of_topic(topic: str, runs: Sequence[Run], shown: int) -> list[RankedShot]:
    scores = [run.get(topic, {}) for run in runs]
    rankings = [ranked(of_run) for of_run in scores]
    ranks = [{shot: rank for rank, shot in enumerate(ranking, start=1)} for ranking in rankings]
    return [
        RankedShot(shot, tuple(of_run.get(shot) for of_run in ranks), tuple(of_run.get(shot) for of_run in scores))
        for shot in dict.fromkeys(shot for ranking in rankings for shot in ranking[:shown])
    ]


def readable(data: bytes | None) -> Picture | None:
    """A thumbnail as the page needs it; None where there is none, or none that a browser could show."""
    if not data:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return Picture(data, image.width / image.height)
    except (OSError, Image.DecompressionBombError):
        return None


def usual_aspect(pictures: Collection[Picture]) -> float:
    """Width over height of most pictures, from 0.8 to 1.8; 1.6 without any."""
    shape = statistics.median(picture.aspect for picture in pictures) if pictures else 1.6
    return min(max(shape, 0.8), 1.8)


def run_names(paths: Sequence[str]) -> list[str]:
    """A short name for each run: its file's name without endings, with as many folders as tell the runs apart."""
    parts = [PurePath("stdin" if path == "-" else path).parts for path in paths]
    names: list[str] = []
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join((*of_run[-depth:-1], of_run[-1].split(".")[0] or of_run[-1])) for of_run in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} {number}" for number, name in enumerate(names, start=1)]


def _explain(
    path: str, renamed: str, kind: str, topics: Collection[str], found: Collection[str], report: Reporter
) -> None:
    """Note the renamed and the missing topics of a file."""
    if renamed:
        report.note(f"{path}: {renamed}")
    if lacking := sum(topic not in found for topic in topics):
        report.note(f"{path}: no {kind} for {lacking} of {len(topics)} topics")


def _worded(
    gallery: Sequence[str], laid: Mapping[str, Sequence[RankedShot]], queries: Mapping[str, str]
) -> dict[str, dict[str, list[Piece]]]:
    """The pieces of text of the shots of each topic that have words of it."""
    found: dict[str, dict[str, list[Piece]]] = {}
    for name in dict.fromkeys(one for store in gallery for one in text_features(store)):
        path, _, feature = name.partition("::")
        with TextStore(path, feature) as store:
            for topic in laid.keys() & queries.keys():
                for id, pieces in having_words(store, [entry.shot for entry in laid[topic]], queries[topic]).items():
                    found.setdefault(topic, {}).setdefault(id, []).extend(pieces)
    return found


def having_words(store: TextStore, ids: Sequence[str], query: str) -> dict[str, list[Piece]]:
    """Of these shots, the pieces of their texts that have words of a query; without shots that have none."""
    held = [id for id, place in zip(ids, store.positions(ids).tolist(), strict=True) if place >= 0]
    found = {id: matched(pieces, query) for id, pieces in zip(held, store.read(held), strict=True)}
    return {id: pieces for id, pieces in found.items() if pieces}


def _pictured(gallery: Sequence[str], ids: Collection[str]) -> tuple[dict[str, Shot], Pictures, dict[str, str]]:
    """The times and thumbnails of these shots, and the store that names each video; the first that has a shot decides.

    Images are no videos.
    """
    shots: dict[str, Shot] = {}
    pictures: Pictures = {}
    places: dict[str, str] = {}
    for name in gallery:
        with open_any(name) as store:
            shots = {id: shot for id, shot in store.shots().items() if id in ids} | shots
            for id in ids:
                if id not in pictures and (picture := readable(store.thumbnail(id))):
                    pictures[id] = picture
        videos = {shot.video for shot in shots.values() if shot.end > shot.start and not is_picture(shot.video)}
        places |= dict.fromkeys(sorted(videos - places.keys()), name)
    return shots, pictures, places
