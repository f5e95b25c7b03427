"""`avs extract`: encode videos, images or texts into a feature store."""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from avs_cli import applies
from avs_cli.console import note, note_each, progress, table
from avs_cli.core.encoders import encoders
from avs_cli.errors import IncompleteError, MismatchError, SpecError
from avs_cli.options import Device, Json, Output, Threads, Weights, Workers
from avs_cli.outputs import Writes, spare
from avs_cli.types import Facts, Failure, Sampling, Shot, Topic, feature_name

if TYPE_CHECKING:
    from avs_cli.core.encoders import Encoder
    from avs_cli.io.store.writer import StoreWriter

# At most this much work is lost when the process is killed: a part is closed when either limit is reached.
PART_SHOTS = 1024
FRAME_RATE = 2.0  # of extracted frames: RUC's tools sample two per second
PART_SECONDS = 5.0
THUMBNAIL = 320
# Packages whose versions are recorded in a store of frames.
PACKAGES = ("av", "numpy", "timm", "torch", "transformers")

# What has no effect on texts.
OF_PICTURES = (
    "shots", "fps", "frames", "max_frames", "pool", "frame_norm", "batch_size", "workers", "timeout", "shard",
    "thumbnails", "retry_failed",
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
    workers: Workers = 0,
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
    )
    if frames and shots and not text:
        raise SpecError("--frames applies to images in INPUT and cannot be combined with --shots")
    from avs_cli.stages.inputs import find_frames, media_around, named_shots

    path = output.partition("::")[0]
    spare(path, media_around(path, inputs))
    own, parts = _part(shard)
    path, name = _target(output, model)

    def opened(encoder: "Encoder | Facts", workers: int) -> "tuple[_Settings, StoreWriter]":
        sampling = _sampling(encoder, fps, max_frames)
        width = THUMBNAIL if thumbnails is None else thumbnails
        settings = _Settings(sampling, pool or encoder.pooling, frame_norm, batch_size, workers, timeout, width)
        return settings, _writer(encoder, model, path, name, dtype, settings)

    asked = _asked(model, weights, device, precision)
    found: list[Shot | Failure] = []
    pictures: dict[Shot, tuple[str, ...]] = {}
    if text and text != "-":
        Path(text).stat()
    if not text:
        # Missing files are reported, and a finished store is recognised, before a model is loaded.
        pictures = find_frames(inputs, frames, fps or FRAME_RATE) if frames else {}
        found = _share([*pictures] or named_shots(inputs, shots), own, parts)
        if (failed := _failed_of_finished(asked, opened, found, retry_failed)) is not None:
            if thumbnails is not None:
                note(f"{path}: all shots are encoded already; --thumbnails changes only shots encoded now")
            _end(path, failed, found)
            return
    load = encoders.load(model)
    from avs_cli.core.device import prepare
    from avs_cli.stages.runtime import runtime
    from avs_cli.stages.topics import read

    place = prepare(device, threads)
    feature: Encoder = load(runtime(place.device, place.threads, weights, precision))
    known = feature.provenance  # missing or wrong weights are reported before any video is opened
    if text:
        _extract_texts(feature, known, model, read(text, field), field, path, name, dtype)
        return
    if feature.pixels is None:
        raise SpecError(f"{model} encodes text only; give --text FILE")
    if model == "conse":
        note("conse needs no download: it is good at objects and animals, weak at people, actions and written text")
    settings, store = opened(feature, workers or place.workers)
    with store as writer:
        _keep_facts(asked, feature)
        _extract_frames(feature, writer, found, pictures, settings, retry_failed)
        failed = _report(writer, found)
    _end(path, failed, found)


