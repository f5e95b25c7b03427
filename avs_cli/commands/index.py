"""`avs index`: the shots and features of folders of videos in one store, kept up to date."""

from typing import Annotated

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL
from avs_cli.core.encoders import DEFAULT, encoders
from avs_cli.core.shots import detectors
from avs_cli.errors import SpecError
from avs_cli.options import (
    Checkpoints,
    Device,
    EncodingWorkers,
    Engine,
    FrameBatch,
    Scheduler,
    Threads,
    Timeout,
    checkpoints,
    workers_of,
)
from avs_cli.outputs import Writes, spare

Folders = Annotated[list[str], typer.Argument(metavar="FOLDER...", help="Folders of videos, or videos.")]
Output = Annotated[
    str,
    typer.Option("--output", "-o", metavar="FILE", help="Store to create or to bring up to date."),
    Writes((".errors.jsonl", ".parts", ".lock")),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="SPEC",
        help="Encoder to add to those of the store, or to bring up to date, as NAME or NAME:KEY=VALUE; repeatable: "
        f"frames are decoded once for all: {', '.join(encoders.names())}.",
        show_default=f"those of the store, and {DEFAULT} for a new one",
    ),
]
Detector = Annotated[
    str,
    typer.Option(
        "--shots",
        metavar="NAME[:KEY=VALUE]",
        help=f"Shot detector, as avs shots --detector: {', '.join(detectors.names())}.",
        show_default="that of the store, and content for a new one",
    ),
]


def index(
    context: typer.Context,
    folders: Folders,
    output: Output = "videos.h5",
    model: Models = [],  # noqa: B006  typer reads the default
    shots: Detector = "",
    keep_missing: Annotated[
        bool, typer.Option("--keep-missing", help="Keep the shots of videos that are no longer there.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed before, also where it has not changed.")
    ] = False,
    weights: Checkpoints = None,
    device: Device = "auto",
    batch_size: FrameBatch = 32,
    workers: EncodingWorkers = 0,
    threads: Threads = 0,
    timeout: Timeout = 60.0,
    engine: Engine = "local",
    scheduler: Scheduler = "",
) -> None:
    """Index folders of videos: find their shots and encode them into one store, or bring it up to date.

    The first call does what avs shots and avs extract do. Later ones do what has changed: new and changed videos are
    read, moved and renamed ones keep their vectors, and deleted ones are removed. The store is always that of a first
    call on the videos as they are now. It is replaced when all is done; the same command resumes an interrupted one.

    Videos are known by path, size and modification time, and where these differ by their content. --model adds an
    encoder, which alone decodes the known videos again; it also encodes all shots again for an encoder of the store
    whose weights or settings have changed since, such as lite in a later version of avs. Videos that cannot be read are
    listed in STORE.errors.jsonl, and tried again when they change; the exit code is 5.

    \b
    Examples:
      avs index ~/Videos
      avs index ~/Videos --model clip
      avs index ~/Videos --model lite --model ocr --model subtitles
      avs index ~/Videos ~/Phone -o all.h5 --keep-missing
    """
    applies.refuse(context, (engine == "local", ["scheduler"], "without --engine dask"))
    if weights is not None and not model:
        raise SpecError(f"--weights {weights}: of which model? give its --model")
    from avs_cli.stages import index as stage
    from avs_cli.stages.inputs import media_around

    spare(output, media_around(output, folders))
    given = checkpoints(weights, model)
    with workers_of(engine, scheduler, workers, device) as cluster:
        stage.index(
            folders,
            output,
            model,
            shots=shots,
            keep_missing=keep_missing,
            retry_failed=retry_failed,
            weights={model[0]: given} if isinstance(given, str) else given,
            device=device,
            batch_size=batch_size,
            # Those of a cluster on this machine are its workers, and each chooses its own processes.
            workers=workers if cluster is None or scheduler else 0,
            threads=threads,
            timeout=timeout,
            engine=cluster,
            report=TERMINAL,
        )
