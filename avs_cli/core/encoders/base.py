"""The base class of encoders with published weights: lazy loading, and conversion of pixels to tensors."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from avs_cli.core.device import copied
from avs_cli.core.encoders import Runtime
from avs_cli.core.models.clip.towers import MEAN, STD
from avs_cli.core.weights import NetworkWeights, empty, fill
from avs_cli.types import Pixels, Sampling, Source

TEXTS = 64
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PublishedEncoder:
    """A frozen encoder; a subclass builds its network, names the tensors of its towers, and computes.

    model   the published model's name
    half    the 16-bit type in which this network is stable
    """

    pixels: Pixels | None
    sampling = Sampling()
    rows = 1
    pooling = "mean"
    has_text = False
    word_level = False
    dim: int
    half = torch.bfloat16
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    # Prefixes of the names of the tensors of each tower.
    image_part: tuple[str, ...] = ("",)
    text_part: tuple[str, ...] = ()

    def __init__(self, runtime: Runtime, model: str, source: Source):
        self.runtime, self.model, self.source = runtime, model, source

    @cached_property
    def files(self) -> NetworkWeights:
        """The weights on disk."""
        return self.runtime.reader.locate(self.source, self.runtime.weights, self.model)

    @property
    def sources(self) -> tuple[Path, ...]:
        """The weight files and their configurations."""
        return self.files.sources

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the spec that determine the vectors, besides the model."""
        return {}

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """Model, digest of its weights, normalisation of the pixels, precision, settings."""
        seen = {"mean": list(self.mean), "std": list(self.std)} if self.pixels else {}
        return {
            "model": self.model,
            "weights": self.files.digest(self.runtime.remember),
            "precision": self.precision,
            **seen,
            **self.settings,
        }

    # Towers are loaded on first use, since a search needs only the text tower.

    def build(self) -> nn.Module:
        """The network, with random weights."""
        raise NotImplementedError

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """The weights by their names in the network, at least those that begin with `part`."""
        return self.files.read(lambda key: key.startswith(part))

    @cached_property
    def network(self) -> Any:
        """The network, without weights."""
        with empty():
            return self.build().eval()

    @cached_property
    def image_tower(self) -> Any:
        """The network with the weights of the image tower."""
        return self._filled(self.image_part)

    @cached_property
    def text_tower(self) -> Any:
        """The network with the weights of the text tower."""
        return self._filled(self.text_part)

    def _filled(self, part: tuple[str, ...]) -> Any:
        network = self.network
        where: Path = self.files.root
        fill(network, self.tensors(part), where, self.runtime.device, part)
        return network

    # Computing

    @property
    def precision(self) -> str:
        """The precision of the towers: "fp32", "bf16" or "fp16"; weights, statistics and projections stay fp32."""
        if self.runtime.precision != "auto":
            return self.runtime.precision
        on_cpu = torch.device(self.runtime.device).type == "cpu"
        return "fp32" if on_cpu else "bf16" if self.half == torch.bfloat16 else "fp16"

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which matrix products and convolutions have the precision of the runtime."""
        if self.precision == "fp32":
            return nullcontext()
        kind = torch.device(self.runtime.device).type
        return torch.autocast(kind, torch.bfloat16 if self.precision == "bf16" else torch.float16)

    def tensor(self, frames: np.ndarray) -> torch.Tensor:
        """(N, S, S, 3) uint8 to (N, 3, S, S) float32, normalised, channels last in memory."""
        batch = torch.from_numpy(np.ascontiguousarray(frames))
        batch = copied(batch, self.runtime.device).permute(0, 3, 1, 2)
        mean, std = (torch.tensor(value, device=batch.device).view(3, 1, 1) for value in (self.mean, self.std))
        return batch.to(torch.float32).div_(255).sub_(mean).div_(std)

    @torch.inference_mode()
    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """(B * clip * crops, S, S, 3) uint8 to (B * rows, dim) float32."""
        return _array(self.embed(self.tensor(frames)))

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> np.ndarray:
        """N texts to (N, dim) float32."""
        parts = [_array(self.embed_text(texts[first : first + TEXTS])) for first in range(0, len(texts), TEXTS)]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *parts])

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B * clip * crops, 3, S, S) normalised to (B * rows, dim)."""
        raise NotImplementedError

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        raise NotImplementedError


def grouped(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """(N * size, ...) to (N, size, ...)."""
    return tensor.reshape(-1, size, *tensor.shape[1:])


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.asarray(tensor.float().cpu().numpy(), np.float32)
