"""`avs view`: the results of runs as an HTML page."""

from typing import Annotated

import typer

from avs_cli.options import Output, Runs

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
    from avs_cli.pages.results import render
    from avs_cli.stages.view import page

    shown_page = page(runs, gallery, topics=topics, qrels=qrels, shown=shown, report=TERMINAL)
    html = render(shown_page)
    with writing(output) as out:
        out.write(html)
    where = "stdout" if output == "-" else output
    count = len(shown_page.topics)
    shots = len({one.shot for of_topic in shown_page.topics.values() for one in of_topic})
    note(f"{where}: {count} topic{'s' * (count != 1)}, {shots} shots, {len(html) / 1e6:.1f} MB")
