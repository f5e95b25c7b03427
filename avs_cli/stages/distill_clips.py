"""Distil slow teachers into a CLIP model with one vector per shot, on raw clips; or train such a teacher."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from avs_cli.core.device import prepare
from avs_cli.core.encoders import encoders
from avs_cli.core.encoders.open_clip_models import OpenClip
from avs_cli.core.models.clip.student import ClipStudent, header_heads
from avs_cli.core.models.clip.towers import is_plain
from avs_cli.core.models.settings import chosen_in
from avs_cli.core.models.settings import settings_of as parameters_of
from avs_cli.core.models.teachers import teachers as registered
from avs_cli.core.models.teachers.clip_teacher import ClipTeacher
from avs_cli.core.training.bert_adam import WarmupCosine, parameter_groups
from avs_cli.core.training.contrast import Contrast
from avs_cli.core.training.distillation import Method
from avs_cli.core.training.loop import Precision
from avs_cli.core.training.teaching import Lessons, Teaching
from avs_cli.errors import SpecError
from avs_cli.io.text.captions import item_of, read_all
from avs_cli.provenance import digest
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages import clip_teachers
from avs_cli.stages.clip_frames import CacheSettings, decode_clips
from avs_cli.stages.engine import Engine
from avs_cli.stages.footage import ClipValidation, Footage, FrozenFootage, footage_of
from avs_cli.stages.inputs import FilePath, Paths, path_names
from avs_cli.stages.runtime import runtime
from avs_cli.stages.teachers import LossWeights, recipe_of
from avs_cli.stages.team import joined
from avs_cli.stages.training import Plan, Trained, Training, optimizer_of, settings_of
from avs_cli.stages.validation import TwoWayMetric
from avs_cli.stages.vector_cache import Workers
from avs_cli.types import Sampling

# Blocks of the temporal header, initialised from CLIP's text tower.
LAYERS = 4
Aggregate = Literal["attention", "seqtransf", "mean"]


class StudentSettings(NamedTuple):
    """The model to train, as the caller describes it: the parameters of `distill` of these names."""

    spec: str
    weights: str | None
    frames: int
    words: int
    aggregate: Aggregate
    pool_temperature: float
    masked: bool
    chunk: int

    @property
    def is_teacher(self) -> bool:
        """Whether a teacher is trained, instead of a student with one vector per clip."""
        return registered.knows(self.spec)

    @property
    def clip(self) -> str:
        """The spec of the CLIP model that it is initialised from."""
        return "clip" if self.is_teacher else self.spec


def distill(
    inputs: Paths,
    captions: Paths,
    *,
    output: FilePath,
    teachers: Sequence[str] = (),
    student: str = "clip",
    weights: FilePath | None = None,
    frames: int = 12,
    words: int = 32,
    aggregate: Aggregate | None = None,
    pool_temperature: float = 0.1,
    masked: bool = False,
    tower_rate: float = 1e-3,
    chunk: int = 48,
    validate: Paths = (),
    metric: TwoWayMetric = "SumR",
    coarse: Method = "pear",
    fine: Method = "ce",
    loss_weights: LossWeights | None = None,
    cache: FilePath = "",
    cache_frames: Literal["raw", "jpeg"] = "raw",
    cache_limit: float = 100.0,
    optimizer: Literal["adamw", "bertadam"] = "bertadam",
    learning_rate: float = 1e-4,
    weight_decay: float = 0.2,
    epochs: int = 10,
    batch_size: int = 120,
    precision: Precision = "fp32",
    seed: int = 0,
    time_limit: float = 0.0,
    skip_missing: bool = False,
    tensorboard: FilePath = "",
    device: str = "auto",
    threads: int = 0,
    workers: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Trained:
    """Train a student on what teachers say of clips, or on captions only; resumes as `train.train` does.

    inputs            videos, folders of them, shot tables
    captions          files of training captions
    output            file of the best student, for the encoder teachclip; `.last` and `.csv` are beside it
    teachers          NAME=FILE: a teacher, and its published weights or a file of this function; none: the student
                      learns from the captions only, as CLIP4Clip does
    student           the CLIP model to fine-tune (clip, open-clip:NAME/TAG), or the spec of a teacher to train
    weights           a local checkpoint of the CLIP model
    frames            maximum number per clip, sampled at 1 fps or, for longer clips, uniformly
    words             maximum number of tokens per caption, including start and end
    aggregate         of frames: TeachCLIP's attention, CLIP4Clip's seqTransf, or the mean; by default attention with
                      teachers, and the mean without
    pool_temperature  of the softmax of the attention; masked: exclude padding frames from it
    tower_rate        learning rate of CLIP's towers relative to `learning_rate`; 0 freezes them
    chunk             frames per gradient-checkpointing chunk; 0 disables it
    validate          files of validation captions
    metric            for model selection, text-to-video
    coarse, fine      losses on the teachers' caption-video scores and caption-frame weights
    loss_weights      of the matching, coarse and fine losses; as published by default
    cache             folder of decoded frames and teachers' vectors, by default `output`.kept
    cache_frames      format of the frames; cache_limit: their maximum size in GB
    workers           decoding processes; 0 chooses from the available cores
    engine            workers of a cluster that compute the teachers' vectors instead of this process, which decodes and
                      trains; they see the cache

    The other parameters are those of `train.train`. Videos that cannot be read are noted and left out: they are in
    `unreadable` of the result. Raises SpecError for models that are no students or teachers and for frames beyond the
    limit, MismatchError for weights that do not fit and for captions without a video.
    """
    inputs, captions, validate = map(path_names, (inputs, captions, validate))
    output, weights = str(output), None if weights is None else str(weights)
    chosen = aggregate or ("attention" if teachers else "mean")
    model_to_train = StudentSettings(student, weights, frames, words, chosen, float(pool_temperature), masked, chunk)
    if teachers and model_to_train.is_teacher:
        raise SpecError(f"{student} is a teacher, which learns from the captions only; omit teachers")
    recipe = recipe_of(teachers, coarse, fine, loss_weights)
    # Floats, since the file has 1 and 1.0 as different texts.
    settings: dict[str, Any] = dict(
        epochs=epochs, batch_size=batch_size, precision=precision, seed=seed, metric=metric, schedule="cosine",
        optimizer=optimizer, learning_rate=float(learning_rate), weight_decay=float(weight_decay),
        towers=float(tower_rate),
    )  # fmt: skip
    if teachers:
        settings |= {"coarse": coarse, "fine": fine, "loss_weights": list(recipe.weights)}
    if cache_frames == "jpeg":
        settings["cache_frames"] = "jpeg"
    cached = CacheSettings(Path(cache or f"{output}.kept"), cache_frames == "jpeg", cache_limit * 1e9)
    compute = prepare(device, threads)
    with ExitStack() as stack:
        team = stack.enter_context(joined(compute.device))
        encoder = _encoder(model_to_train, team.device)
        built = _settings(encoder, model_to_train)
        # Decoding may take days: check the weights first.
        clip_digest = encoder.files.digest(encoder.runtime.remember)
        known = [clip_teachers.named(teacher) for teacher in teachers]
        for spec, path in known:
            clip_teachers.check(spec, path, frames, words)
        settings |= {"clip": clip_digest, "teachers": [f"{spec} {digest(path)}" for spec, path in known]}
        sampling, pixels = Sampling(fps=1.0, count=frames, clip=frames), encoder.pixels
        wanted = {item_of(caption) for files in (captions, validate) for caption in read_all(files)}
        decoded = decode_clips(
            team, inputs, wanted, cached, sampling, pixels, workers or compute.workers, report
        )  # fmt: skip
        footage = footage_of(captions, decoded, words, skip_missing, report)
        validated = footage_of(validate, decoded, words, skip_missing, report) if validate else None

        torch.manual_seed(seed)
        model, clip = _model(encoder, built, model_to_train, tower_rate == 0, team.device, report)
        tutors, columns = clip_teachers.tutors_of(
            stack, team, known, footage, clip_teachers.StartingClip(model_to_train.clip, weights), clip, pixels,
            clip_digest, cached.folder, report, None if engine is None else Workers(engine, device, threads),
        )  # fmt: skip
        seen: Footage | FrozenFootage = footage
        shown: Footage | FrozenFootage | None = validated
        if not tower_rate:
            origin = [clip_digest, built]
            seen = FrozenFootage.of(footage, model, origin, stack, team, cached.folder, report)
            if validated:
                shown = FrozenFootage.of(validated, model, origin, stack, team, cached.folder, report)
        pairs = footage.pairs
        settings = settings_of(settings, pairs)
        groups = parameter_groups(model.named_parameters(), learning_rate, tower_rate, weight_decay=weight_decay)
        lessons = Lessons(pairs, columns, seen.batch)
        kind = clip_teachers.KIND if isinstance(model, ClipTeacher) else "teachclip"
        description = {"kind": kind, "settings": built, "videos": [], "texts": [], "encoders": []}
        description["teachers"] = {Path(path).stem: clip_teachers.cost(path, frames, words) for _, path in known}
        trained = Training(
            # The schedule ends with the last epoch, so nothing stops earlier.
            Plan(output, settings, epochs, seed, precision, epochs, time_limit, str(tensorboard)),
            team,
            description,
            model,
            Contrast(model) if isinstance(model, ClipTeacher) else Teaching(model, tutors, recipe),
            optimizer_of(groups, settings),
            WarmupCosine(epochs),
            batches=lambda number: lessons.epoch(number, batch_size, seed, team.rank, team.size),
            steps=pairs.steps(batch_size, team.size),
            validation=ClipValidation(shown, metric) if shown else None,
            clip=1.0,
            report=report,
        ).run()
    return trained._replace(unreadable=tuple(sorted(decoded.failed)))


def _encoder(student: StudentSettings, device: str) -> OpenClip:
    """The CLIP model that the student is initialised from."""
    spec = student.clip
    known = spec.partition(":")[0].replace("_", "-") in ("clip", "open-clip")
    encoder: OpenClip | None = encoders.load(spec)(runtime(device, weights=student.weights)) if known else None
    if encoder is None or encoder.word_level or not is_plain(encoder.config):
        raise SpecError(
            f"--student {student.spec}: with clips, give clip, open-clip:NAME/TAG with plain transformer towers, or "
            f"one of {', '.join(registered.names())} to train a teacher"
        )
    text = encoder.config["text_cfg"]
    if max(student.words, student.frames) > text["context_length"]:
        raise SpecError(
            f"--words and --frames: at most {text['context_length']}, the number of positions of this CLIP model"
        )
    return encoder


def _settings(encoder: OpenClip, student: StudentSettings) -> dict[str, Any]:
    """The settings that rebuild the student."""
    config: dict[str, Any] = {
        key: encoder.config[key]
        for key in ("embed_dim", "quick_gelu", "vision_cfg", "text_cfg")
        if key in encoder.config
    }
    layers = min(LAYERS, int(config["text_cfg"]["layers"]))
    own: dict[str, Any]
    if student.is_teacher:
        own = {"teacher": student.spec.partition(":")[0], "settings": _of_teacher(student.spec, config, layers)}
    else:
        own = {
            "aggregate": student.aggregate,
            "temperature": student.pool_temperature,
            "masked": student.masked,
            "layers": layers,
        }
    return {
        "config": config,
        "frames": student.frames,
        "words": student.words,
        **own,
        "mean": list(encoder.mean),
        "std": list(encoder.std),
        "interpolation": encoder.pixels.interpolation,
    }


def _of_teacher(spec: str, config: dict[str, Any], layers: int) -> dict[str, Any]:
    """A teacher's parameters: from its spec, else those that allow initialising its header from CLIP's text tower."""
    build = registered.load(spec)
    every = parameters_of(build)
    fitting = {"layers": layers, "heads": header_heads(config), "positions": int(config["text_cfg"]["context_length"])}
    return {**every, **{key: value for key, value in fitting.items() if key in every}, **chosen_in(build)}


def _model(
    encoder: OpenClip, settings: dict[str, Any], student: StudentSettings, frozen: bool, device: str, report: Reporter
) -> tuple[ClipStudent | ClipTeacher, dict[str, torch.Tensor]]:
    """The initialised student, and the weights of its CLIP model.

    frozen  whether its towers are not trained
    """
    built = {key: value for key, value in settings.items() if key != "interpolation"}
    kind = ClipTeacher if student.is_teacher else ClipStudent
    model: ClipStudent | ClipTeacher = kind(**built, chunk=student.chunk)
    clip = {key: value.float() for key, value in encoder.files.read().items()}
    if not model.start(clip):
        report.note(
            "temporal header initialised at random: the width of CLIP's text tower differs from the embedding dimension"
        )
    model.freeze(towers=frozen)
    return model.to(device), clip
