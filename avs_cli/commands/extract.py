"""`avs extract`: encode videos, images, texts, or the features of a head, into a feature store."""

import re
from typing import Annotated, Literal

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL, table
from avs_cli.core.encoders import DEFAULT, encoders
from avs_cli.core.extraction import THUMBNAIL
from avs_cli.core.words import readers
from avs_cli.errors import SpecError
from avs_cli.options import (
    AllowMismatch,
    Checkpoints,
    Device,
    EncodingWorkers,
    Engine,
    FrameBatch,
    Json,
    Output,
    Scheduler,
    Threads,
    checkpoints,
    workers_of,
)
from avs_cli.outputs import Writes, spare

# What has no effect on texts.
OF_PICTURES = (
    "shots", "fps", "frames", "max_frames", "pool", "frame_norm", "batch_size", "workers", "timeout", "shard",
    "thumbnails", "retry_failed", "hwaccel", "engine", "scheduler",
)  # fmt: skip
# What no reader of words heeds, and what some do.
OF_ENCODERS = (
    "pool", "frame_norm", "dtype", "precision", "batch_size", "thumbnails", "frames", "hwaccel", "engine", "scheduler",
)  # fmt: skip
OF_SOME_READERS = ("fps", "max_frames", "weights", "device", "threads", "workers", "timeout")
# What has an effect with --head; other options are of encoders.
OF_HEADS = ("inputs", "head", "missing", "allow_mismatch", "output", "dtype", "device", "threads", "shard")

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...", help="Videos, images, folders of them, or shot tables (.tsv); with --head, stores."
    ),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="SPEC",
        help="Encoder, as NAME or NAME:KEY=VALUE; repeatable: each model gives a feature of the store, and frames are "
        f"decoded once for all: {', '.join(encoders.names())}; or a reader of words: {', '.join(readers.names())}.",
    ),
]


