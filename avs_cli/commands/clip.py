"""`avs clip`: the best shots of a run as video files, or as a cut list."""

from typing import Annotated, Literal

import typer

from avs_cli import applies
from avs_cli.errors import SpecError
from avs_cli.options import Depth, Processes, Timeout, Topics, Videos
from avs_cli.outputs import WRITES, spare

TheRun = Annotated[str, typer.Argument(metavar="RUN", help="TREC run, plain or .gz; - is stdin.")]
Galleries = Annotated[
    list[str],
    typer.Option("--gallery", "-g", metavar="STORE", help="Store with the videos and times of the shots; repeatable."),
]
Pad = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Seconds to add before and after each shot.")]
Exact = Annotated[
    bool,
    typer.Option("--exact", help="Encode the frames of the shot alone, as H.264; else clips start at a key frame."),
]
CutList = Annotated[
    Literal["edl", "fcpxml", "m3u", "csv"] | None,
    typer.Option("--list", help="Write a cut list of the videos instead of clips.", show_default=False),
]
Target = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="FOLDER|FILE", help="Folder for the clips; with --list a file, - is stdout."
    ),
    WRITES,
]


def clip(
    context: typer.Context,
    run: TheRun,
    gallery: Galleries,
    topics: Topics = "",
    depth: Depth = 10,
    pad: Pad = 0.0,
    exact: Exact = False,
    cut_list: CutList = None,
    videos: Videos = None,
    workers: Processes = 0,
    timeout: Timeout = 60.0,
    output: Target = "-",
) -> None:
    """Write the top shots of each topic as video files, or as a cut list.

    Clips are copied without loss, with sound, from the last key frame before the shot; --exact cuts at the frame, and
    encodes. A clip's name is TOPIC_RANK_VIDEO_START-END; a file that exists is left as it is. Shots whose video is
    missing or unreadable are reported on stderr, the others are written, and the exit code is 5.

    \b
    Examples:
      avs clip tv22.run -g gallery.h5 -o clips/
      avs clip tv22.run -g gallery.h5 --topics 731-735 --depth 3 --exact --pad 0.5 -o clips/
      avs clip - -g videos.h5 -o clips/ < dog.run
      avs clip tv22.run -g gallery.h5 --videos v3c/ --list edl -o tv22.edl
    """
    from avs_cli.console import TERMINAL, note
    from avs_cli.errors import IncompleteError
    from avs_cli.stages import clip as stage

    applies.refuse(context, (bool(cut_list), ("exact", "workers", "timeout"), "with --list"))
    if output == "-" and not cut_list:
        raise SpecError("clips are files: give --output FOLDER, or --list")
    found = stage.cuts(run, gallery, topics=topics, depth=depth, pad=pad, videos=videos or [], report=TERMINAL)
    failures = found.failures
    if cut_list:
        spare(output, (cut.shot.video for cut in found.cuts))
        stage.write_list(output, found.cuts, cut_list, TERMINAL)
    else:
        clips = stage.write_clips(found.cuts, output, exact=exact, workers=workers, timeout=timeout, report=TERMINAL)
        failures = failures + clips.failures
        there = f"; {len(clips.existing)} existed and are left as they are" if clips.existing else ""
        note(f"{output}: {len(clips.written)} of {len(found.cuts)} clips written{there}")
    for failure in failures:
        note(failure)
    if failures:
        raise IncompleteError(f"{output}: some shots are missing")
