"""One HTML page that shows what runs return: values in, text out.

The page needs nothing but itself. A Content-Security-Policy allows its style and script by their hashes, and nothing
else. A thumbnail is a style rule, so it is in the page once, however many topics show it. Without the script the page
is a plain list with every run's rank beside each shot; the script sorts, compares, sifts and enlarges what it holds.
"""

import base64
import hashlib
import math
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import PurePath
from string import Template

from avs_cli.stages.view import Page, RankedShot
from avs_cli.types import Judgment, Shot

# With more runs than this, a card does not list its rank in each; the script's enlarged view does.
LISTED_RUNS = 6


def clock(seconds: float) -> str:
    """Whole seconds as m:ss, from an hour on as h:mm:ss."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def stretch(shot: Shot) -> str:
    """From when to when a shot runs, in seconds rounded outwards; "" for a still picture."""
    return f"{clock(shot.start)}–{clock(math.ceil(shot.end))}" if shot.end > shot.start else ""


def render(page: Page) -> str:
    """The page as one HTML document."""
    classes = {shot: f"p{number}" for number, shot in enumerate(page.pictures)}
    styles = [_asset("results.css"), _picture_rules(page, classes)]
    script = _asset("results.js")
    title = f"{' · '.join(page.names)} – avs"
    return Template(_asset("results.html")).substitute(
        policy=_policy(styles, script),
        title=escape(title),
        style=styles[0],
        pictures=styles[1],
        script=script,
        shown=page.shown,
        judged="yes" if page.qrels is not None else "no",
        runs=f"{len(page.names)} run{_s(page.names)}",
        masthead=_masthead(page.names),
        extent=_extent(page),
        views=_views(page.names),
        sift=_JUDGMENT_FILTER if page.qrels is not None else "",
        index=_index(page),
        topics="\n".join(_topic(page, classes, number, topic) for number, topic in enumerate(page.topics)),
        sources="".join(
            f"<div><dt>{escape(kind)}</dt><dd><bdi>{escape(name)}</bdi></dd></div>"
            for kind, name in page.sources.items()
            if name
        ),
    )


_MARKS = {"relevant": "✓ relevant", "not relevant": "✕ not relevant", "unjudged": "? unjudged"}

_JUDGMENT_FILTER = """<label class="field"><span>Judged</span><select id="judged"><option value="">all</option>
<option>relevant</option><option>not relevant</option><option>unjudged</option></select></label>"""


def _asset(name: str) -> str:
    return files("avs_cli.pages").joinpath(name).read_text(encoding="utf-8")


def _policy(styles: Iterable[str], script: str) -> str:
    """A Content-Security-Policy: these styles and this script, pictures inside the page, nothing from elsewhere."""

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {' '.join(map(hashed, styles))}; script-src {hashed(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _picture_rules(page: Page, classes: Mapping[str, str]) -> str:
    """A rule for each thumbnail, and the frames' shape: the one that most thumbnails fill."""
    shape = statistics.median(picture.aspect for picture in page.pictures.values()) if page.pictures else 1.6
    shape = min(max(shape, 0.8), 1.8)
    rules = [f":root{{--aspect:{shape:.3f}}}"]
    for shot, picture in page.pictures.items():
        # A picture of the frame's shape covers it; else rounding to whole pixels shows a black line at its side.
        fit = ";background-size:cover" if abs(picture.aspect / shape - 1) < 0.01 else ""
        data = base64.b64encode(picture.data).decode()
        rules.append(f'.{classes[shot]}{{background-image:url("data:image/jpeg;base64,{data}"){fit}}}')
    return "\n".join(rules)


def _masthead(names: Sequence[str]) -> str:
    *others, last = [f"<bdi>{escape(name)}</bdi>" for name in names[:3]]
    if len(names) > 3:
        others, last = [*others, last], f"{len(names) - 3} more"
    return f"{', '.join(others)} <i>and</i> {last}" if others else last


def _extent(page: Page) -> str:
    """How much there is to see, in a line."""
    shots = {entry.shot for entries in page.topics.values() for entry in entries}
    depth = f"the first {page.shown} of each topic{' and run' * (len(page.names) > 1)}"
    return f"{len(page.topics)} topic{_s(page.topics)}, {len(shots)} shot{_s(shots)}, {depth}"


def _s(items: Collection[object]) -> str:
    return "s" * (len(items) != 1)


def _views(names: Sequence[str]) -> str:
    """The choice of run, and of the two that are compared; nothing to choose when there is one run."""
    if len(names) < 2:
        return ""
    radios = "".join(
        f'<label><input type="radio" name="view" value="{number}"><span><bdi>{escape(name)}</bdi></span></label>'
        for number, name in enumerate(names)
    )
    before, after = (
        "".join(
            f'<option value="{number}"{" selected" if number == chosen else ""}>{escape(name)}</option>'
            for number, name in enumerate(names)
        )
        for chosen in (0, 1)
    )
    return (
        f'<fieldset class="views"><legend>Show</legend>{radios}'
        '<label><input type="radio" name="view" value="difference"><span>Difference</span></label></fieldset>'
        '<span class="pair" id="pair" hidden><label class="field"><span>from</span>'
        f'<select id="before" aria-label="difference from">{before}</select></label>'
        '<label class="field"><span>to</span>'
        f'<select id="after" aria-label="difference to">{after}</select></label></span>'
    )


def _index(page: Page) -> str:
    return "".join(
        f'<li><a href="#t{number}"><b><bdi>{escape(topic)}</bdi></b>'
        f" <span>{escape(page.queries.get(topic, ''))}</span></a></li>"
        for number, topic in enumerate(page.topics)
    )


