"""`avs view`: the results of runs as an HTML page."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from avs_cli.errors import SpecError
from avs_cli.options import Output, Runs, Videos
from avs_cli.outputs import Writes

# Of the folder with the thumbnails of a page.
ENDING = ".thumbnails"

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
Confidences = Annotated[
    str,
    typer.Option("--confidence", metavar="FILE", help="Confidences of shots to show, from avs search --confidence."),
]
Shown = Annotated[int, typer.Option(min=1, help="Shots per topic and run.")]
Beside = Annotated[
    bool,
    typer.Option(
        "--thumbnails-beside",
        help="Write the thumbnails into the folder PAGE.thumbnails, from which the page loads them as you scroll: for "
        "pages of more than 20 MB. The folder moves with the page.",
    ),
]


def view(
    runs: Runs,
    gallery: Galleries,
    topics: Topics = "",
    qrels: Judgments = "",
    confidences: Confidences = "",
    shown: Shown = 100,
    thumbnails_beside: Beside = False,
    videos: Videos = None,
    output: Annotated[Output, Writes((ENDING,))] = "page.html",
) -> None:
    """Write an HTML page with the thumbnails of each topic's top shots.

    The page is one self-contained file, unless --thumbnails-beside is given. It compares runs, marks judged shots,
    filters, enlarges, and plays shots from their videos, which it names by paths relative to the page; press ? for its
    keyboard shortcuts. Of features of texts in the stores, what has words of a topic is shown under the thumbnails, and
    where it is, on them.

    \b
    Examples:
      avs view tv22.run --gallery gallery.h5 --topics tv22.txt -o tv22.html
      avs view clip.run laff.run --gallery gallery.h5 --topics tv22.txt --qrels tv22.qrels --shown 50
      avs view tv22.run --gallery gallery.h5 --topics tv22.txt --confidence tv22.confidence
      avs view tv22.run --gallery gallery.h5 --shown 1000 --thumbnails-beside -o tv22.html
    """
    from avs_cli.console import TERMINAL, note
    from avs_cli.io.atomic import writing
    from avs_cli.pages.results import render
    from avs_cli.stages.view import page, remove_thumbnails, video_addresses, write_thumbnails

    if thumbnails_beside and output == "-":
        raise SpecError("--thumbnails-beside needs --output FILE: stdout has no folder beside it")
    beside = thumbnails_beside
    shown_page = page(
        runs,
        gallery,
        topics=topics,
        qrels=qrels,
        confidence=confidences,
        shown=shown,
        beside=beside,
        videos=videos or [],
        report=TERMINAL,
    )
    folder = Path(f"{output}{ENDING}")
    names = write_thumbnails(shown_page.pictures, folder) if beside else {}
    thumbnails = {shot: f"{quote(folder.name)}/{name}" for shot, name in names.items()}
    html = render(shown_page, thumbnails, video_addresses(shown_page, Path(output).parent))
    with writing(output) as out:
        out.write(html)
    if beside:
        remove_thumbnails(folder, set(names.values()))
    where = "stdout" if output == "-" else output
    count = len(shown_page.topics)
    shots = len({one.shot for of_topic in shown_page.topics.values() for one in of_topic})
    note(f"{where}: {count} topic{'s' * (count != 1)}, {shots} shots, {len(html) / 1e6:.1f} MB")
