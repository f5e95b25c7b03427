"""Extraction: shots, images or texts encoded into a feature store.

    gallery = extract(["videos/"], "gallery.h5", "clip", shots="shots.tsv")
    features = extract(["videos/"], "features.h5", ["clip", "blip2", "ircsn"], shots="shots.tsv")
    topics = extract_texts("tv22.txt", "topics.h5", "clip")

The store is written in parts, so that the same call resumes an interrupted extraction. What only an encoder needs is
imported when one is loaded: a finished store is recognised without.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, overload

from avs_cli.core.encoders import DEFAULT, RENAMED, Encoder, encoders
from avs_cli.core.extraction import FRAME_RATE
from avs_cli.core.words import readers
from avs_cli.errors import MismatchError, SpecError, UnknownName
from avs_cli.io.store.writer import Item, StoreWriter, StoreWriters
from avs_cli.provenance import describe, versions
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.encoding import PART_SHOTS, EncodingJob, FeatureInProgress, encode_shots, remaining_shots
from avs_cli.stages.encoding_tasks import encode_elsewhere, facts_elsewhere
from avs_cli.stages.engine import Engine
from avs_cli.stages.extraction import (
    Dtype,
    Extraction,
    Pooling,
    Precision,
    Weights,
    check_complete,
    check_each,
    failures_of,
    keep_facts,
    load_encoder,
    load_encoders,
    recalled,
    shard_of,
    targets,
    weights_of_each,
)
from avs_cli.stages.inputs import FilePath, Paths, check_shard, find_frames, named_shots, path_names
from avs_cli.stages.words import WordExtraction, read_words
from avs_cli.types import THUMBNAIL, Facts, Failure, Shot

if TYPE_CHECKING:
    from avs_cli.stages.topic_texts import Topics

# Packages whose versions are recorded in a store of texts.
TEXT_PACKAGES = ("numpy", "torch", "transformers")


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
    hwaccel: str
    engine: Engine | None
    report: Reporter


@overload
def extract(inputs: Paths, output: FilePath, model: str = DEFAULT, **settings: Unpack[Settings]) -> str: ...
@overload
def extract(
    inputs: Paths, output: FilePath, model: list[str] | tuple[str, ...], **settings: Unpack[Settings]
) -> list[str]: ...
def extract(
    inputs: Paths,
    output: FilePath,
    model: str | list[str] | tuple[str, ...] = DEFAULT,
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
    hwaccel: str = "",
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> str | list[str]:
    """Encode the shots of videos, or images, into a store, and return its name as other stages take it.

    inputs        videos, images, folders of them, or shot tables (.tsv)
    output        FILE or FILE::FEATURE; the feature is named by the model if not by the output
    model         a module of `core.encoders`, with parameters as in "clip:ViT-L-14"; or several of them, each of which
                  gives a feature of FILE: all are loaded at once, and each frame is decoded only once. A module of
                  `core.words` gives a feature of texts, after the others
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
    hwaccel       the kind of hardware that decodes videos, as FFmpeg names it ("cuda", "vaapi"), and which the store
                  records; the processor decodes what it cannot
    engine        workers of a cluster that encode instead of this process; the store is the same

    The other parameters apply to every model. The bytes of a store of several features are those of one call per model,
    in their order; what is there already is not encoded again. Returns a list of names for several models.

    Raises IncompleteError when the store is written and shots are missing from it, which its ledger
    (FILE.errors.jsonl) lists.
    """
    if frames and shots:
        raise SpecError("--frames applies to images in INPUT and cannot be combined with --shots")
    check_shard(shard)
    if hwaccel and engine is None:
        from avs_cli.io.video.hardware import check_hardware

        check_hardware(hwaccel)
    specs = [model] if isinstance(model, str) else list(model)
    for name in (spec.partition(":")[0] for spec in specs):
        if not (encoders.knows(name) or readers.knows(name) or name in RENAMED):
            raise UnknownName("encoder", name, [*encoders.names(), *readers.names()])
    features = dict(zip(specs, targets(str(output), specs), strict=True))
    own_weights = dict(zip(specs, weights_of_each(weights, specs), strict=True))
    wanted = [
        Extraction(
            spec,
            *features[spec],
            own_weights[spec],
            device,
            precision,
            fps,
            max_frames,
            pool,
            frame_norm,
            dtype,
            hwaccel,
        )
        for spec in specs
        if not readers.knows(spec)
    ]
    read = [
        WordExtraction(spec, *features[spec], own_weights[spec], device, threads, fps, max_frames)
        for spec in specs
        if readers.knows(spec)
    ]
    if read and frames:
        raise SpecError(f"{read[0].spec} reads videos; --frames does not apply")
    for one in read:
        one.check()
    path, _ = features[specs[0]]
    # Missing files are reported, and a finished feature is recognised, before a model is loaded.
    given = path_names(inputs)
    images = find_frames(given, frames, fps or FRAME_RATE) if frames else {}
    found = shard_of([*images] or named_shots(given, str(shots), report), *shard)
    job = EncodingJob(
        tuple(wanted),
        threads,
        batch_size,
        workers,
        timeout,
        THUMBNAIL if thumbnails is None else thumbnails,
        retry_failed,
    )
    failures: dict[str, list[Failure]] = {}
    were_finished = False
    if wanted:
        of_each, were_finished = extract_found(found, images, job, engine, report)
        failures |= zip((one.feature for one in wanted), of_each, strict=True)
    for one in read:
        failures[one.feature] = read_words(one, found, workers, timeout, retry_failed, report)
    report.note_each(failure.message for own in failures.values() for failure in own)
    if were_finished and thumbnails is not None:
        report.note(f"{path}: all shots are encoded already; --thumbnails changes only shots encoded now")
    check_complete(path, {feature: len(own) for feature, own in failures.items()}, len(found))
    names = [f"{path}::{feature}" for path, feature in features.values()]
    return names[0] if isinstance(model, str) else names


def extract_found(
    found: Sequence[Shot | Failure],
    images: Mapping[Shot, tuple[str, ...]],
    job: EncodingJob,
    engine: Engine | None,
    report: Reporter,
    check: Callable[[StoreWriter], None] = lambda writer: None,
) -> tuple[list[list[Failure]], bool]:
    """Encode shots into the store of the features that the job wants.

    images  the files of shots that are given as extracted frames
    check   called with the writer of each feature, not yet open, before a video is; may raise

    Returns the failures of each feature, and whether the store had all shots before.
    """
    wanted = job.wanted
    ready = _finished_features(wanted, found, job.retry_failed)
    needed = tuple(one for one in wanted if one.feature not in ready)
    job = job._replace(wanted=needed)
    loaded: dict[str, Encoder] = {}
    sources: dict[str, Encoder | Facts] = {**ready}
    if needed and engine is None:
        loaded, decoders = load_encoders(needed, job.threads)
        job = job._replace(workers=job.workers or decoders)
        sources |= loaded
    elif needed and engine is not None:
        job = job.shared(engine)
        sources |= facts_elsewhere(engine, job)
    check_each({one.spec: sources[one.feature] for one in needed}, report)
    for one in wanted:
        check(one.writer(sources[one.feature]))
    ours = [one.writer(sources[one.feature]) for one in wanted]
    with StoreWriters(ours) as writers:
        writing = {writer.feature: writer for writer in ours if writer.feature not in ready}
        if needed and engine is None:
            features = [FeatureInProgress(one, loaded[one.feature], writing[one.feature]) for one in needed]
            for each in features:
                keep_facts(each.wanted.identity, each.encoder)
            encode_shots(features, found, images, job, report)
        elif needed and engine is not None:
            encode_elsewhere(engine, writing, found, images, job, report)
        writers.finish([item.id for item in found])
        return [failures_of(writer, found) for writer in ours], not needed


def extract_texts(
    texts: "Topics",
    output: FilePath,
    model: str = DEFAULT,
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
    if readers.knows(model):
        raise SpecError(f"{model} reads the words of videos; --text takes an encoder of text")
    ((path, feature),) = targets(str(output), [model])
    if isinstance(texts, str | Path) and str(texts) != "-":
        Path(texts).stat()  # a missing file is reported before a model is loaded
    encoder, _ = load_encoder(model, device, threads, weights, precision)
    from avs_cli.stages.topic_texts import read
    from avs_cli.stages.topics import encode_topics

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


def _finished_features(
    wanted: Sequence[Extraction], found: Sequence[Shot | Failure], retry_failed: bool
) -> dict[str, Facts]:
    """The features that lack no shot, so that their models are not needed, and the facts on these."""
    finished = {}
    for one in wanted:
        # Where there is no store, nothing is finished.
        facts = recalled(one) if Path(one.path).exists() else None
        if facts is None:
            continue
        with suppress(MismatchError), one.writer(facts) as writer:
            if not remaining_shots(writer, found, retry_failed):
                finished[one.feature] = facts
    return finished
