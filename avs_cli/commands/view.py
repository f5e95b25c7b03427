"""`avs view`: the results of runs as an HTML page."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from avs_cli.options import Output, Runs

if TYPE_CHECKING:
    from avs_cli.pages.results import Pictures
    from avs_cli.types import Shot

# Size in bytes beyond which browsers open a page slowly.
HEAVY = 100_000_000

Galleries = Annotated[
    list[str],
    typer.Option("--gallery", "-g", metavar="STORE", help="Store with thumbnails and shot times; repeatable."),
]
Topics = Annotated[
    str,
    typer.Option(
        metavar="FILE|RANGE",
        help="Topics file, for the text of the queries; or ids and ranges such as 731-750,761, to show these alone.",
    ),
]
Judgments = Annotated[str, typer.Option("--qrels", metavar="FILE", help="Judgments, to mark relevant shots.")]
Shown = Annotated[int, typer.Option(min=1, help="Shots per topic and run.")]


def view(
    runs: Runs,
    gallery: Galleries,
    topics: Topics = "",
    qrels: Judgments = "",
    shown: Shown = 100,
    output: Output = "page.html",
) -> None:
    """Write an HTML page with the thumbnails of each topic's top shots.

    The page is one self-contained file. It compares runs, marks judged shots, filters and enlarges; press ? for its
    keyboard shortcuts.

    \b
    Examples:
      avs view tv22.run --gallery gallery.h5 --topics tv22.txt -o tv22.html
      avs view clip.run laff.run --gallery gallery.h5 --topics tv22.txt --qrels tv22.qrels --shown 50
    """
    from avs_cli.console import TERMINAL, note
    from avs_cli.io.atomic import writing
    from avs_cli.io.text.topics import align_topics, is_topics_file, read_topics
    from avs_cli.io.text.trec import read_qrels, read_run
    from avs_cli.pages.results import Page, laid_out, render, run_names
    from avs_cli.stages.inputs import selected

    first, *others = map(read_run, runs)
    if topics and not is_topics_file(topics):
        first, *others = selected([first, *others], topics, TERMINAL)
        topics = ""
    entries = laid_out([first, *(align_topics(run, first)[0] for run in others)], shown)
    queries, judged = None, None
    if topics:
        queries, renamed = align_topics({topic.id: topic.query for topic in read_topics(topics)}, entries)
        _explain(topics, renamed, "query", entries, queries)
    if qrels:
        judged, renamed = align_topics(read_qrels(qrels), entries)
        _explain(qrels, renamed, "judgment", entries, judged)
    ids = dict.fromkeys(entry.shot for of_topic in entries.values() for entry in of_topic)
    shots, thumbnails = _found(gallery, ids)
    lost = len(ids.keys() - shots.keys())
    absent = f" ({lost} are not in the gallery)" if lost else ""
    if ids and not thumbnails:
        note(
            f"no thumbnails of these shots in {', '.join(gallery)}{absent}: the page has no images; "
            "add a store that contains them with --gallery"
        )
    elif missing := len(ids) - len(thumbnails):
        note(f"{missing} of {len(ids)} shots have no thumbnail in {', '.join(gallery)}{absent}; they are shown blank")
    # base64: four characters for three bytes
    size = sum(len(picture.data) for picture in thumbnails.values()) * 4 // 3
    if size > HEAVY:
        fewer = max(1, min(shown, max(map(len, entries.values()))) * HEAVY // size)
        note(
            f"the page takes about {size / 1e6:.0f} MB, which browsers open slowly; --shown {fewer} takes about 100 MB"
        )
    sources = {"runs": ", ".join(runs), "gallery": ", ".join(gallery), "topics": topics, "judgments": qrels}
    page = render(Page(run_names(runs), entries, queries or {}, shots, thumbnails, judged, shown, sources))
    with writing(output) as out:
        out.write(page)
    where = "stdout" if output == "-" else output
    note(f"{where}: {len(entries)} topic{'s' * (len(entries) != 1)}, {len(ids)} shots, {len(page) / 1e6:.1f} MB")


def _explain(path: str, renamed: str, kind: str, topics: Collection[str], found: Collection[str]) -> None:
    """Report renamed and missing topics of a file."""
    from avs_cli.console import note

    if renamed:
        note(f"{path}: {renamed}")
    if lacking := sum(topic not in found for topic in topics):
        note(f"{path}: no {kind} for {lacking} of {len(topics)} topics")


def _found(gallery: Collection[str], ids: Collection[str]) -> "tuple[dict[str, Shot], Pictures]":
    """The times and thumbnails of these shots; the first store that has a shot decides."""
    from avs_cli.io.store.reader import features, open_store
    from avs_cli.pages.results import readable

    shots: dict[str, Shot] = {}
    thumbnails: Pictures = {}
    for name in gallery:
        # The vectors do not matter here, so any feature of the file will do.
        held = [] if "::" in name or name == "-" else features(name)
        with open_store(f"{name}::{held[0]}" if held else name) as store:
            shots = {id: shot for id, shot in store.shots().items() if id in ids} | shots
            for id in ids:
                if id not in thumbnails and (picture := readable(store.thumbnail(id))):
                    thumbnails[id] = picture
    return shots, thumbnails