def _topic(page: Page, classes: Mapping[str, str], number: int, topic: str) -> str:
    entries = page.topics[topic]
    judgments = None if page.qrels is None else page.qrels.get(topic, {})
    query = page.queries.get(topic)
    cards = "".join(_card(page, classes, judgments, f"t{number}s{index}", entry) for index, entry in enumerate(entries))
    return (
        f'<section class="topic" id="t{number}" aria-labelledby="q{number}">\n<header>'
        f'<p class="number">topic <bdi>{escape(topic)}</bdi></p>'
        f'<h2 id="q{number}"><bdi>{escape(query or topic)}</bdi></h2>{_strips(page, entries, judgments)}</header>\n'
        f'<div class="groups"><div class="group"><ol class="sheet">{cards}</ol></div></div>\n</section>'
    )


def _judged(judgments: Mapping[str, Judgment], shot: str) -> str:
    relevance = judgments[shot].relevance if shot in judgments else -1
    return "unjudged" if relevance < 0 else "relevant" if relevance else "not relevant"


def _card(
    page: Page, classes: Mapping[str, str], judgments: Mapping[str, Judgment] | None, anchor: str, entry: RankedShot
) -> str:
    """A shot as a list item; the script reads its ranks and scores, one per run, "-" where a run lacks it."""
    shot = page.shots.get(entry.shot)
    judged = None if judgments is None else _judged(judgments, entry.shot)
    home = next(run for run, rank in enumerate(entry.ranks) if rank is not None)
    rank, score = entry.ranks[home], _score(entry.scores[home])
    lines = [
        f'<p class="edge"><b class="rank">{rank}</b> <span class="score">{score}</span></p>',
        f'<a href="#{anchor}">{_picture(classes.get(entry.shot), entry.shot, shot)}</a>',
        f'<p class="mark">{_MARKS[judged]}</p>' if judged else "",
        f'<p class="id"><bdi>{escape(entry.shot)}</bdi></p>',
        _place(shot) if shot else "",
        _elsewhere(page.names, entry.ranks),
    ]
    data = {
        "ranks": " ".join(map(_or_dash, entry.ranks)),
        "scores": " ".join(map(_score, entry.scores)),
        "judged": judged,
    }
    attributes = "".join(f' data-{name}="{value}"' for name, value in data.items() if value)
    return f'<li class="shot" id="{anchor}"{attributes}>{"".join(lines)}</li>\n'


def _picture(style: str | None, id: str, shot: Shot | None) -> str:
    parts = [id, *((_video(shot), stretch(shot)) if shot else ())]
    label = escape(", ".join(filter(None, parts)))
    if style:
        return f'<span class="picture {style}" role="img" aria-label="{label}"></span>'
    return f'<span class="picture none" role="img" aria-label="{label}, no thumbnail"><span>no thumbnail</span></span>'


def _place(shot: Shot) -> str:
    video, times = escape(_video(shot)), stretch(shot)
    parts = [f'<bdi class="video">{video}</bdi>' if video else "", f"<time>{times}</time>" if times else ""]
    return f'<p class="place">{" ".join(filter(None, parts))}</p>' if any(parts) else ""


def _video(shot: Shot) -> str:
    """The video's name, unless the shot's id already says it, as a picture's does."""
    return "" if shot.id in (shot.video, PurePath(shot.video).stem) else shot.video


def _or_dash(rank: int | None) -> str:
    return "-" if rank is None else str(rank)


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.4g}"


def _elsewhere(names: Sequence[str], ranks: Sequence[int | None]) -> str:
    """The rank in every run, so that runs can be compared on paper and without the script."""
    if not 2 <= len(names) <= LISTED_RUNS:
        return ""
    items = "".join(
        f"<li><bdi>{escape(name)}</bdi> <b>{rank if rank is not None else '–'}</b></li>"
        for name, rank in zip(names, ranks, strict=True)
    )
    return f'<ul class="elsewhere" aria-label="rank in each run">{items}</ul>'


def _strips(page: Page, entries: Sequence[RankedShot], judgments: Mapping[str, Judgment] | None) -> str:
    """A strip of ranks per run: a full bar where the shot is relevant, a low one where not, none where unjudged."""
    if not judgments:
        return ""
    rows = []
    for number, name in enumerate(page.names):
        at = {
            rank: _judged(judgments, entry.shot)
            for entry in entries
            if (rank := entry.ranks[number]) and rank <= page.shown
        }
        counts = {judged: list(at.values()).count(judged) for judged in _MARKS}
        summary = ", ".join(f"{count} {judged}" for judged, count in counts.items())
        rows.append(
            f'<div class="strip" data-run="{number}"><dt><bdi>{escape(name)}</bdi></dt><dd>'
            f'<svg viewBox="0 0 {page.shown} 10" preserveAspectRatio="none" aria-hidden="true">'
            f'<path class="hit" d="{"".join(_bars(at, "relevant", 0))}"/>'
            f'<path class="miss" d="{"".join(_bars(at, "not relevant", 6))}"/></svg><span>{summary}</span></dd></div>'
        )
    return f'<dl class="strips" aria-label="judgments by rank">{"".join(rows)}</dl>'


def _bars(at: Mapping[int, str], judged: str, top: int) -> Iterator[str]:
    for rank in sorted(at):
        if at[rank] == judged:
            yield f"M{rank - 1}.1 {top}h.8V10h-.8z"