def _asked(model: str, weights: str | None, device: str, precision: str) -> dict[str, Any]:
    """Everything on a command line that determines the encoder, apart from its weight files."""
    from avs_cli import __version__
    from avs_cli.provenance import versions

    places = {name: os.environ.get(name, "") for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME")}
    local = weights and str(Path(weights).absolute())
    packages = {"avs": __version__, **versions(*PACKAGES, "open_clip_torch")}
    return {
        "spec": model,
        "weights": local,
        "device": device,
        "precision": precision,
        "packages": packages,
        "places": places,
    }


def _failed_of_finished(
    asked: Mapping[str, Any],
    opened: "Callable[[Facts, int], tuple[_Settings, StoreWriter]]",
    found: "list[Shot | Failure]",
    retry_failed: bool,
) -> int | None:
    """The number of failed shots of a finished store; None if the model is needed to continue or to decide.

    The decision uses the facts that the encoder gave when it was last loaded.
    """
    from avs_cli.io.facts import recall
    from avs_cli.io.store.writer import is_finished

    facts = recall(asked)
    if facts is None or facts.pixels is None:
        return None
    _, store = opened(facts, 1)
    if not is_finished(store.path):
        return None
    try:
        with store as writer:
            if _todo(writer, found, retry_failed):
                return None
            writer.finish([item.id for item in found])
            return _report(writer, found)
    except MismatchError:
        return None  # the model itself will decide, and report it


def _keep_facts(asked: Mapping[str, Any], feature: "Encoder") -> None:
    """Save the encoder's facts, so that the next call need not load it to find a store finished."""
    from avs_cli.io.facts import keep

    if sources := getattr(feature, "sources", ()):
        keep(asked, Facts(feature.dim, feature.pixels, feature.sampling, feature.pooling, feature.provenance), sources)


def _end(path: str, failed: int, found: "list[Shot | Failure]") -> None:
    if failed:
        raise IncompleteError(f"{path}: {failed} of {len(found)} shots are missing; see {path}.errors.jsonl")


def _list(json: bool) -> None:
    """Print the list of models, as a table or as JSON."""
    from avs_cli.core.encoders.catalogue import COLUMNS, facts, listing
    from avs_cli.io.weights import here

    if json:
        from json import dumps

        print(dumps(list(facts(encoders.names(), here)), indent=1))
    else:
        table(COLUMNS, listing(encoders.names(), here))


class _Settings(NamedTuple):
    """How frames become vectors."""

    sampling: "Sampling"
    pooling: str
    frame_norm: str
    batch_size: int
    workers: int
    timeout: float
    thumbnail: int


def _target(output: str, model: str) -> tuple[str, str]:
    """The store's path and the feature's name in it: `file.h5::name`, else the model's own name."""
    path, _, name = output.partition("::")
    if name:
        return path, name
    first, _, rest = model.partition(":")
    values = [piece.partition("=")[2] or piece for piece in rest.split(",") if piece]
    return path, feature_name("-".join([first, *values]))


def _sampling(feature: "Encoder | Facts", fps: float | None, max_frames: int | None) -> "Sampling":
    """The model's own sampling with the user's changes."""
    sampling = feature.sampling
    if fps is not None:
        if sampling.fps is None or sampling.clip > 1:
            raise SpecError("this model has a fixed number of frames; --fps does not apply")
        sampling = replace(sampling, fps=fps)
    return sampling if max_frames is None else replace(sampling, max_frames=max_frames)


def _part(shard: str) -> tuple[int, int]:
    """I and N of `I/N`."""
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", shard)
    if not match or int(match[1]) > int(match[2]):
        raise SpecError(f"--shard {shard!r}: expected I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def _share(found: "list[Shot | Failure]", own: int, parts: int) -> "list[Shot | Failure]":
    """Part `own` of `parts`; a video's shots stay together."""
    groups: dict[str, int] = {}
    return [
        item
        for item in found
        if groups.setdefault(item.video if isinstance(item, Shot) else item.id, len(groups)) % parts == own - 1
    ]


def _writer(
    feature: "Encoder | Facts", model: str, path: str, name: str, dtype: str, settings: _Settings
) -> "StoreWriter":
    from avs_cli.io.store.writer import StoreWriter
    from avs_cli.provenance import describe, versions

    provenance = describe(
        {**feature.provenance, "frame_norm": settings.frame_norm},
        spec=model,
        pooling=settings.pooling,
        dtype=dtype,
        packages=versions(*PACKAGES),
        pixels=feature.pixels,
        sampling=settings.sampling,
    )
    return StoreWriter(path, name, feature.dim, provenance, dtype, frame_level=settings.pooling == "none")


def _todo(writer: "StoreWriter", found: "list[Shot | Failure]", retry_failed: bool) -> "list[Shot | Failure]":
    """The shots to process: new ones or, to retry, those that failed before."""
    if retry_failed:
        return [item for item in found if item.id in writer.failed and item.id not in writer.done]
    return [item for item in found if item.id not in writer.done and item.id not in writer.failed]


def _extract_frames(
    feature: "Encoder",
    writer: "StoreWriter",
    found: "list[Shot | Failure]",
    pictures: Mapping[Shot, tuple[str, ...]],
    settings: _Settings,
    retry_failed: bool,
) -> None:
    """Encode the remaining shots, and save them part by part.

    pictures  the image files of shots that are given as extracted frames
    """
    from avs_cli.core.extraction.batches import encode
    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.store.writer import Item
    from avs_cli.io.video.find import measured
    from avs_cli.io.video.frames import Job, decode, jobs_of

    todo = list(measured(_todo(writer, found, retry_failed), settings.workers, settings.timeout))
    shots = {item.id: item for item in todo if isinstance(item, Shot)}
    for item in todo:
        if isinstance(item, Failure):
            writer.fail(item)
    ours = [Job(shot.video, (shot,), pictures[shot]) for shot in shots.values()] if pictures else []
    pieces = decode(
        ours or jobs_of(shots.values()),
        partial(sample_times, sampling=settings.sampling),
        feature.pixels,
        feature.sampling.clip,
        settings.workers,
        settings.timeout,
        settings.thumbnail,
    )
    part: list[Item] = []
    started = time.monotonic()
    with progress("encoding", len(shots)) as advance:
        for result in encode(feature, pieces, settings.pooling, settings.batch_size, settings.frame_norm == "l2"):
            advance()
            if isinstance(result, Failure):
                writer.fail(result)
                continue
            part.append(Item(shots[result.shot], result.shot, result.vectors, result.thumbnail))
            if len(part) >= PART_SHOTS or time.monotonic() - started >= PART_SECONDS:
                writer.add(part)
                part, started = [], time.monotonic()
    writer.add(part)
    writer.finish([item.id for item in found])


def _report(writer: "StoreWriter", found: "list[Shot | Failure]") -> int:
    """Report failures, each message once, and return the number of failed shots."""
    failures = [writer.failed[item.id] for item in found if item.id in writer.failed]
    note_each(failure.message for failure in failures)
    return len(failures)


def _extract_texts(
    feature: "Encoder",
    known: Mapping[str, Any],
    model: str,
    topics: Sequence[Topic],
    field: str,
    path: str,
    name: str,
    dtype: str,
) -> None:
    """Encode topics or captions: one vector each (several wordings are combined), or one per word."""
    from avs_cli.io.store.writer import Item, StoreWriter
    from avs_cli.provenance import describe, versions
    from avs_cli.stages.topics import encode_topics

    if not feature.has_text:
        raise SpecError(f"{model} encodes no text")
    chosen = {} if field == "query" else {"field": field}
    packages = versions("numpy", "torch", "transformers")
    provenance = describe({**known, **chosen}, spec=model, pooling="none", dtype=dtype, packages=packages)
    with StoreWriter(path, name, feature.dim, provenance, dtype, feature.word_level) as writer:
        for first in range(0, len(topics), PART_SHOTS):
            batch = [topic for topic in topics[first : first + PART_SHOTS] if topic.id not in writer.done]
            if batch:
                vectors = encode_topics(feature, model, batch)
                writer.add([Item(None, topic.id, vector) for topic, vector in zip(batch, vectors, strict=True)])
        writer.finish([topic.id for topic in topics])
