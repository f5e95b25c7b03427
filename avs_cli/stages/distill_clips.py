"""`avs distill` on raw clips: student and teachers are built on CLIP."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avs_cli.console import note
from avs_cli.core.models.teachers import teachers
from avs_cli.errors import FormatError, IncompleteError, MismatchError, SpecError
from avs_cli.stages.clips import Footage, FrozenFootage, Keep, decoded, footage_of, token_parts
from avs_cli.stages.teachers import kept, key_of
from avs_cli.stages.training import Plan, Team, Training, optimizer_of, settings_of
from avs_cli.types import Pixels, Sampling

if TYPE_CHECKING:
    import numpy as np
    import torch

    from avs_cli.core.encoders.open_clip_models import OpenClip
    from avs_cli.core.models.clip.student import ClipModel, ClipStudent
    from avs_cli.core.models.teachers.base import Teacher
    from avs_cli.core.models.teachers.clip_teacher import ClipTeacher
    from avs_cli.core.training.distillation import Recipe
    from avs_cli.core.training.pairs import Column
    from avs_cli.core.training.teaching import ModelTutor
    from avs_cli.core.weights import NetworkWeights

# Captions, and videos, per block of the validation.
JUDGED = 8
# Blocks of the temporal header, initialised from CLIP's text tower.
LAYERS = 4
# The head kind in the file of a teacher trained on clips.
TEACHER = "clip-teacher"


class Clips(NamedTuple):
    """Settings of clips and student.

    inputs     videos, folders, shot tables
    student    the CLIP model that the student is initialised from; or a teacher, initialised from clip
    weights    a local checkpoint of them
    frames     maximum number per clip; words: maximum number of tokens per caption
    aggregate  frame aggregation; with the temperature of its attention, and whether padding is masked
    towers     learning rate of CLIP relative to that of the rest; 0 freezes both towers
    chunk      frames per gradient-checkpointing chunk
    """

    inputs: list[str]
    student: str
    weights: str | None
    frames: int
    words: int
    aggregate: Any
    temperature: float
    masked: bool
    towers: float
    chunk: int
    workers: int
    skip_missing: bool


class ClipJudge:
    """Text-to-video and video-to-text retrieval on validation captions."""

    def __init__(self, footage: Footage | FrozenFootage, metric: str):
        self.footage, self.metric = footage, metric

    def values(self, model: "ClipModel") -> dict[str, float]:
        """R@1, R@5 and R@10 in both directions, and their sum in percent."""
        from avs_cli.core.evaluation.captions import both_ways

        return both_ways(score_matrix(model, self.footage), self.footage.pairs.item)


def score_matrix(model: "ClipModel", footage: Footage | FrozenFootage) -> "torch.Tensor":
    """(C, V) scores; cosines for a student with one vector per clip."""
    import numpy as np
    import torch

    pairs = footage.pairs
    first = np.unique(pairs.item, return_index=True)[1]
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        videos = []
        for low in range(0, len(first), JUDGED):
            batch = footage.batch(first[low : low + JUDGED])
            videos.append(model.embed_videos(batch.frames.to(device), batch.there.to(device)))
        texts = [model.embed_texts(part.to(device)) for part in _written(footage)]
        return model.scores(_joined(texts), _joined(videos)).float().cpu()


def _written(footage: Footage | FrozenFootage) -> "list[torch.Tensor]":
    """All captions in batches: tokens, or their vectors."""
    import numpy as np

    every = np.arange(len(footage.pairs.captions))
    if isinstance(footage, FrozenFootage):
        return [footage.texts.take(every)["sentence"]]
    return token_parts(footage, every)


def _joined(parts: "Sequence[dict[str, torch.Tensor]]") -> "dict[str, torch.Tensor]":
    import torch

    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def run(
    stack: ExitStack,
    team: Team,
    plan: Plan,
    clips: Clips,
    captions: Sequence[str],
    validate: Sequence[str],
    taught_by: Sequence[str],
    recipe: "Recipe",
    keep: Keep,
) -> None:
    """Train a student on clips with the teachers `NAME=FILE` in `taught_by`, or on the captions only.

    Raises IncompleteError at the end when videos could not be read.
    """
    import torch

    from avs_cli.core.models.teachers.clip_teacher import ClipTeacher
    from avs_cli.core.training.bert_adam import WarmupCosine, parameter_groups
    from avs_cli.core.training.contrast import Contrast
    from avs_cli.core.training.teaching import Lessons, Teaching
    from avs_cli.io.text.captions import item_of, read_all
    from avs_cli.provenance import digest

    encoder, folder = _encoder(clips, team), keep.folder
    settings = _settings(encoder, clips)
    # Decoding may take days: check the weights first.
    begun = encoder.files.digest(encoder.runtime.remember)
    for spec, path in map(named, taught_by):
        _check(spec, path, clips)
    by = [f"{spec} {digest(path)}" for spec, path in map(named, taught_by)]
    sampling, pixels = Sampling(fps=1.0, count=clips.frames, clip=clips.frames), encoder.pixels
    wanted = {item_of(caption) for files in (captions, validate) for caption in read_all(files)}
    found = decoded(team, clips.inputs, wanted, keep, sampling, pixels, clips.workers)
    footage = footage_of(captions, found, clips.words, clips.skip_missing)
    judged = footage_of(validate, found, clips.words, clips.skip_missing) if validate else None

    torch.manual_seed(plan.seed)
    model, clip = _student(encoder, settings, clips, team.device)
    tutors, rows = _taught(stack, team, taught_by, footage, clip, pixels, begun, folder)
    made_by = [begun, settings]
    seen: Footage | FrozenFootage = footage
    shown: Footage | FrozenFootage | None = judged
    if not clips.towers:
        seen = FrozenFootage.of(footage, model, made_by, stack, team, folder)
        shown = FrozenFootage.of(judged, model, made_by, stack, team, folder) if judged else None
    decides = {**plan.settings, "towers": clips.towers, "clip": begun, "teachers": by}
    if keep.jpeg:
        decides["cache_frames"] = "jpeg"
    plan = replace(plan, settings=settings_of(decides, footage.pairs))
    groups = parameter_groups(
        model.named_parameters(),
        plan.settings["learning_rate"],
        clips.towers,
        weight_decay=plan.settings["weight_decay"],
    )
    size = plan.settings["batch_size"]
    lessons = Lessons(footage.pairs, rows, seen.batch)
    kind = TEACHER if isinstance(model, ClipTeacher) else "teachclip"
    described = {"kind": kind, "settings": settings, "videos": [], "texts": [], "encoders": []}
    described["teachers"] = {Path(path).stem: _cost(path, clips) for _, path in map(named, taught_by)}
    Training(
        plan,
        team,
        described,
        model,
        Contrast(model) if isinstance(model, ClipTeacher) else Teaching(model, tutors, recipe),
        optimizer_of(groups, plan.settings),
        WarmupCosine(plan.epochs),
        batches=lambda number: lessons.epoch(number, size, plan.seed, team.rank, team.size),
        steps=footage.pairs.steps(size, team.size),
        judge=ClipJudge(shown, plan.settings["metric"]) if shown else None,
        clip=1.0,
    ).run()
    if found.failed:
        raise IncompleteError(f"{plan.output}: trained without {len(found.failed)} unreadable videos")


def _encoder(clips: Clips, team: Team) -> "OpenClip":
    """The CLIP model that the student is initialised from."""
    from avs_cli.core.encoders import encoders
    from avs_cli.core.models.clip.towers import is_plain
    from avs_cli.stages.runtime import runtime

    spec = "clip" if is_teacher(clips.student) else clips.student
    known = spec.partition(":")[0].replace("_", "-") in ("clip", "open-clip")
    encoder: OpenClip | None = encoders.load(spec)(runtime(team.device, weights=clips.weights)) if known else None
    if encoder is None or encoder.word_level or not is_plain(encoder.config):
        raise SpecError(
            f"--student {clips.student}: with clips, give clip, open-clip:NAME/TAG with plain transformer towers, or "
            f"one of {', '.join(teachers.names())} to train a teacher"
        )
    text = encoder.config["text_cfg"]
    if max(clips.words, clips.frames) > text["context_length"]:
        raise SpecError(
            f"--words and --frames: at most {text['context_length']}, the number of positions of this CLIP model"
        )
    return encoder


def is_teacher(student: str) -> bool:
    """Whether the spec of a student names a teacher model."""
    return student.partition(":")[0] in teachers.names()


def _settings(encoder: "OpenClip", clips: Clips) -> dict[str, Any]:
    """The settings that rebuild the student."""
    config: dict[str, Any] = {
        key: encoder.config[key]
        for key in ("embed_dim", "quick_gelu", "vision_cfg", "text_cfg")
        if key in encoder.config
    }
    layers = min(LAYERS, int(config["text_cfg"]["layers"]))
    own: dict[str, Any]
    if is_teacher(clips.student):
        own = {"teacher": clips.student.partition(":")[0], "settings": _of_teacher(clips.student, config, layers)}
    else:
        own = {
            "aggregate": clips.aggregate,
            "temperature": clips.temperature,
            "masked": clips.masked,
            "layers": layers,
        }
    return {
        "config": config,
        "frames": clips.frames,
        "words": clips.words,
        **own,
        "mean": list(encoder.mean),
        "std": list(encoder.std),
        "interpolation": encoder.pixels.interpolation,
    }


def _of_teacher(spec: str, config: dict[str, Any], layers: int) -> dict[str, Any]:
    """A teacher's parameters: from its spec, else those that allow initialising its header from CLIP's text tower."""
    from avs_cli.core.models.clip.student import header_heads
    from avs_cli.core.models.settings import chosen_in, settings_of

    build = teachers.load(spec)
    every = settings_of(build)
    fitting = {"layers": layers, "heads": header_heads(config), "positions": int(config["text_cfg"]["context_length"])}
    return {**every, **{key: value for key, value in fitting.items() if key in every}, **chosen_in(build)}


def _student(
    encoder: "OpenClip", settings: dict[str, Any], clips: Clips, device: str
) -> "tuple[ClipStudent | ClipTeacher, dict[str, torch.Tensor]]":
    """The initialised student, and the weights of its CLIP model."""
    from avs_cli.core.models.clip.student import ClipStudent
    from avs_cli.core.models.teachers.clip_teacher import ClipTeacher

    built = {key: value for key, value in settings.items() if key != "interpolation"}
    kind = ClipTeacher if is_teacher(clips.student) else ClipStudent
    model: ClipStudent | ClipTeacher = kind(**built, chunk=clips.chunk)
    clip = {key: value.float() for key, value in encoder.files.read().items()}
    if not model.start(clip):
        note(
            "temporal header initialised at random: the width of CLIP's text tower differs from the embedding dimension"
        )
    model.freeze(towers=not clips.towers)
    return model.to(device), clip


def named(teacher: str) -> tuple[str, str]:
    """Spec and file of `NAME=FILE`, where the spec may have settings."""
    spec, _, path = teacher.rpartition("=")
    if not spec:
        raise SpecError(f"--teacher {teacher}: with clips, a teacher is NAME=FILE, such as xclip=xclip.safetensors")
    return spec, path


def _check(spec: str, path: str, clips: Clips) -> None:
    """Raises UnknownName for a name that is no teacher's, FormatError for a file without weights or with a damaged
    header, and MismatchError for weights of something else, or trained with other numbers of frames and words.
    """
    from avs_cli.core.footprint import of_published
    from avs_cli.io.head_file import tensor_shapes
    from avs_cli.io.weights import given

    teachers.load(spec)
    _told(given(Path(path)), spec, path)
    found = of_published(tensor_shapes(path), clips.frames, clips.words)
    if found and (found.frames, found.words) != (clips.frames, clips.words):
        raise MismatchError(f"{path} was trained with --frames {found.frames} --words {found.words}; use these options")


def _cost(path: str, clips: Clips) -> dict[str, int]:
    """The cost of a search with a teacher."""
    from avs_cli.core.footprint import of_published
    from avs_cli.io.head_file import tensor_shapes

    found = of_published(tensor_shapes(path), clips.frames, clips.words)
    return dict(found.cost._asdict()) if found else {}


def _taught(
    stack: ExitStack,
    team: Team,
    taught_by: Sequence[str],
    footage: Footage,
    clip: "dict[str, torch.Tensor]",
    pixels: Pixels,
    begun: str,
    folder: Path,
) -> "tuple[list[ModelTutor], list[tuple[Column, Column]]]":
    """The teachers' tutors and the cached columns of captions and videos; the teachers' towers are released."""
    from avs_cli.core.training.teaching import ModelTutor
    from avs_cli.provenance import digest

    tutors, rows = [], []
    for spec, path in map(named, taught_by):
        one = ModelTeacher(spec, path, footage, clip, pixels, team.device)
        # A teacher may take missing weights from the student's CLIP model.
        name = f"{spec.partition(':')[0]}-{key_of([spec, digest(path), begun, footage.key()])}"
        texts = kept(stack, team, folder / f"{name}-texts.h5", footage.pairs.captions, one.texts)
        videos = kept(stack, team, folder / f"{name}-videos.h5", footage.pairs.items, one.videos)
        tutors.append(ModelTutor(one.teacher, texts.shapes, videos.shapes))
        rows.append((texts.column(), videos.column()))
    return tutors, rows


def _told(files: "NetworkWeights", spec: str, path: str) -> dict[str, Any]:
    """The description in the file of a teacher trained by avs distill; empty for published weights.

    Raises FormatError for a damaged header, MismatchError for other files of avs.
    """
    from avs_cli.core.models.teachers.clip_teacher import check_teacher
    from avs_cli.io.bounded_json import parsed
    from avs_cli.io.head_file import HEADER_BYTES, TRAINING

    if "avs" not in files.header:
        return {}
    try:
        described = parsed(files.header["avs"], HEADER_BYTES)["head"]
        kind, settings = described["kind"], described["settings"]
    except (ValueError, LookupError, TypeError):
        raise FormatError(path, "its header is not that of a teacher") from None
    if kind != TEACHER:
        raise MismatchError(f"{path} is a head or a student, not a teacher trained on clips")
    try:
        check_teacher(settings, {key: shape for key, shape in files.shapes.items() if not key.startswith(TRAINING)})
    except MismatchError as error:
        raise FormatError(path, f"its header does not fit: {error}") from None
    name = spec.partition(":")[0]
    if settings["teacher"] != name:
        raise MismatchError(f"{path} holds the teacher {settings['teacher']}, not {name}; give --teacher "
                            f"{settings['teacher']}={path}")  # fmt: skip
    return dict(settings)


class ModelTeacher:
    """A teacher on clips: a published model, or one trained by `avs distill --student`."""

    def __init__(
        self, spec: str, path: str, footage: Footage, clip: "dict[str, torch.Tensor]", pixels: Pixels, device: str
    ):
        """clip  weights of the student's CLIP model, for tensors that the teacher's file lacks"""
        import torch

        from avs_cli.core.models.clip import checkpoints
        from avs_cli.core.models.clip.towers import MEAN, STD, Towers, network_of
        from avs_cli.core.models.settings import chosen_in
        from avs_cli.io.head_file import TRAINING
        from avs_cli.io.weights import given

        build = teachers.load(spec)
        files = given(Path(path))
        told = _told(files, spec, path)
        # A file that a training goes on from holds a teacher too.
        state = {key: value for key, value in files.read().items() if not key.startswith(TRAINING)}
        build = partial(build, **{**told.get("settings", {}), **chosen_in(build)})
        self.mean, self.std = told.get("mean", MEAN), told.get("std", STD)
        dim = checkpoints.dim_of({key: value.shape for key, value in state.items()}, spec)
        frames, words = footage.frames(0)[0].shape[0], footage.tokens.shape[1]
        self.footage, self.device = footage, device
        with torch.device("meta"):
            numbers = sum(value.numel() for value in build(dim, frames, words).parameters())
        if numbers > sum(value.numel() for value in state.values()):
            raise MismatchError(f"{path}: not weights of {spec}, which has {numbers} of its own")
        self.teacher: Teacher = build(dim, frames, words)
        own = self.teacher.load_published(state)
        # Shifted blocks name their attention otherwise; run without the shift, as by TeachCLIP, they have CLIP's own.
        lacking = [key for key in clip if key not in own and f"{key.partition('.attn.')[0]}.ln_1.weight" in own]
        if lacking:
            note(f"{path}: lacks {len(lacking)} CLIP tensors, taken from the student instead")
        network = network_of({**{key: clip[key] for key in lacking}, **own}, told.get("config"))
        self.towers: Towers = Towers(network, self.teacher.shifted)
        if (size := self.towers.network.visual.image_size[0]) != pixels.size:
            raise MismatchError(f"{path} takes images of {size} pixels, the student of {pixels.size}")
        for module in (self.teacher, self.towers):
            module.requires_grad_(False).eval().to(device)

    def texts(self, which: "np.ndarray") -> "dict[str, torch.Tensor]":
        """The teacher's arrays of captions."""
        import torch

        with torch.inference_mode():
            parts = []
            for tokens in token_parts(self.footage, which):
                sentences, words = self.towers.texts(tokens.to(self.device))
                parts.append(self.teacher.embed_texts(sentences, words))
            return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def videos(self, which: "np.ndarray") -> "dict[str, torch.Tensor]":
        """The teacher's arrays of videos, one by one, so that none depends on the others."""
        import torch

        from avs_cli.core.models.clip.student import normalised

        with torch.inference_mode():
            parts = []
            for place in which.tolist():
                frames, there = (x.to(self.device) for x in self.footage.frames(place))
                shown = normalised(frames, there, self.mean, self.std)[None]
                seen = self.towers.tokens(shown) if self.teacher.takes == "tokens" else self.towers.frames(shown)
                parts.append(self.teacher.embed_videos(seen, there[None].float()))
            return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