def extract(
    context: typer.Context,
    inputs: Inputs = [],  # noqa: B006  typer reads the default
    model: Models = [DEFAULT],  # noqa: B006
    output: Annotated[Output, Writes((".errors.jsonl", ".parts", ".lock"))] = "",
    head: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Trained head: store its vector of each shot, from the stores of its features in INPUT.",
        ),
    ] = "",
    missing: Annotated[
        Literal["error", "skip", "zero"],
        typer.Option(
            help="Shots that lack some of a head's features: report an error, skip them, or use zero vectors."
        ),
    ] = "error",
    allow_mismatch: AllowMismatch = False,
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
    weights: Checkpoints = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(
            help="Numeric precision of the model; auto is fp16 or bf16 on a GPU, depending on the model, and fp32 "
            "elsewhere."
        ),
    ] = "auto",
    batch_size: FrameBatch = 32,
    workers: EncodingWorkers = 0,
    threads: Threads = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a decoded frame before a file is skipped.")
    ] = 60.0,
    shard: Annotated[
        str,
        typer.Option(metavar="I/N", help="Process only part I of N equal parts of the videos, or of a head's shots."),
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
    hwaccel: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Hardware that decodes videos, where FFmpeg has it: cuda, vaapi, videotoolbox. The processor decodes "
            "what it cannot, such as GIF.",
            show_default="none",
        ),
    ] = "",
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

    Several models write several features to one store, in one pass over the videos: each sees its own frames, in its
    own size, and the other options apply to all. All models are in memory at once. A model that is added later is the
    only one that runs.

    --model subtitles reads text streams of the videos and files beside them (movie.srt, movie.en.vtt, movie.ass; UTF-8,
    UTF-16 or else Windows-1252) without a model, in all languages or, with subtitles:en/eng, in those. A shot has the
    subtitles that it shows for half a second, or for half of its own or their time. avs search ranks them by BM25.

    --model ocr reads what is written in the picture: Latin, Chinese and Japanese script by default, others by a
    recogniser of PaddleOCR as .onnx in --weights. It reads one frame in two seconds (--fps) and one of each shot, and
    skips those that hardly differ from the last one. ocr:side=736 takes two thirds of the time, and misses small
    writing.

    --model asr reads what is said, by Whisper: asr:tiny, base, small (the default), medium, turbo or large-v3, which is
    downloaded, or a folder of a model in CTranslate2's form in --weights. The language is detected, or that of
    asr:model=small,language=de. A shot has the words said in it. Both need pip install 'avs-cli[words]'.

    --text reads topics: lines of an id and a query, optionally with a narrative or a weight after a tab; TRECVID XML;
    JSON lines or CSV with a header (id, text, narrative, weight). It also reads captions in every format that avs
    convert reads, with the ids that avs train expects.

    --head computes the video side of a head once. avs search takes the store instead of those of the features, with the
    same --head, and embeds only the topics: a score is one dot product. Each cosine in it differs from that of a search
    over the features by less than 0.0005, the rounding of the stored vectors, and with --dtype float32 by less than
    0.000001. Heads that look at a shot's frames for each query (xclip, xpool) have no such vector. Thumbnails stay in
    the stores of the features.

    --engine dask encodes on the workers of a cluster, which see the same files; the store is the same. Start them with
    `dask worker ADDRESS --nthreads 1` and DASK_DISTRIBUTED__WORKER__DAEMON=False in the environment; with SLURM,
    dask-jobqueue submits them (--lifetime ends them before their time is over). Without any engine, --shard I/N shares
    the work among N jobs of an array, each with an output of its own.

    \b
    Examples:
      avs extract videos/ --shots shots.tsv --model clip --model blip2 -o gallery.h5
      avs extract --text tv22.txt --model clip -o topics.h5
      avs extract videos/ --shots shots.tsv --model subtitles --model ocr -o words.h5
      avs extract clip.h5 blip2.h5 --head laff.safetensors -o laff.h5
    """
    listed = {str(parameter.name) for parameter in context.command.params} - {"inputs", "list_models", "json"}
    applies.refuse(
        context,
        (list_models, sorted(listed), "with --list-models"),
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
        (bool(head), sorted(listed - {*OF_HEADS}), "with --head"),
        (not head, ["missing", "allow_mismatch"], "without --head"),
        (bool(text), OF_PICTURES, "with --text"),
        (not text, ["field"], "without --text"),
        (engine == "local", ["scheduler"], "without --engine dask"),
    )
    if all(map(readers.knows, model)):
        heeded = {option for one in model for option in readers.module(one).USES}
        idle = [*OF_ENCODERS, *(option for option in OF_SOME_READERS if option not in heeded)]
        applies.refuse(context, (not head and not text, idle, f"with --model {' and '.join(model)} alone"))
    from avs_cli.stages import extract as stage
    from avs_cli.stages.inputs import media_around

    path = output.partition("::")[0]
    spare(path, media_around(path, inputs))
    part = _part(shard)
    if head:
        from avs_cli.stages.extract_heads import extract_heads

        extract_heads(
            inputs,
            output,
            head,
            missing=missing,
            dtype=dtype,
            allow_mismatch=allow_mismatch,
            device=device,
            threads=threads,
            shard=part,
            report=TERMINAL,
        )
        return
    each = checkpoints(weights, model)
    if text:
        if len(model) > 1:
            raise SpecError("--text takes one --model; several encode videos and images")
        stage.extract_texts(
            text,
            output,
            model[0],
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
            weights=each,
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
            hwaccel=hwaccel,
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

    words = {name: readers.module(name).REMARK for name in readers.names()}
    if json:
        from json import dumps

        remarks = ({"model": name, "remark": remark} for name, remark in words.items())
        print(dumps([*facts(encoders.names(), here), *remarks], indent=1))
    else:
        rows = ((name, *[""] * 6, remark, "", "") for name, remark in words.items())
        table(COLUMNS, [*listing(encoders.names(), here), *rows])
