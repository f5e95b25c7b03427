"""TeachCLIP's student (Tian et al. 2024, CVPR, pp. 17138-17147, arXiv:2308.01217): CLIP's two towers and an
aggregation of frames to one vector; CLIP4Clip (Luo et al., arXiv:2104.08860) as its baseline.

A video that is shorter than the frames it has room for is filled up with pictures of zeros, which as published count
like frames; `masked` leaves them out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from avs_cli.core.models.clip.temporal import LARGEST_SCALE, Student, Temporal, Watched
from avs_cli.core.models.clip.towers import MEAN, STD, UNBUILT, Towers, fill, freeze, is_plain
from avs_cli.core.models.layers import Watching, unit
from avs_cli.core.models.settings import LARGEST, LARGEST_NUMBER, checked_settings
from avs_cli.core.weights import misfits, shapes_of
from avs_cli.errors import MismatchError
from avs_cli.machine import give_memory_back

Aggregate = Literal["attention", "mean", "seqtransf"]
# Of OpenAI's CLIP: places of a text, and pieces of words.
POSITIONS, VOCABULARY = 77, 49408


def normalised(
    pictures: torch.Tensor, there: torch.Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD
) -> torch.Tensor:
    """(N, S, S, 3) uint8 to (N, 3, S, S) float32; zeros where `there` (N,) is not."""
    centre, width = (torch.tensor(value, device=pictures.device).view(3, 1, 1) for value in (mean, std))
    scaled = (pictures.permute(0, 3, 1, 2).to(torch.float32) / 255 - centre) / width
    return scaled * there.to(scaled.dtype).view(-1, 1, 1, 1)


class ClipBatch(NamedTuple):
    """N captions and their V videos, of which several captions may have one.

    frames  (V, F, S, S, 3) uint8; or (V, F, D) what a frozen tower made of them
    there   (V, F) which of them are frames
    texts   (N, W) token ids; or (N, D) what a frozen tower made of them
    place   (N,) the video of each caption, as a row of `frames`
    items   (N,) the same, as a number that is the video's own
    """

    frames: torch.Tensor
    there: torch.Tensor
    texts: torch.Tensor
    place: torch.Tensor
    items: torch.Tensor


class ClipModel(nn.Module):
    """CLIP's two towers, below what learns from clips.

    config  open_clip's architecture
    tokens  whether a frame is seen as the vectors of its patches too
    chunk   frames per gradient-checkpointing chunk of the image tower; 0 disables checkpointing
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        frames: int,
        words: int,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        chunk: int = 0,
        shifted: Sequence[int] = (),
        tokens: bool = False,
    ):
        import open_clip

        super().__init__()
        self.frames, self.words, self.chunk = frames, words, chunk
        self.mean, self.std, self.tokens = mean, std, tokens
        self.towers = Towers(open_clip.CLIP(**deepcopy(dict(config))), shifted)

    def begin_epoch(self) -> None:
        """Nothing changes."""

    def take(self, clip: Mapping[str, torch.Tensor]) -> None:
        """CLIP's weights for the towers."""
        own = self.towers.network.state_dict()
        fill(self.towers.network, {key: value for key, value in clip.items() if key in own}, "the student's CLIP")

    def freeze(self, towers: bool) -> None:
        """Fix what is not trained: CLIP's embeddings; or both towers."""
        freeze(self.towers.network)
        if towers:
            self.towers.requires_grad_(False)

    def frame_vectors(self, frames: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(V, F, S, S, 3) uint8 to (V, F, D); to (V, F, 1 + P, D) with `tokens`."""
        pictures, counted = frames.flatten(0, 1), there.flatten()
        # Where frames look at their neighbours, videos stay whole.
        least = frames.shape[1] if self.towers.shifted else 1
        size = max(1, self.chunk // least) * least if self.chunk else len(pictures)
        again = bool(self.chunk) and torch.is_grad_enabled()
        parts = []
        for low in range(0, len(pictures), size):
            part = pictures[low : low + size], counted[low : low + size], frames.shape[1]
            parts.append(checkpoint(self._seen, *part, use_reentrant=False) if again else self._seen(*part))
        return torch.cat(parts).unflatten(0, frames.shape[:2])  # type: ignore[no-untyped-call, no-any-return]

    def _seen(self, pictures: torch.Tensor, there: torch.Tensor, count: int) -> torch.Tensor:
        # Also in the backward pass, where what the chunk before needed has just become free.
        if self.chunk and pictures.device.type == "cpu":
            give_memory_back()
        shown = normalised(pictures, there, self.mean, self.std)
        shown = shown.view(-1, count, *shown.shape[1:]) if self.towers.shifted else shown[None]
        tower = self.towers.tokens if self.tokens else self.towers.frames
        return tower(shown).flatten(0, 1)

    def sentences(self, texts: torch.Tensor) -> torch.Tensor:
        """(N, W) token ids to what the text tower makes of each, floating-point numbers; such stay as they are."""
        raise NotImplementedError

    def embed_texts(self, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        """(N, W) token ids, or what `sentences` gives, to arrays whose rows are texts."""
        raise NotImplementedError

    def embed_videos(self, frames: torch.Tensor, there: torch.Tensor) -> dict[str, torch.Tensor]:
        """Frames, or what `frame_vectors` gives, to arrays whose rows are videos."""
        raise NotImplementedError

    def scores(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(N, M) of every text with every video, without the scale."""
        raise NotImplementedError


class ClipStudent(ClipModel):
    """Two towers and what makes one vector of frames.

    aggregate  "attention" over what the temporal header gives (TeachCLIP); its "seqtransf" mean, or the plain "mean" of
               the frames (CLIP4Clip)
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        frames: int,
        words: int,
        aggregate: Aggregate = "attention",
        layers: int = 4,
        temperature: float = 0.1,
        masked: bool = False,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        chunk: int = 0,
    ):
        super().__init__(config, frames, words, mean, std, chunk)
        text = config["text_cfg"]
        self.student = Student(
            int(config["embed_dim"]),
            int(text["context_length"]),
            layers,
            header_heads(config),
            "meanp" if aggregate == "mean" else "seqtransf",
            "attention" if aggregate == "attention" else "mean",
            temperature,
            masked=masked,
        )

    def start(self, clip: Mapping[str, torch.Tensor]) -> bool:
        """Take CLIP's weights; whether the header could take those of the text tower, which must be as wide."""
        self.take(clip)
        with torch.no_grad():
            self.student.logit_scale.copy_(self.towers.network.logit_scale.clamp(max=LARGEST_SCALE))
        return start_header(self.student.temporal, clip, self.towers.dim)

    def freeze(self, towers: bool) -> None:
        """CLIP's scale too, which is the student's now."""
        super().freeze(towers)
        self.towers.network.logit_scale.requires_grad = False

    def watched(self, frames: torch.Tensor, there: torch.Tensor) -> Watched:
        """Of frames, or of their vectors."""
        vectors = frames if frames.dim() == 3 else self.frame_vectors(frames, there)
        watched: Watched = self.student(vectors, there)
        return watched

    def sentences(self, texts: torch.Tensor) -> torch.Tensor:
        """(N, W) token ids to (N, D); vectors stay."""
        return texts if texts.is_floating_point() else self.towers.texts(texts)[0]

    def embed_texts(self, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        """Unit vectors."""
        return {"vector": unit(self.sentences(texts))}

    def embed_videos(self, frames: torch.Tensor, there: torch.Tensor) -> dict[str, torch.Tensor]:
        """Unit vectors."""
        return {"vector": unit(self.watched(frames, there).vectors)}

    def scores(self, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Cosines."""
        return texts["vector"] @ videos["vector"].T

    def watch(self, batch: ClipBatch) -> Watching:
        """What it makes of a batch, videos once each."""
        self.student.limit_scale()
        frames, there, texts, place, items = (x.to(self.student.logit_scale.device) for x in batch)
        seen = self.watched(frames, there)
        logits = None if seen.logits is None else seen.logits[place]
        scale = self.student.logit_scale.exp()
        return Watching(unit(self.sentences(texts)), unit(seen.vectors)[place], logits, items, scale)


def check_student(settings: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises MismatchError unless settings from a file build a student, and one whose weights have these shapes."""
    check_model("a student", ClipStudent, ("config", "frames", "words"), settings, shapes)


def check_model(
    who: str, kind: type[ClipModel], needed: Sequence[str], settings: Any, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises MismatchError unless settings from a file build a model, and one whose weights have these shapes.

    It is built without memory: what a file claims may be more than there is. Only what OpenAI's CLIP has may be set, as
    open_clip would fetch and run much else.

    needed  the settings that it cannot be without
    """
    if not isinstance(settings, Mapping):
        raise MismatchError("its settings are not an object")
    given = {key: value for key, value in settings.items() if key != "interpolation"}
    checked_settings(who, given, kind.__init__)
    for key in needed:
        if key not in given:
            raise MismatchError(f"it lacks {key!r}")
    config = given["config"]
    text = config.get("text_cfg")
    if not is_plain(config) or not all(_is_size(value) for value in _leaves(config)):
        raise MismatchError("its config is not that of two plain transformers")
    most = text.get("context_length", POSITIONS)
    if not (1 <= given["frames"] <= most and 2 <= given["words"] <= most):
        raise MismatchError(f"{given['frames']} frames and {given['words']} words; at most {most}")
    if text.get("vocab_size", VOCABULARY) < VOCABULARY:
        raise MismatchError(f"its vocabulary has {text['vocab_size']} tokens, CLIP's {VOCABULARY}")
    for key in ("mean", "std"):
        channels = given.get(key, MEAN)
        if len(channels) != 3 or not all(isinstance(x, int | float) and math.isfinite(x) and x > 0 for x in channels):
            raise MismatchError(f"{key} {channels!r:.40} must have three channels")
    if settings.get("interpolation", "bicubic") not in ("bicubic", "bilinear"):
        raise MismatchError(f"interpolation {settings['interpolation']!r:.40} is neither bicubic nor bilinear")
    try:
        with torch.device("meta"):
            own = shapes_of(kind(**given).state_dict())
    except UNBUILT as error:
        raise MismatchError(f"its settings do not make {who} ({' '.join(str(error).split())})") from None
    for key, needed_shape, shape in misfits(own, shapes):
        raise MismatchError(f"{key!r} is {shape}, and its settings say {needed_shape}")


def _leaves(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield key, value


def _is_size(leaf: tuple[str, Any]) -> bool:
    """Whether a value of an architecture is a number or a switch that a network may have."""
    key, value = leaf
    if isinstance(value, bool):
        return key == "quick_gelu"
    most = LARGEST.get(key, LARGEST_NUMBER)
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= most


def header_heads(config: Mapping[str, Any]) -> int:
    """Heads of a temporal header: CLIP's own text blocks become the header's, so it has as many as they, if it can."""
    dim, text = int(config["embed_dim"]), config["text_cfg"]
    return int(text["heads"]) if int(text["width"]) == dim else max(1, dim // 64)


def start_header(temporal: Temporal | None, clip: Mapping[str, torch.Tensor], dim: int) -> bool:
    """Whether a header, if there is one, could take the weights of the text tower, which must be as wide."""
    if temporal is None:
        return True
    fits = clip["positional_embedding"].shape[1] == dim
    if fits:
        temporal.start_from_text(clip)
    return fits
