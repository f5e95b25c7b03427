"""What the pages of `avs view` and `avs serve` share: cards of shots, templates, styles, scripts and their policy."""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from importlib.resources import files
from pathlib import PurePath
from typing import Any, NamedTuple

from avs_cli.types import Judgment, Piece, Shot

# With more runs than this, a card does not list its rank in each; the script's enlarged view does.
LISTED_RUNS = 6
# Texts on a card.
LISTED_WORDS = 3
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
    path    of its video's file, on a live page; "" where there is none
    whole   address of the picture itself, for a still picture on a live page; "" for others
    words   texts of the shot that have words of the query
    boxes   where these are in its thumbnail: left, top, width and height, in the units of `grid`
    grid    width and height of the thumbnail, in thousandths of its height; "" without boxes
    folded  how many near-duplicates of it are behind it
    beside  the shot that it is a near-duplicate of, and behind; "" for others
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
    path: str = ""
    whole: str = ""
    words: Sequence[str] = ()
    boxes: Sequence[tuple[int, int, int, int]] = ()
    grid: str = ""
    folded: int = 0
    beside: str = ""


def card(
    id: str,
    place: Shot | None,
    *,
    ranks: Sequence[int | None],
    scores: Sequence[float | None],
    style: str = "",
    source: str = "",
    address: str = "",
    judged: str = "",
    sure: float | None = None,
    path: str = "",
    whole: str = "",
    pieces: Sequence[Piece] = (),
    aspect: float = 0.0,
    folded: int = 0,
    beside: str = "",
) -> Card:
    """The card of a shot; see `Card`.

    place    where it is in a video, if known
    pieces   of its text, that have words of the query
    aspect   width over height of its thumbnail; 0 without one
    address  of its video's file; "" where there is none
    """
    video, times = (_video(place), stretch(place)) if place else ("", "")
    boxes = _boxes(pieces, place, aspect) if place and aspect else []
    return Card(
        id=id,
        style=style,
        source=source,
        label=", ".join(filter(None, (id, video, times))),
        video=video,
        times=times,
        file=_fragment(address, place) if place and times and address else "",
        judged=judged,
        ranks=ranks,
        scores=["-" if score is None else f"{score:.4g}" for score in scores],
        sure=f"{sure:.0%}" if sure is not None else "",
        home=next(run for run, rank in enumerate(ranks) if rank is not None),
        path=path,
        whole=whole,
        words=list(dict.fromkeys(" ".join(piece.text.split()) for piece in pieces))[:LISTED_WORDS],
        boxes=boxes,
        grid=f"{round(1000 * aspect)} 1000" if boxes else "",
        folded=folded,
        beside=beside,
    )


def judged(judgments: Mapping[str, Judgment], shot: str) -> str:
    """How a card names the judgment of a shot."""
    relevance = judgments[shot].relevance if shot in judgments else -1
    return "unjudged" if relevance < 0 else "relevant" if relevance else "not relevant"


def _boxes(pieces: Sequence[Piece], place: Shot, aspect: float) -> list[tuple[int, int, int, int]]:
    """Where pieces are in the thumbnail, which is the middle frame: of those that are to be seen then."""
    middle = (place.start + place.end) / 2
    found = []
    for piece in pieces:
        if piece.box is not None and piece.start <= middle <= piece.end:
            left, top, right, bottom = (
                round(1000 * side * unit) for side, unit in zip(piece.box, (aspect, 1, aspect, 1), strict=True)
            )
            found.append((left, top, right - left, bottom - top))
    return found


def _video(shot: Shot) -> str:
    """The name of the video; "" if it equals the shot's id, as for pictures."""
    return "" if shot.id in (shot.video, PurePath(shot.video).stem) else shot.video


def _fragment(address: str, shot: Shot) -> str:
    """The address of a stretch of a video, as a W3C media fragment."""
    start, end = (f"{time:.3f}".rstrip("0").rstrip(".") for time in (shot.start, shot.end))
    return f"{address}#t={start},{end}"


def environment() -> Any:
    """The templates of this package, which escape what they are given."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("avs_cli", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"counted": counted, "dashed": _or_dash}
    found.globals["listed"] = LISTED_RUNS
    return found


def asset(name: str) -> str:
    """A style or a part of a script."""
    return files("avs_cli.pages").joinpath(name).read_text(encoding="utf-8")


def script(*names: str) -> str:
    """A script of several parts, which share one function."""
    return '"use strict";\n(() => {\n' + "".join(map(asset, names)) + "})();\n"


def policy(styles: Iterable[str], script: str, **sources: str) -> str:
    """A Content-Security-Policy: these styles, this script, what else is named, and nothing from elsewhere.

    sources  kind, such as img_src -> where that may come from; "" for nowhere
    """

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    allowed = {
        "default-src": "'none'",
        **{kind.replace("_", "-"): source for kind, source in sources.items()},
        "style-src": " ".join(map(hashed, styles)),
        "script-src": hashed(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{kind} {source}" for kind, source in allowed.items() if source)


def counted(items: Sized, noun: str) -> str:
    """`3 shots`"""
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def _or_dash(rank: int | None) -> str:
    return "-" if rank is None else str(rank)
