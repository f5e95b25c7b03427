"""TeachCLIP (Tian et al. 2024, CVPR, pp. 17138-17147, arXiv:2308.01217): one vector per shot or
sentence, from a student trained with `avs distill` or published by the authors (see `avs convert`).

Frames are sampled at 1 fps, at most as many as in training. The authors' files do not contain the numbers of words and
frames: they are 32 and 12 unless given.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.base import PublishedEncoder
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.sampling import counted
from avs_cli.core.models.clip.student import ClipStudent, check_student
from avs_cli.core.models.clip.towers import config_of, tokenise
from avs_cli.errors import FormatError, MismatchError, UnavailableError
from avs_cli.types import Pixels, Sampling, Source

MODELS = {
    "": Model(
        dim=512,
        frames=12,
        text=True,
        parameters=164.2,
        gmacs=53.1,
        licence="that of its CLIP model",
        source=Source(0, trained=True),
    ),
}

KIND = "teachclip"


class TeachClip(PublishedEncoder):
    """The student of one file."""

    has_text = True
    image_part = ("towers.network.visual.", "student.")

    def __init__(self, runtime: Runtime, frames: int, words: int):
        if runtime.weights is None:
            raise UnavailableError("teachclip needs a student trained with avs distill; give --weights FILE")
        super().__init__(runtime, "TeachCLIP", MODELS[""].source)
        self.wanted = {"frames": frames, "words": words}

    @cached_property
    def own(self) -> dict[str, Any] | None:
        """The description of the student; None for a file of the authors. Raises FormatError for other files."""
        try:
            head = json.loads(self.files.header.get("avs", "{}")).get("head")
            if head is None:
                return None
            kind, settings = head["kind"], head["settings"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise FormatError(self.files.root, "its header is not that of a student") from None
        if kind != KIND:
            raise FormatError(self.files.root, f"a head ({kind}), not a student trained on clips")
        # Files to resume from contain a student too.
        shapes = {key: shape for key, shape in self.files.shapes.items() if not key.startswith("training/")}
        try:
            check_student(settings, shapes)
        except MismatchError as error:
            raise FormatError(self.files.root, f"its header does not fit: {error}") from None
        return head  # type: ignore[no-any-return]

    @cached_property
    def described(self) -> dict[str, Any]:
        """The settings of the student."""
        if self.own is not None:
            return dict(self.own["settings"])
        state = self.published
        aggregate = "attention" if "student.attention.first.weight" in state else "seqtransf"
        aggregate = aggregate if "student.temporal.positions" in state else "mean"
        clip = {key.removeprefix("towers.network."): value for key, value in state.items()}
        layers = sum(key.startswith("student.temporal.") and key.endswith(".ln_1.weight") for key in state)
        return {"config": config_of(clip), **self.wanted, "aggregate": aggregate, "layers": layers}

    @cached_property
    def published(self) -> dict[str, torch.Tensor]:
        """The weights of the authors, renamed."""
        clip, own = checkpoints.parts(self.files.read(), checkpoints.STUDENT, "TeachCLIP")
        student = {f"student.{key}": value for key, value in own.items()}
        return {f"towers.network.{key}": value for key, value in clip.items()} | student

    @property
    def settings(self) -> Mapping[str, Any]:
        """Numbers of frames and words."""
        return {key: self.described[key] for key in ("frames", "words")}

    @cached_property
    def sampling(self) -> Sampling:  # type: ignore[override]
        """One frame per second."""
        return Sampling(fps=1.0, count=self.described["frames"], clip=self.described["frames"])

    @cached_property
    def pixels(self) -> Pixels:  # type: ignore[override]
        """The preprocessing of CLIP."""
        size = self.described["config"]["vision_cfg"]["image_size"]
        return Pixels(size, size, self.described.get("interpolation", "bicubic"))

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Dimension of the vectors."""
        return int(self.described["config"]["embed_dim"])

    def build(self) -> ClipStudent:
        """The towers and the student."""
        settings = {key: value for key, value in self.described.items() if key != "interpolation"}
        return ClipStudent(**settings)

    @cached_property
    def text_part(self) -> tuple[str, ...]:  # type: ignore[override]
        """All weights except those of the image tower."""
        return tuple(key for key in self.network.state_dict() if not key.startswith(self.image_part))

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """The weights by their names in the network."""
        found = super().tensors(part) if self.own is not None else self.published
        for name, value in found.items():
            if not value.is_floating_point():
                raise FormatError(self.files.root, f"weight {name!r} is {value.dtype}, not a floating-point number")
            if not value.float().isfinite().all():
                raise FormatError(self.files.root, f"weight {name!r} is NaN or infinite")
        return found

    @torch.inference_mode()
    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """(B * F, S, S, 3) uint8 to (B, dim) float32; padding of clips is masked."""
        clips = frames.reshape(-1, self.described["frames"], *frames.shape[1:])
        there = np.stack([counted(clip) for clip in clips])
        device = self.runtime.device
        with self.autocast():
            seen = self.image_tower.watched(torch.from_numpy(clips).to(device), torch.from_numpy(there).to(device))
        return np.asarray(seen.vectors.float().cpu().numpy(), np.float32)

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        tokens = tokenise(texts, self.described["words"]).to(self.runtime.device)
        with self.autocast():
            vectors: torch.Tensor = self.text_tower.sentences(tokens)
        return vectors


def load(runtime: Runtime, frames: int = 12, words: int = 32) -> TeachClip:
    """The student given by `--weights`; frames and words apply to the authors' weights only."""
    return TeachClip(runtime, frames, words)
