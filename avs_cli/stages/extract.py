"""Extraction: shots, images or texts encoded into a feature store.

    gallery = extract(["videos/"], "gallery.h5", "clip", shots="shots.tsv")
    features = extract(["videos/"], "features.h5", ["clip", "blip2", "ircsn"], shots="shots.tsv")
    topics = extract_texts("tv22.txt", "topics.h5", "clip")

The store is written in parts, so that the same call resumes an interrupted extraction. What only an encoder needs is
imported when one is loaded: a finished store is recognised without.
"""

import os
import tempfile
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, Unpack, overload

from avs_cli import __version__
from avs_cli.core.encoders import Encoder, encoders
from avs_cli.core.extraction import FRAME_RATE
from avs_cli.errors import IncompleteError, MismatchError, SpecError, UnavailableError
from avs_cli.io.facts import keep, recall
from avs_cli.io.store.writer import Item, StoreWriter, StoreWriters
from avs_cli.provenance import describe, versions
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine
from avs_cli.stages.inputs import FilePath, Paths, check_shard, find_frames, named_shots, path_names
from avs_cli.types import THUMBNAIL, Facts, Failure, Frames, Pixels, Sampling, Shot, feature_name

if TYPE_CHECKING:
    from avs_cli.core.extraction.batches import Encoded, ShotEncoder
    from avs_cli.stages.topics import Topics

# At most this much work is lost when the process is killed: a part is closed when either limit is reached.
PART_SHOTS = 1024
PART_SECONDS = 5.0
# Of a task on a cluster: as much is lost with a worker. There are several per worker, so that all end together; small
# ones would encode more padding than frames.
SLICE_SHOTS = 64
LEAST_SHOTS = 8
SLICES_PER_WORKER = 4
# After as many shots in a row that killed workers by themselves, it is not the shots.
DEATHS = 8
# Packages whose versions are recorded in a store of frames, and in one of texts.
PACKAGES = ("av", "numpy", "timm", "torch", "transformers")
TEXT_PACKAGES = ("numpy", "torch", "transformers")

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Dtype = Literal["float16", "float32"]
Pooling = Literal["mean", "max", "none"]


Weights = FilePath | Mapping[str, FilePath]
"""A local checkpoint of the one model, or of each of several models by its spec."""


