"""V-JEPA 2 ViT-L (Assran et al. 2025, arXiv:2506.09985): motion features of clips, 1024 dimensions."""

from functools import cached_property
from typing import Any

import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.base import IMAGENET_MEAN, IMAGENET_STD, PublishedEncoder, grouped
from avs_cli.core.encoders.catalogue import Model
from avs_cli.errors import SpecError
from avs_cli.types import Pixels, Sampling, Source

MODELS = {
    "": Model(
        dim=1024,
        frames=16,
        parameters=326.0,
        gmacs=827.9,
        licence="MIT",
        source=Source(1.5, "facebook/vjepa2-vitl-fpc64-256"),
    ),
}


class VJepa2(PublishedEncoder):
    """Clips of `frames` frames, `interval` apart, to the encoder's mean patch; the predictor is not loaded."""

    mean, std = IMAGENET_MEAN, IMAGENET_STD
    image_part = ("encoder.",)

    def __init__(self, runtime: Runtime, model: str, source: Source, frames: int, interval: int):
        super().__init__(runtime, model, source)
        self.sampling = Sampling(fps=None, clip=frames, interval=interval)

    @cached_property
    def config(self) -> Any:
        """The folder's configuration, else that of the published ViT-L."""
        from transformers import VJEPA2Config

        return VJEPA2Config(**(self.files.json("config.json") or {}))

    @cached_property
    def pixels(self) -> Pixels:  # type: ignore[override]
        """The centre of the frame; the short side is 8/7 of the crop."""
        size = self.config.crop_size
        return Pixels(size, int(size * 8 / 7), "bilinear")

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return int(self.config.hidden_size)

    def build(self) -> nn.Module:
        """transformers' model."""
        from transformers import VJEPA2Model

        return VJEPA2Model(self.config)  # type: ignore[no-any-return]

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B * clip, 3, S, S) to (B, dim)."""
        clips = grouped(pictures, self.sampling.clip)
        with self.autocast():
            patches: torch.Tensor = self.image_tower.get_vision_features(clips)
        return patches.float().mean(1)


def load(runtime: Runtime, frames: int = 16, interval: int = 4) -> VJepa2:
    """V-JEPA 2 over clips of `frames` frames (an even number), `interval` source frames apart."""
    if frames < 2 or frames % 2 or interval < 1:
        raise SpecError(f"vjepa2: frames={frames}, interval={interval}: frames must be even, interval at least 1")
    return VJepa2(runtime, "V-JEPA 2 ViT-L", MODELS[""].source, frames, interval)
