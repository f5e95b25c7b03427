"""Image encoders of timm: the pooled output before the classifier."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.base import PublishedEncoder
from avs_cli.core.encoders.catalogue import Model
from avs_cli.errors import FormatError
from avs_cli.types import Pixels, Source

# Required files of a repository of timm.
FILES = ("config.json", "model.safetensors")
LOADING = frozenset({"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"})


class Timm(PublishedEncoder):
    """A network of timm; with a folder of weights, its config.json determines the architecture."""

    def __init__(self, runtime: Runtime, name: str, source: Source):
        super().__init__(runtime, name, source)

    @cached_property
    def own_config(self) -> Mapping[str, Any]:
        """The config.json of a local folder: `architecture`, `model_args`, `pretrained_cfg`."""
        return (self.files.json("config.json") if self.runtime.weights is not None else None) or {}

    @cached_property
    def preprocessing(self) -> Mapping[str, Any]:
        """Size, crop, interpolation, mean and std of the pixels."""
        import timm.data

        given = self.own_config.get("pretrained_cfg") or timm.get_pretrained_cfg(self.model).to_dict()
        found: Mapping[str, Any] = timm.data.resolve_data_config({}, pretrained_cfg=given)
        return found

    @property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override]
        """Of the pixels, as the model was trained."""
        return tuple(self.preprocessing["mean"])

    @property
    def std(self) -> tuple[float, ...]:  # type: ignore[override]
        """Of the pixels, as the model was trained."""
        return tuple(self.preprocessing["std"])

    @cached_property
    def pixels(self) -> Pixels:  # type: ignore[override]
        """The input size of the training."""
        size = self.preprocessing["input_size"][-1]
        squash = self.preprocessing["crop_mode"] == "squash"
        resize = None if squash else int(size / self.preprocessing["crop_pct"])
        return Pixels(size, resize, self.preprocessing["interpolation"])

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Dimension of the vectors."""
        return int(self.network.num_features)

    def build(self) -> nn.Module:
        """The network without its classifier."""
        import timm

        name = self.own_config.get("architecture", self.model.partition(".")[0])
        arguments = self.own_config.get("model_args", {})
        # With these, timm would load other files, including pickles.
        if (
            not isinstance(name, str)
            or not timm.is_model(name)
            or not isinstance(arguments, dict)
            or LOADING & arguments.keys()
        ):
            raise FormatError(self.files.root, f"not an architecture of timm and its sizes alone: {name!r}")
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, **arguments)  # type: ignore[no-any-return]
        except (RuntimeError, TypeError) as error:
            raise FormatError(self.files.root, f"timm cannot build {name!r} ({error})") from None

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to (B, dim)."""
        with self.autocast():
            vectors: torch.Tensor = self.image_tower(pictures)
        return vectors


def named(runtime: Runtime, model: Model) -> Timm:
    """A published model."""
    return Timm(runtime, model.builds, model.source)
