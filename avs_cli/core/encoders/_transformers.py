"""What the encoders of recent versions of transformers share: the version, and the settings of published processors."""

import importlib.metadata
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import nn

from avs_cli.core.encoders.base import PublishedEncoder
from avs_cli.core.weights import NetworkWeights
from avs_cli.errors import FormatError, UnavailableError
from avs_cli.types import Pixels

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


def unit(vectors: torch.Tensor, dim: int) -> torch.Tensor:
    """The first `dim` numbers of each row, at unit length."""
    return nn.functional.normalize(vectors[:, :dim].float(), dim=-1)


class ProcessedEncoder(PublishedEncoder):
    """An encoder of square frames, prepared as the folder's processor does.

    part   the processor that prepares the frames
    usual  its settings in the published models
    most   maximum tokens of a text
    """

    has_text = True
    part = "video_processor"
    usual: Mapping[str, Any]
    most: int

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
