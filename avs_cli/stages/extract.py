"""Extraction: shots, images or texts encoded into a feature store.

    gallery = extract(["videos/"], "gallery.h5", "clip", shots="shots.tsv")
    topics = extract_texts("tv22.txt", "topics.h5", "clip")

The store is written in parts, so that the same call resumes an interrupted extraction. What only an encoder needs is
imported when one is loaded: a finished store is recognised without.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from avs_cli import __version__
from avs_cli.core.encoders import Encoder, encoders
from avs_cli.core.extraction import FRAME_RATE, THUMBNAIL
from avs_cli.errors import IncompleteError, MismatchError, SpecError, UnavailableError
from avs_cli.io.facts import keep, recall
from avs_cli.io.store.writer import Item, StoreWriter, is_finished
from avs_cli.provenance import describe, versions
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine
from avs_cli.stages.inputs import FilePath, Paths, find_frames, named_shots, path_names
from avs_cli.types import Facts, Failure, Sampling, Shot, feature_name

if TYPE_CHECKING:
    from avs_cli.stages.topics import Topics

# At most this much work is lost when the process is killed: a part is closed when either limit is reached.
PART_SHOTS = 1024
PART_SECONDS = 5.0
# Of a task on a cluster: as much is lost with a worker. There are several per worker, so that all end together.
SLICE_SHOTS = 64
SLICES_PER_WORKER = 4
# Packages whose versions are recorded in a store of frames, and in one of texts.
PACKAGES = ("av", "numpy", "timm", "torch", "transformers")
TEXT_PACKAGES = ("numpy", "torch", "transformers")

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Dtype = Literal["float16", "float32"]
Pooling = Literal["mean", "max", "none"]


@dataclass(frozen=True)
class _Extraction:
    """What is asked of the encoder `spec` and of its feature in a store; None is the encoder's own choice."""

    spec: str
    path: str
    feature: str
    fps: float | None
    max_frames: int | None
    pool: Pooling | None
    frame_norm: Literal["none", "l2"]
    dtype: Dtype

    def sampling(self, encoder: Encoder | Facts) -> Sampling:
        """The encoder's sampling with the user's changes."""
        sampling = encoder.sampling
        if self.fps is not None:
            if sampling.fps is None or sampling.clip > 1:
                raise SpecError("this model has a fixed number of frames; --fps does not apply")
            sampling = replace(sampling, fps=self.fps)
        return sampling if self.max_frames is None else replace(sampling, max_frames=self.max_frames)

    def pooling(self, encoder: Encoder | Facts) -> str:
        return self.pool or encoder.pooling

    def writer(self, encoder: Encoder | Facts) -> StoreWriter:
        """The writer of the store, which compares the provenance with what the store has."""
        pooling = self.pooling(encoder)
        provenance = describe(
            {**encoder.provenance, "frame_norm": self.frame_norm},
            spec=self.spec,
            pooling=pooling,
            dtype=self.dtype,
            packages=versions(*PACKAGES),
            pixels=encoder.pixels,
            sampling=self.sampling(encoder),
        )
        return StoreWriter(self.path, self.feature, encoder.dim, provenance, self.dtype, frame_level=pooling == "none")


@dataclass(frozen=True)
class _Encoding:
    """How shots are encoded for `wanted`; the others are the parameters of `extract`."""

    wanted: _Extraction
    weights: str | None
    device: str
    precision: Precision
    threads: int
    batch_size: int
    workers: int
    timeout: float
    thumbnail: int


