"""What the encoders of recent versions of transformers share: the version, and the settings of published processors."""

import importlib.metadata
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.base import PublishedEncoder
from avs_cli.core.models.clip.sampling import counted
from avs_cli.core.weights import NetworkWeights
from avs_cli.errors import FormatError, UnavailableError
from avs_cli.types import Pixels, ProcessorSampling, Source

# Required files of a repository of transformers, with its tokenizer and chat template.
FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
# Where a folder has the settings of a processor, if not in processor_config.json; the first one counts.
OWN_FILES = {
    "image_processor": ("preprocessor_config.json",),
    "video_processor": ("video_preprocessor_config.json", "preprocessor_config.json"),
}
# Pillow's numbers of filters.
FILTERS = {2: "bilinear", 3: "bicubic"}


def require(model: str, needed: str, installed: str | None = None) -> None:
    """Raise UnavailableError if transformers is older than `needed`.

    installed  its version (default: that of the installed package)
    """
    found = installed or importlib.metadata.version("transformers")
    if _numbers(found) < _numbers(needed):
        raise UnavailableError(
            f"{model} needs transformers {needed} or newer, not {found}: pip install 'transformers>={needed}'"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def settings(files: NetworkWeights, part: str) -> Mapping[str, Any]:
    """The settings of the image or video processor of a folder; empty where it has none."""
    whole = files.json("processor_config.json") or {}
    return whole.get(part) or next(filter(None, map(files.json, OWN_FILES[part])), {})


class ProcessedEncoder(PublishedEncoder):
    """An encoder of square frames, prepared as the folder's processor does.

    part   the processor that prepares the frames
    usual  its settings in the published models
    """

    has_text = True
    part = "video_processor"
    usual: Mapping[str, Any]

    @cached_property
    def config(self) -> Any:
        """The model's configuration, with a `text_config`."""
        raise NotImplementedError

    @property
    def most(self) -> int:
        """Maximum tokens of a text."""
        return int(self.config.text_config.max_position_embeddings)

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return int(self.config.text_config.hidden_size)

    @cached_property
    def processing(self) -> Mapping[str, Any]:
        """The settings of the processor."""
        return {**self.usual, **settings(self.files, self.part)}

    @property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override]
        """Of the pixels, as the model was trained."""
        return tuple(self.processing["image_mean"]) if self.processing["do_normalize"] else (0.0, 0.0, 0.0)

    @property
    def std(self) -> tuple[float, ...]:  # type: ignore[override]
        """Of the pixels, as the model was trained."""
        return tuple(self.processing["image_std"]) if self.processing["do_normalize"] else (1.0, 1.0, 1.0)

    @cached_property
    def pixels(self) -> Pixels:  # type: ignore[override]
        """The frame, resized to the square of the training, or the square in its middle."""
        size, kernel = self.processing["size"], FILTERS.get(self.processing["resample"])
        if kernel and size.get("height") and size.get("height") == size.get("width"):
            return Pixels(size["height"], None, kernel)
        if kernel and size.get("shortest_edge") and self.processing.get("do_center_crop"):
            return Pixels(self.processing["crop_size"]["height"], size["shortest_edge"], kernel)
        raise FormatError(
            self.files.root, f"frames of size {size} by filter {self.processing['resample']} are not known"
        )

    @cached_property
    def tokenizer(self) -> Any:
        """Texts to token ids."""
        return self.files.tokenizer()

    def tokens(self, texts: list[str], padding: bool | str) -> Mapping[str, torch.Tensor]:
        """`input_ids` and `attention_mask` of N texts."""
        tokens = self.tokenizer(texts, padding=padding, truncation=True, max_length=self.most, return_tensors="pt")
        return {key: tokens[key].to(self.runtime.device) for key in ("input_ids", "attention_mask")}


class PromptedEncoder(PublishedEncoder):
    """A language model of frames, which keep their proportions, and of texts: one vector for a prompt with either.

    dim     length of the vectors, the first numbers of the model's, at unit length; None: that of the model's
    frames  frames of a shot, one a second, at most
    """

    has_text = True

    def __init__(self, runtime: Runtime, model: str, source: Source, dim: int | None, frames: int):
        super().__init__(runtime, model, source)
        self.wanted = dim
        self.sampling = ProcessorSampling(fps=1.0, count=frames, clip=frames)

    @cached_property
    def given(self) -> dict[str, Any]:
        """The folder's configuration. Raises FormatError for weights without one."""
        found = self.files.json("config.json")
        if found is None:
            raise FormatError(self.files.root, f"{self.model} is a Hugging Face folder with a config.json")
        return found

    @cached_property
    def processor(self) -> Any:
        """Frames and prompts to the network's inputs."""
        return self.files.processor()

    @torch.inference_mode()
    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """(B * clip, H, W, 3) uint8 to (B, dim) float32; each clip by itself, without repetitions of its last frame."""
        clips = frames.reshape(-1, self.sampling.clip, *frames.shape[1:])
        vectors = [self.vectors(self.image_tower, self.inputs(clip[counted(clip)])) for clip in clips]
        return np.asarray(torch.cat(vectors).cpu().numpy(), np.float32)

    def inputs(self, frames: np.ndarray) -> Any:
        """The network's inputs for the different frames of a shot, (F, H, W, 3) uint8."""
        raise NotImplementedError

    def vectors(self, network: Any, inputs: Any) -> torch.Tensor:
        """(N, dim) float32 of N inputs."""
        inputs = inputs.to(self.runtime.device)
        with self.autocast():
            states: torch.Tensor = network(**inputs).last_hidden_state
        pooled = self.pooled(states, inputs["attention_mask"])
        return nn.functional.normalize(pooled[:, : self.dim].float(), dim=-1)

    def pooled(self, states: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(N, D) of the states (N, L, D) of tokens, of which `there` (N, L) is 0 for padding."""
        raise NotImplementedError
