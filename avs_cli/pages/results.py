"""The HTML page of results, rendered from values.

The page is self-contained: its Content-Security-Policy allows only its own style and script, by their hashes. Each
thumbnail is a style rule and is embedded once, however many topics show it. Without the script, the page is a plain
list with every run's rank beside each shot; the script sorts, compares, filters and enlarges.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avs_cli.pages.cards import LAZY, Card, asset, card, environment, judged, policy, script
from avs_cli.stages.view import Page, Picture, RankedShot, doubt, usual_aspect
from avs_cli.types import Judgment

NO_FILES: Mapping[str, str] = {}
# Where files beside the page are, for its policy: "'self'" is no file.
FILES = "'self' file:"


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
    shape = usual_aspect(page.pictures.values())
    classes = {shot: f"p{number}" for number, shot in enumerate(page.pictures)}
    rules = [f":root{{--aspect:{shape:.3f}}}", *([LAZY] if thumbnails else _picture_rules(page, classes, shape))]
    if thumbnails:
        classes = {shot: "cover" if _fits(one, shape) else "whole" for shot, one in page.pictures.items()}
    style, pictures, code = asset("results.css"), "\n".join(rules), script("sheet.js", "results.js")
    addresses = {"img_src": FILES if thumbnails else "data:", "media_src": FILES if videos else ""}
    template = environment().get_template("results.html")
    html: str = template.render(
        page=page,
        policy=policy([style, pictures], code, **addresses),
        style=style,
        pictures=pictures,
        script=code,
        shots={entry.shot for entries in page.topics.values() for entry in entries},
        topics=(_sheet(page, classes, thumbnails, videos, topic) for topic in page.topics),
    )
    return html


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


def _sheet(
    page: Page, classes: Mapping[str, str], thumbnails: Mapping[str, str], videos: Mapping[str, str], topic: str
) -> Sheet:
    entries = page.topics[topic]
    judgments = None if page.qrels is None else page.qrels.get(topic, {})
    strips = [_strip(page, entries, judgments, run) for run in range(len(page.names))] if judgments else []
    cards = [_card(page, classes, thumbnails, videos, judgments, topic, entry) for entry in entries]
    return Sheet(topic, page.queries.get(topic) or topic, strips, cards, doubt(page.confidence.get(topic, {})))


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
    return card(
        shot,
        place,
        ranks=entry.ranks,
        scores=entry.scores,
        style=classes.get(shot, ""),
        source=thumbnails.get(shot, ""),
        address=videos.get(place.video, "") if place else "",
        judged="" if judgments is None else judged(judgments, shot),
        sure=page.confidence.get(topic, {}).get(shot),
        pieces=page.words.get(topic, {}).get(shot, ()),
        aspect=page.pictures[shot].aspect if shot in page.pictures else 0.0,
    )


def _strip(page: Page, entries: Sequence[RankedShot], judgments: Mapping[str, Judgment], run: int) -> Strip:
    ranks: dict[str, list[int]] = {"relevant": [], "not relevant": [], "unjudged": []}
    for entry in entries:
        if (rank := entry.ranks[run]) and rank <= page.shown:
            ranks[judged(judgments, entry.shot)].append(rank)
    counts = ", ".join(f"{len(of_kind)} {judged}" for judged, of_kind in ranks.items())
    return Strip(sorted(ranks["relevant"]), sorted(ranks["not relevant"]), counts)
