"""A teacher and the CLIP model below it, trained together on clips, as the authors do.

Weights are saved by the authors' names, and CLIP's by OpenAI's, so that a file can be read like the authors' own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.student import ClipModel, check_model, start_header
from avs_cli.core.models.clip.temporal import LARGEST_SCALE
from avs_cli.core.models.clip.towers import MEAN, STD
from avs_cli.core.models.settings import settings_for
from avs_cli.core.models.teachers import teachers
from avs_cli.errors import MismatchError

# Number of texts per batch of scores.
TEXTS = 64


class ClipTeacher(ClipModel):
    """CLIP's towers and a teacher on top; scores are scaled by CLIP's scale.

    teacher   name of the teacher
    settings  of the teacher, from its spec
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        frames: int,
        words: int,
        teacher: str,
        settings: Mapping[str, Any],
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        chunk: int = 0,
    ):
        built = teachers.load(teacher)(int(config["embed_dim"]), frames, words, **settings)
        super().__init__(config, frames, words, mean, std, chunk, built.shifted, built.takes == "tokens")
        self.teacher = built
        self.towers.network.logit_scale = built.logit_scale
        self._theirs = {ours: theirs for theirs, ours in teachers.module(teacher).PUBLISHED.items()}
        self.register_state_dict_post_hook(_publish)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_unpublish)  # type: ignore[no-untyped-call]

    def start(self, clip: Mapping[str, torch.Tensor]) -> bool:
        """Load CLIP's weights; returns whether the header could be initialised from the text tower (equal widths)."""
        self.take(clip)
        self.limit_scale()
        return start_header(getattr(self.teacher, "temporal", None), clip, self.towers.dim)

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Limit the scale to 100, after each training step."""
        self.teacher.logit_scale.clamp_(max=LARGEST_SCALE)

    def sentences(self, texts: torch.Tensor) -> torch.Tensor:
        """(N, W) token ids to (N, 1, D) sentences, or (N, 1 + W, D) with their words; vectors stay unchanged."""
        if texts.is_floating_point():
            return texts
        sentences, words = self.towers.texts(texts)
        return torch.cat([sentences[:, None], words if self.teacher.reads_words else words[:, :0]], 1)

    def embed_texts(self, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        """The arrays of the teacher."""
        vectors = _whole(self.sentences(texts))
        arrays: dict[str, torch.Tensor] = self.teacher.embed_texts(vectors[:, 0], vectors[:, 1:])
        return arrays

    def embed_videos(self, frames: torch.Tensor, there: torch.Tensor) -> dict[str, torch.Tensor]:
        """The arrays of the teacher; in training, noise is resampled for each video."""
        vectors = _whole(frames if frames.is_floating_point() else self.frame_vectors(frames, there))
        noise = torch.default_generator if self.training else None
        arrays: dict[str, torch.Tensor] = self.teacher.embed_videos(vectors, there.to(vectors.dtype), noise)
        return arrays

    def scores(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The scores of the teacher, without its scale."""
        count = len(next(iter(texts.values())))
        parts = [{key: x[low : low + TEXTS] for key, x in texts.items()} for low in range(0, count, TEXTS)]
        scale: torch.Tensor = self.teacher.logit_scale.exp()
        return torch.cat([self.teacher.similarities(part, videos) for part in parts]) / scale


def check_teacher(settings: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises MismatchError unless settings from a file build a teacher with weights of these shapes."""
    if isinstance(settings, Mapping):
        name = settings.get("teacher")
        if name not in teachers.names():
            raise MismatchError(f"{name!r:.40} is not a teacher")
        if not isinstance(own := settings.get("settings"), Mapping):
            raise MismatchError("it lacks the teacher's settings")
        settings_for("teacher", str(name), teachers, own)
    check_model("a teacher", ClipTeacher, ("config", "frames", "words", "settings"), settings, shapes)


def _whole(vectors: torch.Tensor) -> torch.Tensor:
    """Disable autocast: half precision is sufficient for the towers, not for differences of cosines."""
    return vectors.float() if vectors.dtype in (torch.bfloat16, torch.float16) else vectors


def _publish(model: nn.Module, state: dict[str, torch.Tensor], prefix: str, metadata: Any) -> None:
    """Rename from our names to the authors'; the shared scale is saved by CLIP's name only."""
    assert isinstance(model, ClipTeacher)
    for key in list(state):
        value, own = state.pop(key), key.removeprefix(prefix)
        if own.startswith("towers.network."):
            state[f"{prefix}clip.{own.removeprefix('towers.network.')}"] = value
        elif (own := own.removeprefix("teacher.")) != "logit_scale":
            state[f"{prefix}{checkpoints.renamed(own, model._theirs) or own}"] = value


def _unpublish(model: nn.Module, state: dict[str, torch.Tensor], prefix: str, *others: Any) -> None:
    """Rename from the authors' names to ours."""
    assert isinstance(model, ClipTeacher)
    ours = {theirs: own for own, theirs in model._theirs.items()}
    for key in list(state):
        value, own = state.pop(key), key.removeprefix(prefix)
        if own.startswith("clip."):
            state[f"{prefix}towers.network.{own.removeprefix('clip.')}"] = value
        else:
            state[f"{prefix}teacher.{checkpoints.renamed(own, ours) or own}"] = value
    state[f"{prefix}teacher.logit_scale"] = state[f"{prefix}towers.network.logit_scale"]
