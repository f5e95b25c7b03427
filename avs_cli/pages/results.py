"""The HTML page of results, rendered from values.

The page is self-contained: its Content-Security-Policy allows only its own style and script, by their hashes. Each
thumbnail is a style rule and is embedded once, however many topics show it. Without the script, the page is a plain
list with every run's rank beside each shot; the script sorts, compares, filters and enlarges.
"""

import base64
import hashlib
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import PurePath
from typing import NamedTuple

from avs_cli.stages.view import Page, Picture, RankedShot, doubt
from avs_cli.types import Judgment, Shot

# With more runs than this, a card does not list its rank in each; the script's enlarged view does.
LISTED_RUNS = 6
NO_FILES: Mapping[str, str] = {}
# Where files beside the page are, for its policy: "'self'" is no file.
FILES = "'self' file:"
# Of thumbnails in files; those in the page have a background.
LAZY = "img.picture{width:100%;object-fit:contain}img.cover{object-fit:cover}"


def clock(seconds: float) -> str:
    """Whole seconds as m:ss, from an hour on as h:mm:ss."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def stretch(shot: Shot) -> str:
    """Start and end of a shot, in seconds rounded outwards; "" for a still picture."""
    return f"{clock(shot.start)}–{clock(math.ceil(shot.end))}" if shot.end > shot.start else ""


class Card(NamedTuple):
    """A shot in the results of one topic.

    id      of the shot
    style   CSS class of its thumbnail; "" without one
    source  address of its thumbnail; "" if that is in the page
    label   text alternative of its thumbnail
    video   name of its video; "" if it equals the shot's id
    times   start and end; "" for a still picture
    file    address of the shot in its video; "" where there is no file
    judged  "relevant", "not relevant", "unjudged"; "" without judgments
    ranks   in each run
    scores  in each run
    home    the first run that returns it
    sure    its confidence in percent; "" where unknown
    """

    id: str
    style: str
    source: str
    label: str
    video: str
    times: str
    file: str
    judged: str
    ranks: Sequence[int | None]
    scores: Sequence[str]
    home: int
    sure: str


class Strip(NamedTuple):
    """The judged ranks of one run, relevant and not, with their counts in words."""

    relevant: Sequence[int]
    irrelevant: Sequence[int]
    counts: str


class Sheet(NamedTuple):
    """One topic of the page: its id, its query (or its id), a strip per run, its shots, and what makes it doubtful."""

    id: str
    query: str
    strips: Sequence[Strip]
    cards: Sequence[Card]
    doubt: str = ""


def render(page: Page, thumbnails: Mapping[str, str] = NO_FILES, videos: Mapping[str, str] = NO_FILES) -> str:
    """The page as one HTML document.

    thumbnails  shot id -> address of its thumbnail, relative to the page; by default they are in the page
    videos      video -> address of its file, relative to the page; the shots of others do not play
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("avs_cli", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"counted": _counted, "dashed": _or_dash}
    environment.globals["listed"] = LISTED_RUNS
    shape = _shape(page)
    classes = {shot: f"p{number}" for number, shot in enumerate(page.pictures)}
    rules = [f":root{{--aspect:{shape:.3f}}}", *([LAZY] if thumbnails else _picture_rules(page, classes, shape))]
    if thumbnails:
        classes = {shot: "cover" if _fits(one, shape) else "whole" for shot, one in page.pictures.items()}
    style, pictures, script = _asset("results.css"), "\n".join(rules), _asset("results.js")
    return environment.get_template("results.html").render(
        page=page,
        policy=_policy([style, pictures], script, FILES if thumbnails else "data:", FILES if videos else ""),
        style=style,
        pictures=pictures,
        script=script,
        shots={entry.shot for entries in page.topics.values() for entry in entries},
        topics=(_sheet(page, classes, thumbnails, videos, topic) for topic in page.topics),
    )


def _asset(name: str) -> str:
    return files("avs_cli.pages").joinpath(name).read_text(encoding="utf-8")


