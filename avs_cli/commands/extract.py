"""`avs extract`: encode videos, images or texts into a feature store."""

import re
from typing import Annotated, Literal

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL, table
from avs_cli.core.encoders import encoders
from avs_cli.core.extraction import THUMBNAIL
from avs_cli.errors import SpecError
from avs_cli.options import Device, Engine, Json, Output, Scheduler, Threads, Weights, workers_of
from avs_cli.outputs import Writes, spare

# What has no effect on texts.
OF_PICTURES = (
    "shots", "fps", "frames", "max_frames", "pool", "frame_norm", "batch_size", "workers", "timeout", "shard",
    "thumbnails", "retry_failed", "engine", "scheduler",
)  # fmt: skip

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Videos, images, folders of them, or shot tables (.tsv)."),
]
Model = Annotated[
    str,
    typer.Option("--model", metavar="SPEC", help=f"Encoder, as NAME or NAME:KEY=VALUE: {', '.join(encoders.names())}."),
]


def extract(
    context: typer.Context,
    inputs: Inputs = [],  # noqa: B006  typer reads the default
    model: Model = "conse",
    output: Annotated[Output, Writes((".errors.jsonl", ".parts", ".lock"))] = "",
    shots: Annotated[str, typer.Option(metavar="FILE", help="Shot table; without it each video is one shot.")] = "",
    text: Annotated[
        str, typer.Option(metavar="FILE", help="Topics or captions to encode instead of videos; - is stdin.")
    ] = "",
    field: Annotated[
        Literal["query", "narrative", "both"], typer.Option(help="Text of each topic in --text to encode.")
    ] = "query",
    fps: Annotated[
        float | None,
        typer.Option(min=0.001, help="Sampling rate, in frames per second.", show_default="2, or the model's own"),
    ] = None,
    frames: Annotated[
        Literal["name", "folder"] | None,
        typer.Option(
            help="INPUT contains extracted frames: images named <shot>_<number>, or a folder of images per shot; --fps "
            "gives their rate.",
            show_default="each image is a shot",
        ),
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Maximum number of frames per shot.")] = None,
    pool: Annotated[
        Literal["mean", "max", "none"] | None,
        typer.Option(
            help="Pooling of frame vectors into one vector per shot; none stores every frame.",
            show_default="the model's own",
        ),
    ] = None,
    frame_norm: Annotated[
        Literal["none", "l2"], typer.Option(help="Normalisation of frame vectors before pooling.")
    ] = "none",
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="Data type of stored vectors.")] = "float16",
    weights: Weights = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(
            help="Numeric precision of the model; auto is fp16 or bf16 on a GPU, depending on the model, and fp32 "
            "elsewhere."
        ),
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="Frames (or clips) per forward pass.")] = 32,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Video decoding processes; 0 chooses from the available cores. With --engine dask and no --scheduler, "
            "workers of the cluster, one per core by default.",
        ),
    ] = 0,
    threads: Threads = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a decoded frame before a file is skipped.")
    ] = 60.0,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Process only part I of N equal parts of the videos.")
    ] = "1/1",
    thumbnails: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=THUMBNAIL,
            metavar="WIDTH",
            help="Width of the thumbnails for avs view, in pixels, one per shot; 0 stores none.",
            show_default=str(THUMBNAIL),
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Process only the shots that failed before.")
    ] = False,
    engine: Engine = "local",
    scheduler: Scheduler = "",
    list_models: Annotated[
        bool, typer.Option("--list-models", help="List the models: output, cost, licence and download.")
    ] = False,
    json: Json = False,
) -> None:
    """Encode shots, images or texts into a feature store.

    Frames are sampled by time stamp, decoded and resized in worker processes. Results are saved as they are computed:
    the same command resumes an interrupted extraction. Files that cannot be read are listed in STORE.errors.jsonl, the
    others are processed, and the exit code is 5.

    --text reads topics: lines of an id and a query, optionally with a narrative or a weight after a tab; TRECVID XML;
    JSON lines or CSV with a header (id, text, narrative, weight). It also reads captions in every format that avs
    convert reads, with the ids that avs train expects.

    \b
    Examples:
      avs extract videos/ --shots shots.tsv --model clip -o gallery.h5
      avs extract --text tv22.txt --model clip -o topics.h5
    """
    listed = {parameter.name for parameter in context.command.params} - {"inputs", "list_models", "json"}
    applies.refuse(
        context,
        (list_models, sorted(map(str, listed)), "with --list-models"),
        (not list_models, ["json"], "without --list-models"),
    )
    if list_models:
        _list(json)
        return
    if not output or output == "-":
        raise SpecError("extract needs --output FILE: a store is written in parts and cannot go to stdout")
    if bool(inputs) == bool(text):
        raise SpecError("extract takes either INPUT or --text FILE")
    applies.refuse(
        context,
        (bool(text), OF_PICTURES, "with --text"),
        (not text, ["field"], "without --text"),
        (engine == "local", ["scheduler"], "without --engine dask"),
    )
    from avs_cli.stages import extract as stage
    from avs_cli.stages.inputs import media_around

    path = output.partition("::")[0]
    spare(path, media_around(path, inputs))
    part = _part(shard)
    if text:
        stage.extract_texts(
            text,
            output,
            model,
            field=field,
            dtype=dtype,
            weights=weights,
            device=device,
            precision=precision,
            threads=threads,
        )
        return
    with workers_of(engine, scheduler, workers, device) as cluster:
        stage.extract(
            inputs,
            output,
            model,
            shots=shots,
            frames=frames,
            fps=fps,
            max_frames=max_frames,
            pool=pool,
            frame_norm=frame_norm,
            dtype=dtype,
            weights=weights,
            device=device,
            precision=precision,
            batch_size=batch_size,
            # Those of a cluster on this machine are its workers, and each chooses its own processes.
            workers=workers if cluster is None or scheduler else 0,
            threads=threads,
            timeout=timeout,
            shard=part,
            thumbnails=thumbnails,
            retry_failed=retry_failed,
            engine=cluster,
            report=TERMINAL,
        )


def _part(shard: str) -> tuple[int, int]:
    """I and N of `I/N`."""
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", shard)
    if not match or int(match[1]) > int(match[2]):
        raise SpecError(f"--shard {shard!r}: expected I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def _list(json: bool) -> None:
    """Print the list of models, as a table or as JSON."""
    from avs_cli.core.encoders.catalogue import COLUMNS, facts, listing
    from avs_cli.io.weights import here

    if json:
        from json import dumps

        print(dumps(list(facts(encoders.names(), here)), indent=1))
    else:
        table(COLUMNS, listing(encoders.names(), here))
