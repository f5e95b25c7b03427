"""`avs shots`: detect the shots of videos."""

from typing import Annotated

import typer

from avs_cli import applies
from avs_cli.core.shots import detectors
from avs_cli.options import Output, Processes, Timeout
from avs_cli.outputs import spare

Videos = Annotated[
    list[str] | None,
    typer.Argument(metavar="VIDEO...", help="Videos, or folders of them.", show_default=False),
]
Detector = Annotated[
    str,
    typer.Option(
        metavar="NAME[:KEY=VALUE]",
        help=f"Shot detector: {', '.join(detectors.names())}; content finds hard cuts, fast; transnetv2 also dissolves "
        "and fades, with the extra 'transnetv2'; fixed:seconds=5 gives windows of fixed length.",
    ),
]
Msb = Annotated[
    str | None,
    typer.Option(
        metavar="TABLE", help="Use V3C's master shot boundaries, a table or a folder of tables, instead of a detector."
    ),
]


def shots(
    context: typer.Context,
    videos: Videos = None,
    detector: Detector = "content",
    msb: Msb = None,
    workers: Processes = 0,
    timeout: Timeout = 60.0,
    output: Output = "-",
) -> None:
    """Detect shot boundaries and write a shot table: shot, video, start and end in seconds.

    Videos that cannot be read are reported on stderr, the others are processed, and the exit code is 5.

    \b
    Examples:
      avs shots videos/ -o shots.tsv
      avs shots videos/ --msb msb/ -o v3c.tsv
    """
    from avs_cli.console import TERMINAL, note
    from avs_cli.errors import IncompleteError
    from avs_cli.stages import shots as stage
    from avs_cli.stages.inputs import media_around

    applies.refuse(context, (bool(msb), ("detector", "workers", "timeout"), "with --msb"))
    spare(output, media_around(output, videos or []))
    if msb:
        found, failures = stage.from_tables(msb, videos or [], TERMINAL)
    else:
        found, failures = stage.detect(videos or [], detector, workers=workers, timeout=timeout, report=TERMINAL)
    for failure in failures:
        note(failure)
    if not found:
        raise IncompleteError("no shots found in any video; nothing written")
    stage.write_shots(output, found)
    if failures:
        raise IncompleteError(
            f"{len(failures)} of {len(failures) + len({s.video for s in found})} videos have no shots"
        )