def _policy(styles: Iterable[str], script: str, pictures: str, videos: str) -> str:
    """A Content-Security-Policy: these styles, this script, pictures and videos from there, nothing from elsewhere."""

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    allowed = {
        "default-src": "'none'",
        "img-src": pictures,
        "media-src": videos,
        "style-src": " ".join(map(hashed, styles)),
        "script-src": hashed(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{kind} {source}" for kind, source in allowed.items() if source)


def _shape(page: Page) -> float:
    """The frames' width over their height: that of most thumbnails, within bounds."""
    shape = statistics.median(picture.aspect for picture in page.pictures.values()) if page.pictures else 1.6
    return min(max(shape, 0.8), 1.8)


def _fits(picture: Picture, shape: float) -> bool:
    """Whether a picture has the frame's shape and covers it; else rounding to whole pixels shows a black line."""
    return abs(picture.aspect / shape - 1) < 0.01


def _picture_rules(page: Page, classes: Mapping[str, str], shape: float) -> list[str]:
    """A rule for each thumbnail."""
    rules = []
    for shot, picture in page.pictures.items():
        fit = ";background-size:cover" if _fits(picture, shape) else ""
        data = base64.b64encode(picture.data).decode()
        rules.append(f'.{classes[shot]}{{background-image:url("data:image/jpeg;base64,{data}"){fit}}}')
    return rules


def _counted(items: Collection[object], noun: str) -> str:
    """`3 shots`"""
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def _sheet(
    page: Page, classes: Mapping[str, str], thumbnails: Mapping[str, str], videos: Mapping[str, str], topic: str
) -> Sheet:
    entries = page.topics[topic]
    judgments = None if page.qrels is None else page.qrels.get(topic, {})
    strips = [_strip(page, entries, judgments, run) for run in range(len(page.names))] if judgments else []
    cards = [_card(page, classes, thumbnails, videos, judgments, topic, entry) for entry in entries]
    return Sheet(topic, page.queries.get(topic) or topic, strips, cards, doubt(page, topic))


def _judged(judgments: Mapping[str, Judgment], shot: str) -> str:
    relevance = judgments[shot].relevance if shot in judgments else -1
    return "unjudged" if relevance < 0 else "relevant" if relevance else "not relevant"


def _card(
    page: Page,
    classes: Mapping[str, str],
    thumbnails: Mapping[str, str],
    videos: Mapping[str, str],
    judgments: Mapping[str, Judgment] | None,
    topic: str,
    entry: RankedShot,
) -> Card:
    shot, place = entry.shot, page.shots.get(entry.shot)
    video, times = (_video(place), stretch(place)) if place else ("", "")
    return Card(
        id=shot,
        style=classes.get(shot, ""),
        source=thumbnails.get(shot, ""),
        label=", ".join(filter(None, (shot, video, times))),
        video=video,
        times=times,
        file=_fragment(videos[place.video], place) if place and times and place.video in videos else "",
        judged="" if judgments is None else _judged(judgments, shot),
        ranks=entry.ranks,
        scores=["-" if score is None else f"{score:.4g}" for score in entry.scores],
        sure=f"{sure:.0%}" if (sure := page.confidence.get(topic, {}).get(shot)) is not None else "",
        home=next(run for run, rank in enumerate(entry.ranks) if rank is not None),
    )


def _video(shot: Shot) -> str:
    """The name of the video; "" if it equals the shot's id, as for pictures."""
    return "" if shot.id in (shot.video, PurePath(shot.video).stem) else shot.video


def _fragment(address: str, shot: Shot) -> str:
    """The address of a stretch of a video, as a W3C media fragment."""
    start, end = (f"{time:.3f}".rstrip("0").rstrip(".") for time in (shot.start, shot.end))
    return f"{address}#t={start},{end}"


def _or_dash(rank: int | None) -> str:
    return "-" if rank is None else str(rank)


def _strip(page: Page, entries: Sequence[RankedShot], judgments: Mapping[str, Judgment], run: int) -> Strip:
    ranks: dict[str, list[int]] = {"relevant": [], "not relevant": [], "unjudged": []}
    for entry in entries:
        if (rank := entry.ranks[run]) and rank <= page.shown:
            ranks[_judged(judgments, entry.shot)].append(rank)
    counts = ", ".join(f"{len(of_kind)} {judged}" for judged, of_kind in ranks.items())
    return Strip(sorted(ranks["relevant"]), sorted(ranks["not relevant"]), counts)