@dataclass(frozen=True)
class _Extraction:
    """What is asked of the encoder `spec` and of its feature in a store; None is the encoder's own choice."""

    spec: str
    path: str
    feature: str
    weights: FilePath | None
    device: str
    precision: Precision
    fps: float | None
    max_frames: int | None
    pool: Pooling | None
    frame_norm: Literal["none", "l2"]
    dtype: Dtype

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the encoder, apart from the content of its weight files."""
        return {
            "spec": self.spec,
            "weights": str(Path(self.weights).absolute()) if self.weights else self.weights,
            "device": self.device,
            "precision": self.precision,
            "packages": {"avs": __version__, **versions(*PACKAGES, "open_clip_torch")},
            "places": {name: os.environ.get(name, "") for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME")},
        }

    @property
    def name(self) -> str:
        """The feature as other stages take it."""
        return f"{self.path}::{self.feature}"

    def sampling(self, encoder: Encoder | Facts) -> Sampling:
        """The encoder's sampling with the user's changes."""
        sampling = encoder.sampling
        if self.fps is not None:
            if sampling.fps is None or sampling.clip > 1:
                raise SpecError(f"{self.spec} has a fixed number of frames; --fps does not apply")
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


class Settings(TypedDict, total=False):
    """The keyword parameters of `extract`."""

    shots: FilePath
    frames: Literal["name", "folder"] | None
    fps: float | None
    max_frames: int | None
    pool: Pooling | None
    frame_norm: Literal["none", "l2"]
    dtype: Dtype
    weights: Weights | None
    device: str
    precision: Precision
    batch_size: int
    workers: int
    threads: int
    timeout: float
    shard: tuple[int, int]
    thumbnails: int | None
    retry_failed: bool
    engine: Engine | None
    report: Reporter


@overload
def extract(inputs: Paths, output: FilePath, model: str = "conse", **settings: Unpack[Settings]) -> str: ...
@overload
def extract(
    inputs: Paths, output: FilePath, model: list[str] | tuple[str, ...], **settings: Unpack[Settings]
) -> list[str]: ...
def extract(
    inputs: Paths,
    output: FilePath,
    model: str | list[str] | tuple[str, ...] = "conse",
    *,
    shots: FilePath = "",
    frames: Literal["name", "folder"] | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    pool: Pooling | None = None,
    frame_norm: Literal["none", "l2"] = "none",
    dtype: Dtype = "float16",
    weights: Weights | None = None,
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
) -> str | list[str]:
    """Encode the shots of videos, or images, into a store, and return its name as other stages take it.

    inputs        videos, images, folders of them, or shot tables (.tsv)
    output        FILE or FILE::FEATURE; the feature is named by the model if not by the output
    model         a module of `core.encoders`, with parameters as in "clip:ViT-L-14"; or several of them, each of which
                  gives a feature of FILE: all are loaded at once, and each frame is decoded only once
    shots         a shot table; without one each video is one shot
    frames        images are extracted frames: "name", they are called <shot>_<number>; "folder", one folder per shot
    fps           frames per second to sample, or the rate of extracted frames; default: the model's own, and 2
    max_frames    per shot
    pool          of frame vectors; "none" stores every frame; default: the model's own
    frame_norm    of frame vectors before pooling
    weights       a local checkpoint instead of the published weights; of several models by model: {"clip": "clip.pt"}
    batch_size    frames (or clips) per forward pass
    workers       decoding processes; 0 chooses from the cores
    timeout       seconds without a decoded frame before a file is given up
    shard         (i, n) processes part i, from 1, of n equal parts of the videos
    thumbnails    width in pixels; 0 stores none; default: 320
    retry_failed  process only the shots that failed before
    engine        workers of a cluster that encode instead of this process; the store is the same

    The other parameters apply to every model. The bytes of a store of several features are those of one call per model,
    in their order; what is there already is not encoded again. Returns a list of names for several models.

    Raises IncompleteError when the store is written and shots are missing from it, which its ledger
    (FILE.errors.jsonl) lists.
    """
    if frames and shots:
        raise SpecError("--frames applies to images in INPUT and cannot be combined with --shots")
    check_shard(shard)
    specs = [model] if isinstance(model, str) else list(model)
    wanted = [
        _Extraction(spec, path, feature, own, device, precision, fps, max_frames, pool, frame_norm, dtype)
        for spec, (path, feature), own in zip(specs, _targets(str(output), specs), _each(weights, specs), strict=True)
    ]
    path, names = wanted[0].path, [one.name for one in wanted]
    # Missing files are reported, and a finished feature is recognised, before a model is loaded.
    given = path_names(inputs)
    images = find_frames(given, frames, fps or FRAME_RATE) if frames else {}
    found = _part([*images] or named_shots(given, str(shots)), *shard)
    ready = _finished_features(wanted, found, retry_failed)
    needed = tuple(one for one in wanted if one.feature not in ready)
    job = _Job(
        needed, threads, batch_size, workers, timeout, THUMBNAIL if thumbnails is None else thumbnails, retry_failed
    )
    loaded: dict[str, Encoder] = {}
    sources: dict[str, Encoder | Facts] = {**ready}
    if needed and engine is None:
        loaded, decoders = _loaded_each(needed, threads)
        job = job._replace(workers=workers or decoders)
        sources |= loaded
    elif needed and engine is not None:
        job = job.shared(engine)
        sources |= _facts_elsewhere(engine, job)
    _check_each({one.spec: sources[one.feature] for one in needed}, report)
    with StoreWriters([one.writer(sources[one.feature]) for one in wanted]) as writers:
        writing = {writer.feature: writer for writer in writers.writers if writer.feature not in ready}
        if needed and engine is None:
            features = [_Feature(one, loaded[one.feature], writing[one.feature]) for one in needed]
            for each in features:
                _keep_facts(each.wanted.identity, each.encoder)
            _encode_shots(features, found, images, job, report)
        elif needed and engine is not None:
            _encode_elsewhere(engine, writing, found, images, job, report)
        writers.finish([item.id for item in found])
        failures = [_failures(writer, found) for writer in writers.writers]
    report.note_each(failure.message for own in failures for failure in own)
    if not needed and thumbnails is not None:
        report.note(f"{path}: all shots are encoded already; --thumbnails changes only shots encoded now")
    _complete(path, {one.feature: len(own) for one, own in zip(wanted, failures, strict=True)}, len(found))
    return names[0] if isinstance(model, str) else names


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
    ((path, feature),) = _targets(str(output), [model])
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


def _targets(output: str, models: Sequence[str]) -> list[tuple[str, str]]:
    """The store's path and the name of each model's feature in it: `file.h5::name`, else the model's own name.

    Raises SpecError without models, and where two of them would write one feature.
    """
    path, _, name = output.partition("::")
    if not models:
        raise SpecError("no model to encode with")
    if len(models) == 1:
        return [(path, name or _own_name(models[0]))]
    if name:
        raise SpecError(f"{output} names one feature, and {len(models)} models give one each; write to {path}")
    given: dict[str, str] = {}
    for model in models:
        own = _own_name(model)
        if own in given:
            what = f"{model} is given twice" if given[own] == model else f"{given[own]} and {model} are both {own!r}"
            raise SpecError(f"{what}; a store has one feature of a name")
        given[own] = model
    return [(path, own) for own in given]


def _own_name(model: str) -> str:
    first, _, rest = model.partition(":")
    values = [piece.partition("=")[2] or piece for piece in rest.split(",") if piece]
    return feature_name("-".join([first, *values]))


def _each(weights: Weights | None, models: Sequence[str]) -> list[FilePath | None]:
    """The checkpoint of each model. Raises SpecError for one that is not said to be of a model."""
    if not isinstance(weights, Mapping):
        if weights and len(models) > 1:
            raise SpecError(f"{weights}: weights of which of the {len(models)} models? write {models[0]}=PATH")
        return [weights] * len(models)
    if other := next((name for name in weights if name not in models), ""):
        raise SpecError(f"weights of {other}, which is none of the models: {', '.join(models)}")
    return [weights.get(model) for model in models]


def _loaded_each(wanted: Sequence[_Extraction], threads: int) -> tuple[dict[str, Encoder], int]:
    """As `_loaded`, the encoder of each feature."""
    loaded, decoders = {}, 1
    for one in wanted:
        loaded[one.feature], decoders = _loaded(one.spec, one.device, threads, one.weights, one.precision)
    return loaded, decoders


def _check_each(encoders: Mapping[str, Encoder | Facts], report: Reporter) -> None:
    """Raise SpecError for an encoder without images, and note what one is weak at; they come by their specs."""
    for spec, encoder in encoders.items():
        if encoder.pixels is None:
            raise SpecError(f"{spec} encodes text only; give --text FILE")
        if spec == "conse":
            report.note(
                "conse needs no download: it is good at objects and animals, weak at people, actions and written text"
            )


def _loaded(model: str, device: str, threads: int, weights: FilePath | None, precision: str) -> tuple[Encoder, int]:
    """The encoder, and the number of decoding processes beside it; raises for missing or wrong weights."""
    load = encoders.load(model)
    from avs_cli.core.device import prepare
    from avs_cli.stages.runtime import runtime

    chosen = prepare(device, threads)
    encoder: Encoder = load(runtime(chosen.device, chosen.threads, str(weights) if weights else None, precision))
    _ = encoder.provenance  # reads the weights, so that missing or wrong ones are reported before any video is opened
    return encoder, chosen.workers


def _recalled(wanted: _Extraction) -> Facts | None:
    """The facts that the encoder gave when it was last loaded, if the store may be finished."""
    facts = recall(wanted.identity) if Path(wanted.path).exists() else None
    return facts if facts and facts.pixels else None


def _finished_features(
    wanted: Sequence[_Extraction], found: Sequence[Shot | Failure], retry_failed: bool
) -> dict[str, Facts]:
    """The features that lack no shot, so that their models are not needed, and the facts on these."""
    finished = {}
    for one in wanted:
        facts = _recalled(one)
        if facts is None:
            continue
        with suppress(MismatchError), one.writer(facts) as writer:
            if not _remaining(writer, found, retry_failed):
                finished[one.feature] = facts
    return finished


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


class _Job(NamedTuple):
    """The features to write, and how: the parameters of `extract`."""

    wanted: tuple[_Extraction, ...]
    threads: int
    batch_size: int
    workers: int
    timeout: float
    thumbnail: int
    retry_failed: bool

    def shared(self, engine: Engine) -> "_Job":
        """The job for each of the workers, which may share this machine."""
        decoders = max(1, engine.cores // 2) if engine.cores else 0
        return self._replace(threads=self.threads or engine.cores, workers=self.workers or decoders)


@dataclass
class _Feature:
    """A feature that is being written: its encoder, its writer, and the shots of its next part."""

    wanted: _Extraction
    encoder: Encoder
    writer: StoreWriter
    part: list[Item] = field(default_factory=list)

    def save(self) -> None:
        """Write the part."""
        self.writer.add(self.part)
        self.part = []


def _encode_shots(
    features: Sequence[_Feature],
    found: Sequence[Shot | Failure],
    images: Mapping[Shot, tuple[str, ...]],
    job: _Job,
    report: Reporter,
) -> None:
    """Encode the remaining shots of each feature, and save them part by part.

    images  the files of shots that are given as extracted frames
    """
    from avs_cli.core.extraction.batches import ShotEncoder
    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.video.find import measured
    from avs_cli.io.video.frames import Job, View, decode_views, jobs_of

    # Encoders that see the same frames in the same size share a view.
    seen: dict[tuple[Sampling, Pixels], list[int]] = {}
    encoders = []
    for number, one in enumerate(features):
        assert one.encoder.pixels is not None
        seen.setdefault((one.wanted.sampling(one.encoder), one.encoder.pixels), []).append(number)
        unit = one.wanted.frame_norm == "l2"
        encoders.append(ShotEncoder(one.encoder, one.wanted.pooling(one.encoder), job.batch_size, unit))
    views = [View(partial(sample_times, sampling=sampling), pixels, sampling.clip) for sampling, pixels in seen]
    viewers = list(seen.values())

    missing = [{item.id for item in _remaining(one.writer, found, job.retry_failed)} for one in features]
    remaining = [item for item in found if any(item.id in ids for ids in missing)]
    shots: dict[str, Shot] = {}
    for item in measured(remaining, job.workers, job.timeout):
        if isinstance(item, Shot):
            shots[item.id] = item
            continue
        for one, ids in zip(features, missing, strict=True):
            if item.id in ids:
                one.writer.fail(item)
    jobs = [Job(shot.video, (shot,), images[shot]) for shot in shots.values()] if images else jobs_of(shots.values())
    wanted_by = {
        id: tuple(view for view, numbers in enumerate(viewers) if any(id in missing[number] for number in numbers))
        for id in shots
    }
    pieces = decode_views(jobs, views, wanted_by, job.workers, job.timeout, job.thumbnail)
    started = time.monotonic()
    with report.progress("encoding", len(shots)) as advance:
        for number, result in _encoded(encoders, viewers, missing, pieces):
            one = features[number]
            id = result.id if isinstance(result, Failure) else result.shot
            advance(1 / sum(id in ids for ids in missing))
            if isinstance(result, Failure):
                one.writer.fail(result)
                continue
            one.part.append(Item(shots[id], id, result.vectors, result.thumbnail))
            if len(one.part) >= PART_SHOTS or time.monotonic() - started >= PART_SECONDS:
                for each in features:
                    each.save()
                started = time.monotonic()
    for each in features:
        each.save()


def _encoded(
    encoders: Sequence["ShotEncoder"],
    viewers: Sequence[Sequence[int]],
    missing: Sequence[Container[str]],
    pieces: Iterable[tuple[int, Frames | Failure]],
) -> "Iterator[tuple[int, Encoded | Failure]]":
    """The vectors of each shot from each encoder, with the encoder's number.

    viewers  the encoders of each view
    missing  the shots that each encoder is to encode
    """
    for view, piece in pieces:
        shot = piece.id if isinstance(piece, Failure) else piece.shot
        for number in viewers[view]:
            if shot in missing[number]:
                for result in encoders[number].add(piece):
                    yield number, result
    for number, encoder in enumerate(encoders):
        for result in encoder.rest():
            yield number, result


# On the workers of a cluster


class _Slice(NamedTuple):
    """Some shots for one task.

    room      the folder for its stores
    features  those of the job that lack all these shots
    images    the files of shots that are given as extracted frames
    """

    job: _Job
    room: str
    features: tuple[str, ...]
    shots: tuple[Shot, ...]
    images: Mapping[Shot, tuple[str, ...]]


class _EncodedSlice(NamedTuple):
    """The store that a task has written of each feature, if any, and the shots that a feature lacks."""

    stores: dict[str, str]
    failures: list[tuple[str, Failure]]


def _encode_elsewhere(
    engine: Engine,
    writers: Mapping[str, StoreWriter],
    found: Sequence[Shot | Failure],
    images: Mapping[Shot, tuple[str, ...]],
    job: _Job,
    report: Reporter,
) -> None:
    """As `_encode_shots`, in tasks that write stores of their own, of some shots each; these become parts."""
    lacking: dict[Shot, list[str]] = {}
    for name, writer in writers.items():
        for item in _remaining(writer, found, job.retry_failed):
            if isinstance(item, Failure):
                writer.fail(item)
            else:
                lacking.setdefault(item, []).append(name)
    # Features -> video -> shots: a video is opened by few tasks.
    groups: dict[tuple[str, ...], dict[str, list[Shot]]] = {}
    for shot, names in lacking.items():
        groups.setdefault(tuple(names), {}).setdefault(shot.video, []).append(shot)
    room = str(next(iter(writers.values())).room())

    def sliced(names: tuple[str, ...], shots: Sequence[Shot], size: int) -> Iterator[_Slice]:
        for low in range(0, len(shots), size):
            some = tuple(shots[low : low + size])
            yield _Slice(job, room, names, some, {shot: images[shot] for shot in some if images})

    with report.progress("encoding", len(lacking)) as advance:

        def encoded(slices: Iterable[_Slice]) -> Iterator[_Slice]:
            """Encode slices, and return those that lost all their workers."""
            for task, result in engine.map(_encode_slice, list(slices), starts_processes=True):
                if result is None:
                    yield task
                    continue
                for name, store in result.stores.items():
                    writers[name].adopt(store)
                for name, failure in result.failures:
                    writers[name].fail(failure)
                advance(len(task.shots))

        fair = len(lacking) // (SLICES_PER_WORKER * engine.workers)
        size = min(SLICE_SHOTS, max(LEAST_SHOTS, fair))
        slices = (sliced(names, [*chain(*videos.values())], size) for names, videos in groups.items())
        lost = list(encoded(chain.from_iterable(slices)))
        # A worker that dies takes the other shots of its task with it, and tasks that wait for it: now each shot has a
        # task of its own, and then those that are left run alone.
        lost = list(encoded(chain.from_iterable(sliced(task.features, task.shots, 1) for task in lost)))
        deaths = 0
        for task in lost:
            alone = list(encoded([task])) if len(lost) > 1 and deaths < DEATHS else [task]
            deaths = deaths + 1 if alone else 0
            for shot in chain.from_iterable(one.shots for one in alone):
                for name in task.features:
                    message = f"{shot.video}: the workers that encoded it died (out of memory?)"
                    writers[name].fail(Failure(shot.id, "encode", message))
                advance()


def _encode_slice(task: _Slice) -> _EncodedSlice:
    """In a worker: write a store of some shots for each feature."""
    job, encoders = _resident(task.job)
    folder = Path(tempfile.mkdtemp(dir=task.room))  # another attempt at this task may still run
    with ExitStack() as stack:
        features: list[_Feature] = []
        for one, encoder in zip(job.wanted, encoders, strict=True):
            if one.feature in task.features:
                own = replace(one, path=str(folder / f"{len(features)}.h5"))
                features.append(_Feature(own, encoder, stack.enter_context(own.writer(encoder))))
        _encode_shots(features, task.shots, task.images, job._replace(retry_failed=False), LOGGED)
        whole = [each for each in features if each.writer.done]
        for each in whole:
            each.writer.finish([shot.id for shot in task.shots])
        failures = [(each.wanted.feature, failure) for each in features for failure in each.writer.failed.values()]
        return _EncodedSlice({each.wanted.feature: each.wanted.path for each in whole}, failures)


def _facts_elsewhere(engine: Engine, job: _Job) -> dict[str, Facts]:
    """The facts on the encoder of each feature, from a worker."""
    ((_, facts),) = engine.map(_facts_of, [job], starts_processes=True)
    names = [one.feature for one in job.wanted]
    if facts is None:
        raise UnavailableError(f"{', '.join(names)}: the workers that loaded the model died (out of memory?)")
    return dict(zip(names, facts, strict=True))


def _facts_of(job: _Job) -> list[Facts]:
    """In a worker: the facts on the encoders."""
    _, encoders = _resident(job)
    return [Facts(one.dim, one.pixels, one.sampling, one.pooling, dict(one.provenance)) for one in encoders]


def _resident(job: _Job) -> tuple[_Job, list[Encoder]]:
    """The job with its number of decoding processes, and its encoders, which a worker loads once."""
    from avs_cli.core.device import prepare

    key = (job.threads, [(one.identity, _state(one.weights)) for one in job.wanted])
    if not _RESIDENT or _RESIDENT[0][0] != key:
        _RESIDENT.clear()  # before others are loaded: memory may not hold both
        loaded, decoders = _loaded_each(job.wanted, job.threads)
        _RESIDENT.append((key, [*loaded.values()], decoders))
    _, encoders, decoders = _RESIDENT[0]
    prepare(job.wanted[0].device, job.threads)  # each thread has its own number of torch's threads
    return job._replace(workers=job.workers or decoders), encoders


# The key of the job that a worker does, its encoders, and the number of decoding processes.
_RESIDENT: list[tuple[object, list[Encoder], int]] = []


def _state(weights: FilePath | None) -> tuple[int, int] | None:
    """Of a file that may change while a worker lives."""
    status = Path(weights).stat() if weights else None
    return status and (status.st_mtime_ns, status.st_size)


def _failures(writer: StoreWriter, found: Sequence[Shot | Failure]) -> list[Failure]:
    return [writer.failed[item.id] for item in found if item.id in writer.failed]


def _complete(path: str, failed: Mapping[str, int], total: int) -> None:
    """Raises IncompleteError for a finished store that lacks shots; `failed` has their number per feature."""
    if not any(failed.values()):
        return
    if len(failed) == 1:
        (count,) = failed.values()
        raise IncompleteError(f"{path}: {count} of {total} shots are missing; see {path}.errors.jsonl")
    lacking = ", ".join(f"{count} of {feature}" for feature, count in failed.items() if count)
    raise IncompleteError(f"{path}: of {total} shots, {lacking} are missing; see {path}.errors.jsonl")
