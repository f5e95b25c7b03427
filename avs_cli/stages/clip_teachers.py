"""Teachers of a distillation from clips: published text-to-video models, or those that a distillation has trained."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avs_cli.core.encoders import encoders
from avs_cli.core.encoders.open_clip_models import OpenClip
from avs_cli.core.footprint import of_published
from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.student import normalised
from avs_cli.core.models.clip.towers import MEAN, STD, Towers, network_of
from avs_cli.core.models.settings import chosen_in
from avs_cli.core.models.teachers import teachers
from avs_cli.core.models.teachers.base import Teacher
from avs_cli.core.models.teachers.clip_teacher import check_teacher
from avs_cli.core.training.pairs import Column
from avs_cli.core.training.teaching import ModelTutor
from avs_cli.core.weights import NetworkWeights
from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.io.bounded_json import parsed
from avs_cli.io.frame_cache import FrameCache
from avs_cli.io.head_file import HEADER_BYTES, TRAINING, tensor_shapes
from avs_cli.io.weights import given
from avs_cli.provenance import digest
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.footage import Footage, clip_in, joined_parts, parts_of
from avs_cli.stages.runtime import runtime
from avs_cli.stages.team import Team
from avs_cli.stages.vector_cache import Elsewhere, Workers, cached_vectors, key_of
from avs_cli.types import Pixels

# The head kind in the file of a teacher trained on clips.
KIND = "clip-teacher"


def named(teacher: str) -> tuple[str, str]:
    """Spec and file of `NAME=FILE`, where the spec may have settings."""
    spec, _, path = teacher.rpartition("=")
    if not spec:
        raise SpecError(f"--teacher {teacher}: with clips, a teacher is NAME=FILE, such as xclip=xclip.safetensors")
    return spec, path


def check(spec: str, path: str, frames: int, words: int) -> None:
    """Check the file of a teacher before anything is decoded for it.

    Raises UnknownName for a name that is no teacher's, FormatError for a file without weights or with a damaged
    header, and MismatchError for weights of something else, or trained with other numbers of frames and words.
    """
    teachers.load(spec)
    description_in(given(Path(path)), spec, path)
    found = of_published(tensor_shapes(path), frames, words)
    if found and (found.frames, found.words) != (frames, words):
        raise MismatchError(f"{path} was trained with --frames {found.frames} --words {found.words}; use these options")


def cost(path: str, frames: int, words: int) -> dict[str, int]:
    """The cost of a search with a teacher."""
    found = of_published(tensor_shapes(path), frames, words)
    return dict(found.cost._asdict()) if found else {}


def description_in(files: NetworkWeights, spec: str, path: str) -> dict[str, Any]:
    """The settings in the file of a teacher that a distillation has trained; empty for published weights.

    Raises FormatError for a damaged header, MismatchError for other files of avs.
    """
    if "avs" not in files.header:
        return {}
    try:
        described = parsed(files.header["avs"], HEADER_BYTES)["head"]
        kind, settings = described["kind"], described["settings"]
    except (ValueError, LookupError, TypeError):
        raise FormatError(path, "its header is not that of a teacher") from None
    if kind != KIND:
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
    """A teacher on clips: a published model, or one that a distillation has trained."""

    def __init__(
        self,
        spec: str,
        path: str,
        frames: int,
        words: int,
        clip: Mapping[str, torch.Tensor],
        pixels: Pixels,
        device: str,
        report: Reporter = LOGGED,
    ):
        """frames, words  of a clip and of a caption
        clip           weights of the student's CLIP model, for tensors that the teacher's file lacks
        """
        build = teachers.load(spec)
        files = given(Path(path))
        trained = description_in(files, spec, path)
        # A file that a training goes on from holds a teacher too.
        state = {key: value for key, value in files.read().items() if not key.startswith(TRAINING)}
        build = partial(build, **{**trained.get("settings", {}), **chosen_in(build)})
        self.mean, self.std = trained.get("mean", MEAN), trained.get("std", STD)
        dim = checkpoints.dim_of({key: value.shape for key, value in state.items()}, spec)
        self.device = device
        with torch.device("meta"):
            numbers = sum(value.numel() for value in build(dim, frames, words).parameters())
        if numbers > sum(value.numel() for value in state.values()):
            raise MismatchError(f"{path}: not weights of {spec}, which has {numbers} of its own")
        self.teacher: Teacher = build(dim, frames, words)
        own = self.teacher.load_published(state)
        # Shifted blocks name their attention otherwise; run without the shift, as by TeachCLIP, they have CLIP's own.
        lacking = [key for key in clip if key not in own and f"{key.partition('.attn.')[0]}.ln_1.weight" in own]
        if lacking:
            report.note(f"{path}: lacks {len(lacking)} CLIP tensors, taken from the student instead")
        network = network_of({**{key: clip[key] for key in lacking}, **own}, trained.get("config"))
        self.towers: Towers = Towers(network, self.teacher.shifted)
        if (size := self.towers.network.visual.image_size[0]) != pixels.size:
            raise MismatchError(f"{path} takes images of {size} pixels, the student of {pixels.size}")
        for module in (self.teacher, self.towers):
            module.requires_grad_(False).eval().to(device)

    @torch.inference_mode()
    def texts(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """The teacher's arrays of captions, from their (C, W) tokens."""
        parts = []
        for some in parts_of(tokens):
            sentences, words = self.towers.texts(some.to(self.device))
            parts.append(self.teacher.embed_texts(sentences, words))
        return joined_parts(parts)

    @torch.inference_mode()
    def videos(self, cache: FrameCache, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """The teacher's arrays of the videos with these names, one by one, so that none depends on the others."""
        parts = []
        for name in names:
            pixels, there = (x.to(self.device) for x in clip_in(cache, name))
            frames = normalised(pixels, there, self.mean, self.std)[None]
            towers = self.towers
            seen = towers.tokens(frames) if self.teacher.takes == "tokens" else towers.frames(frames)
            parts.append(self.teacher.embed_videos(seen, there[None].float()))
        return joined_parts(parts)


def tutors_of(
    stack: ExitStack,
    team: Team,
    named_teachers: Sequence[tuple[str, str]],
    footage: Footage,
    start: "StartingClip",
    clip: Mapping[str, torch.Tensor],
    pixels: Pixels,
    clip_digest: str,
    folder: Path,
    report: Reporter = LOGGED,
    workers: Workers | None = None,
) -> tuple[list[ModelTutor], list[tuple[Column, Column]]]:
    """The tutors, and the cached columns of captions and videos; the teachers' towers are released.

    named_teachers  spec and file of each
    start           the student's CLIP model, and `clip` its weights, and their digest
    folder          of the cache
    workers         compute the columns instead of this process
    """
    tutors, columns = [], []
    frames, words = footage.frames(0)[0].shape[0], footage.tokens.shape[1]
    captions, items, names = footage.pairs.captions, footage.pairs.items, footage.names

    def tokens(which: np.ndarray) -> torch.Tensor:
        return footage.tokens[torch.from_numpy(which)]

    def named_videos(which: np.ndarray) -> list[str]:
        return [names[video] for video in which.tolist()]

    for spec, path in named_teachers:
        teacher = ModelTeacher(spec, path, frames, words, clip, pixels, team.device, report)
        # A teacher may take missing weights from the student's CLIP model.
        name = f"{spec.partition(':')[0]}-{key_of([spec, digest(path), clip_digest, footage.key()])}"
        model = ModelPass(spec, path, frames, words, start, pixels, footage.cache.folder, footage.cache.jpeg)
        texts = cached_vectors(
            stack, team, folder / f"{name}-texts.h5", captions, lambda which: teacher.texts(tokens(which)),  # noqa: B023
            report, workers and Elsewhere(workers, load_texts, model, tokens),
        )  # fmt: skip
        videos = cached_vectors(
            stack, team, folder / f"{name}-videos.h5", items,
            lambda which: teacher.videos(footage.cache, named_videos(which)),  # noqa: B023
            report, workers and Elsewhere(workers, load_videos, model, named_videos),
        )  # fmt: skip
        tutors.append(ModelTutor(teacher.teacher, texts.shapes, videos.shapes))
        columns.append((texts.column(), videos.column()))
    return tutors, columns


# On the workers of a cluster


class StartingClip(NamedTuple):
    """The spec of the CLIP model that a student is initialised from, and its local checkpoint."""

    spec: str
    weights: str | None

    def read(self, device: str) -> dict[str, torch.Tensor]:
        """Its weights, in float32."""
        encoder: OpenClip = encoders.load(self.spec)(runtime(device, weights=self.weights))
        return {key: value.float() for key, value in encoder.files.read().items()}


class ModelPass(NamedTuple):
    """What a worker loads to compute a teacher's vectors: the parameters of `ModelTeacher`, and the cache of frames."""

    spec: str
    path: str
    frames: int
    words: int
    start: StartingClip
    pixels: Pixels
    folder: Path
    jpeg: bool

    def teacher(self, device: str) -> ModelTeacher:
        """The teacher, on a device."""
        clip = self.start.read(device)
        return ModelTeacher(self.spec, self.path, self.frames, self.words, clip, self.pixels, device)


def load_texts(model: ModelPass, device: str) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """In a worker: what computes a teacher's arrays of captions, from their tokens."""
    return model.teacher(device).texts


def load_videos(model: ModelPass, device: str) -> Callable[[Sequence[str]], dict[str, torch.Tensor]]:
    """In a worker: what computes a teacher's arrays of videos, from their names in the cache of frames."""
    return partial(model.teacher(device).videos, FrameCache(model.folder, model.jpeg))