def extract(
    inputs: Paths,
    output: FilePath,
    model: str = "conse",
    *,
    shots: FilePath = "",
    frames: Literal["name", "folder"] | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    pool: Pooling | None = None,
    frame_norm: Literal["none", "l2"] = "none",
    dtype: Dtype = "float16",
    weights: FilePath | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int = 32,
    workers: int = 0,
    threads: int = 0,
    timeout: float = 60.0,
    shard: tuple[int, int] = (1, 1),
    thumbnails: int | None = None,
    retry_failed: bool = False,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> str:
    """Encode the shots of videos, or images, into a store, and return its name as other stages take it.

    inputs        videos, images, folders of them, or shot tables (.tsv)
    output        FILE or FILE::FEATURE; the feature is named by the model if not by the output
    model         a module of `core.encoders`, with parameters as in "clip:ViT-L-14"
    shots         a shot table; without one each video is one shot
    frames        images are extracted frames: "name", they are called <shot>_<number>; "folder", one folder per shot
    fps           frames per second to sample, or the rate of extracted frames; default: the model's own, and 2
    max_frames    per shot
    pool          of frame vectors; "none" stores every frame; default: the model's own
    frame_norm    of frame vectors before pooling
    weights       a local checkpoint instead of the published weights
    batch_size    frames (or clips) per forward pass
    workers       decoding processes; 0 chooses from the cores
    timeout       seconds without a decoded frame before a file is given up
    shard         (i, n) processes part i, from 1, of n equal parts of the videos
    thumbnails    width in pixels; 0 stores none; default: 320
    retry_failed  process only the shots that failed before
    engine        workers of a cluster that encode instead of this process; the store is the same

    Raises IncompleteError when the store is written and shots are missing from it, which its ledger
    (FILE.errors.jsonl) lists.
    """
    if frames and shots:
        raise SpecError("--frames applies to images in INPUT and cannot be combined with --shots")
    if not 1 <= shard[0] <= shard[1]:
        raise SpecError(f"part {shard[0]} of {shard[1]}: parts count from 1")
    path, feature = _target(str(output), model)
    wanted = _Extraction(model, path, feature, fps, max_frames, pool, frame_norm, dtype)
    identity = _identity(model, weights, device, precision)
    # Missing files are reported, and a finished store is recognised, before a model is loaded.
    given = path_names(inputs)
    images = find_frames(given, frames, fps or FRAME_RATE) if frames else {}
    found = _part([*images] or named_shots(given, str(shots)), *shard)
    failed = _failed_of_finished(identity, wanted, found, retry_failed, report)
    if failed is not None:
        if thumbnails is not None:
            report.note(f"{path}: all shots are encoded already; --thumbnails changes only shots encoded now")
        _complete(path, failed, found)
        return f"{path}::{feature}"
    how = _Encoding(
        wanted,
        None if weights is None else str(weights),
        device,
        precision,
        threads,
        batch_size,
        workers,
        timeout,
        THUMBNAIL if thumbnails is None else thumbnails,
    )
    encoder: Encoder | Facts
    if engine is None:
        encoder, decoders = _loaded(model, device, threads, weights, precision)
        how = replace(how, workers=workers or decoders)
    else:
        decoders = max(1, engine.cores // 2) if engine.cores else 0
        how = replace(how, threads=threads or engine.cores, workers=workers or decoders)
        encoder = _facts_elsewhere(engine, how)
    if encoder.pixels is None:
        raise SpecError(f"{model} encodes text only; give --text FILE")
    if model == "conse":
        report.note(
            "conse needs no download: it is good at objects and animals, weak at people, actions and written text"
        )
    with wanted.writer(encoder) as writer:
        if isinstance(encoder, Facts):
            assert engine is not None
            _encode_elsewhere(engine, writer, found, images, how, retry_failed, report)
        else:
            _keep_facts(identity, encoder)
            _encode_shots(encoder, writer, found, images, how, retry_failed, report)
        failed = _report_failures(writer, found, report)
    _complete(path, failed, found)
    return f"{path}::{feature}"


def extract_texts(
    texts: "Topics",
    output: FilePath,
    model: str = "conse",
    *,
    field: Literal["query", "narrative", "both"] = "query",
    dtype: Dtype = "float16",
    weights: FilePath | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    threads: int = 0,
) -> str:
    """Encode topics or captions into a store, and return its name as other stages take it.

    texts  a file of topics or captions, topics, or the text of each topic by its id
    field  the text of each topic to encode

    An encoder gives a text one vector, several wordings are combined; a word-level one gives a vector per word. The
    other parameters are those of `extract`. Raises SpecError for an encoder without text.
    """
    path, feature = _target(str(output), model)
    if isinstance(texts, str | Path) and str(texts) != "-":
        Path(texts).stat()  # a missing file is reported before a model is loaded
    encoder, _ = _loaded(model, device, threads, weights, precision)
    from avs_cli.stages.topics import encode_topics, read

    topics = read(texts, field)
    if not encoder.has_text:
        raise SpecError(f"{model} encodes no text")
    chosen = {} if field == "query" else {"field": field}
    provenance = describe(
        {**encoder.provenance, **chosen}, spec=model, pooling="none", dtype=dtype, packages=versions(*TEXT_PACKAGES)
    )
    with StoreWriter(path, feature, encoder.dim, provenance, dtype, encoder.word_level) as writer:
        for first in range(0, len(topics), PART_SHOTS):
            batch = [topic for topic in topics[first : first + PART_SHOTS] if topic.id not in writer.done]
            if batch:
                vectors = encode_topics(encoder, model, batch)
                writer.add([Item(None, topic.id, vector) for topic, vector in zip(batch, vectors, strict=True)])
        writer.finish([topic.id for topic in topics])
    return f"{path}::{feature}"


def _target(output: str, model: str) -> tuple[str, str]:
    """The store's path and the feature's name in it: `file.h5::name`, else the model's own name."""
    path, _, name = output.partition("::")
    if name:
        return path, name
    first, _, rest = model.partition(":")
    values = [piece.partition("=")[2] or piece for piece in rest.split(",") if piece]
    return path, feature_name("-".join([first, *values]))


def _loaded(model: str, device: str, threads: int, weights: FilePath | None, precision: str) -> tuple[Encoder, int]:
    """The encoder, and the number of decoding processes beside it; raises for missing or wrong weights."""
    load = encoders.load(model)
    from avs_cli.core.device import prepare
    from avs_cli.stages.runtime import runtime

    chosen = prepare(device, threads)
    encoder: Encoder = load(runtime(chosen.device, chosen.threads, str(weights) if weights else None, precision))
    _ = encoder.provenance  # reads the weights, so that missing or wrong ones are reported before any video is opened
    return encoder, chosen.workers


def _identity(model: str, weights: FilePath | None, device: str, precision: str) -> dict[str, Any]:
    """Everything that determines the encoder, apart from the content of its weight files."""
    return {
        "spec": model,
        "weights": str(Path(weights).absolute()) if weights else weights,
        "device": device,
        "precision": precision,
        "packages": {"avs": __version__, **versions(*PACKAGES, "open_clip_torch")},
        "places": {name: os.environ.get(name, "") for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME")},
    }


def _failed_of_finished(
    identity: Mapping[str, Any],
    wanted: _Extraction,
    found: Sequence[Shot | Failure],
    retry_failed: bool,
    report: Reporter,
) -> int | None:
    """The number of failed shots of a finished store; None if the model is needed to continue or to decide.

    The decision uses the facts that the encoder gave when it was last loaded.
    """
    facts = recall(identity)
    if facts is None or facts.pixels is None:
        return None
    store = wanted.writer(facts)
    if not is_finished(store.path):
        return None
    try:
        with store as writer:
            if _remaining(writer, found, retry_failed):
                return None
            writer.finish([item.id for item in found])
            return _report_failures(writer, found, report)
    except MismatchError:
        return None  # the model itself will decide, and report it


def _keep_facts(identity: Mapping[str, Any], encoder: Encoder) -> None:
    """Save the encoder's facts, so that the next call need not load it to find a store finished."""
    if sources := getattr(encoder, "sources", ()):
        facts = Facts(encoder.dim, encoder.pixels, encoder.sampling, encoder.pooling, encoder.provenance)
        keep(identity, facts, sources)


def _part(found: Sequence[Shot | Failure], number: int, parts: int) -> list[Shot | Failure]:
    """Part `number` of `parts`; a video's shots stay together."""
    groups: dict[str, int] = {}
    return [
        item
        for item in found
        if groups.setdefault(item.video if isinstance(item, Shot) else item.id, len(groups)) % parts == number - 1
    ]


def _remaining(writer: StoreWriter, found: Sequence[Shot | Failure], retry_failed: bool) -> list[Shot | Failure]:
    """The shots to process: new ones or, to retry, those that failed before."""
    if retry_failed:
        return [item for item in found if item.id in writer.failed and item.id not in writer.done]
    return [item for item in found if item.id not in writer.done and item.id not in writer.failed]


def _encode_shots(
    encoder: Encoder,
    writer: StoreWriter,
    found: Sequence[Shot | Failure],
    images: Mapping[Shot, tuple[str, ...]],
    how: _Encoding,
    retry_failed: bool,
    report: Reporter,
) -> None:
    """Encode the remaining shots, and save them part by part.

    images  the files of shots that are given as extracted frames
    """
    from avs_cli.core.extraction.batches import encode
    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.video.find import measured
    from avs_cli.io.video.frames import Job, decode, jobs_of

    assert encoder.pixels is not None
    remaining = list(measured(_remaining(writer, found, retry_failed), how.workers, how.timeout))
    shots = {item.id: item for item in remaining if isinstance(item, Shot)}
    for item in remaining:
        if isinstance(item, Failure):
            writer.fail(item)
    jobs = [Job(shot.video, (shot,), images[shot]) for shot in shots.values()] if images else []
    pieces = decode(
        jobs or jobs_of(shots.values()),
        partial(sample_times, sampling=how.wanted.sampling(encoder)),
        encoder.pixels,
        encoder.sampling.clip,
        how.workers,
        how.timeout,
        how.thumbnail,
    )
    part: list[Item] = []
    started = time.monotonic()
    with report.progress("encoding", len(shots)) as advance:
        for result in encode(
            encoder, pieces, how.wanted.pooling(encoder), how.batch_size, how.wanted.frame_norm == "l2"
        ):
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


# On the workers of a cluster


class _Slice(NamedTuple):
    """Some shots for one task.

    room    the folder for its store
    images  the files of shots that are given as extracted frames
    """

    how: _Encoding
    room: str
    shots: tuple[Shot, ...]
    images: Mapping[Shot, tuple[str, ...]]


class _EncodedSlice(NamedTuple):
    """The store that a task has written, "" for none, and the shots that are not in it."""

    store: str
    failures: list[Failure]


def _encode_elsewhere(
    engine: Engine,
    writer: StoreWriter,
    found: Sequence[Shot | Failure],
    images: Mapping[Shot, tuple[str, ...]],
    how: _Encoding,
    retry_failed: bool,
    report: Reporter,
) -> None:
    """Encode the remaining shots in tasks, each of which writes a store of its own, and join these."""
    by_video: dict[str, list[Shot]] = {}
    remaining = _remaining(writer, found, retry_failed)
    for item in remaining:
        if isinstance(item, Failure):
            writer.fail(item)
        else:
            by_video.setdefault(item.video, []).append(item)
    shots = list(chain.from_iterable(by_video.values()))
    size = min(SLICE_SHOTS, max(1, len(shots) // (SLICES_PER_WORKER * engine.workers)))
    room = str(writer.room())

    def sliced(some: Sequence[Shot], size: int) -> list[_Slice]:
        parts = (tuple(some[low : low + size]) for low in range(0, len(some), size))
        return [_Slice(how, room, part, {shot: images[shot] for shot in part if images}) for part in parts]

    with report.progress("encoding", len(shots)) as advance:

        def encoded(slices: Sequence[_Slice]) -> Iterator[Shot]:
            """Encode slices; the shots of those that lost all their workers."""
            for task, result in engine.map(_encode_slice, slices, starts_processes=True):
                if result is None:
                    yield from task.shots
                    continue
                if result.store:
                    writer.adopt(result.store)
                for failure in result.failures:
                    writer.fail(failure)
                advance(len(task.shots))

        # A worker that dies takes the other shots of its task with it: each has a task of its own then.
        lost = list(encoded(sliced(shots, size)))
        for shot in encoded(sliced(lost, 1)):
            writer.fail(Failure(shot.id, "encode", f"{shot.video}: killed its workers (out of memory?)"))
            advance()
    writer.finish([item.id for item in found])


def _encode_slice(task: _Slice) -> _EncodedSlice:
    """In a worker: write a store of some shots."""
    encoder, how = _resident(task.how)
    folder = Path(tempfile.mkdtemp(dir=task.room))  # another attempt at this task may still run
    how = replace(how, wanted=replace(how.wanted, path=str(folder / "slice.h5")))
    with how.wanted.writer(encoder) as writer:
        _encode_shots(encoder, writer, task.shots, task.images, how, False, LOGGED)
        return _EncodedSlice(str(writer.path) if writer.done else "", list(writer.failed.values()))


def _facts_elsewhere(engine: Engine, how: _Encoding) -> Facts:
    """The facts on the encoder, from a worker."""
    ((_, facts),) = engine.map(_facts_of, [how])
    if facts is None:
        raise UnavailableError(f"{how.wanted.spec} cannot be loaded: it killed the workers that tried (out of memory?)")
    return facts


def _facts_of(how: _Encoding) -> Facts:
    """In a worker: the facts on the encoder."""
    encoder, _ = _resident(how)
    return Facts(encoder.dim, encoder.pixels, encoder.sampling, encoder.pooling, dict(encoder.provenance))


def _resident(how: _Encoding) -> tuple[Encoder, _Encoding]:
    """The encoder, which a worker loads once, and `how` with the number of decoding processes."""
    from avs_cli.core.device import prepare

    # Of the weights their state too: a worker may live longer than a file.
    state = Path(how.weights).stat() if how.weights else None
    files = (Path(how.weights).absolute(), state.st_mtime_ns, state.st_size) if how.weights and state else None
    key = (how.wanted.spec, how.device, how.threads, how.precision, files)
    if key not in _RESIDENT:
        _RESIDENT.clear()
        _RESIDENT[key] = _loaded(how.wanted.spec, how.device, how.threads, how.weights, how.precision)
    encoder, decoders = _RESIDENT[key]
    prepare(how.device, how.threads)  # each thread has its own number of torch's threads
    return encoder, replace(how, workers=how.workers or decoders)


_RESIDENT: dict[object, tuple[Encoder, int]] = {}


def _report_failures(writer: StoreWriter, found: Sequence[Shot | Failure], report: Reporter) -> int:
    """Report failures, each message once, and return the number of failed shots."""
    failures = [writer.failed[item.id] for item in found if item.id in writer.failed]
    report.note_each(failure.message for failure in failures)
    return len(failures)


def _complete(path: str, failed: int, found: Sequence[Shot | Failure]) -> None:
    """Raises IncompleteError for a finished store that lacks shots."""
    if failed:
        raise IncompleteError(f"{path}: {failed} of {len(found)} shots are missing; see {path}.errors.jsonl")
