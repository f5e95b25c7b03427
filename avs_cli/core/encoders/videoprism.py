"""VideoPrism LvT (Zhao et al. 2024, arXiv:2402.13217): joint video-text space, one vector per 16 or 8 frames."""

from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._transformers import FILES, ProcessedEncoder, require
from avs_cli.core.encoders.base import grouped
from avs_cli.core.encoders.catalogue import Model
from avs_cli.types import Sampling, Source

MODELS = {
    "large": Model(
        dim=1024,
        frames=8,
        text=True,
        parameters=579.9,
        gmacs=835.4,
        licence="Apache-2.0",
        source=Source(2.3, "google/videoprism-lvt-large-f8r288", FILES),
    ),
    "base": Model(
        dim=768,
        frames=16,
        text=True,
        parameters=247.6,
        gmacs=615.5,
        licence="Apache-2.0",
        source=Source(0.99, "google/videoprism-lvt-base-f16r288", FILES),
    ),
}
NEEDED = "5.13"
PROCESSING = {"size": {"height": 288, "width": 288}, "resample": 3, "do_normalize": False}


class VideoPrism(ProcessedEncoder):
    """A shot's frames, evenly spread, and text, in one space."""

    usual = PROCESSING
    image_part = ("video_model.",)
    text_part = ("text_model.",)

    @cached_property
    def config(self) -> Any:
        """The folder's configuration, else that of the published base model."""
        from transformers import VideoPrismConfig

        config = VideoPrismConfig(**(self.files.json("config.json") or {}))
        # The original caps the logits of attention, which only this implementation of transformers does.
        config._attn_implementation = "eager"
        return config

    @cached_property
    def sampling(self) -> Sampling:  # type: ignore[override]
        """As many frames as the model was made for."""
        count = self.config.vision_config.num_frames
        return Sampling(fps=None, count=count, clip=count)

    def build(self) -> nn.Module:
        """transformers' model."""
        from transformers import VideoPrismClipModel

        return VideoPrismClipModel(self.config)  # type: ignore[no-any-return]

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B * clip, 3, S, S) to (B, dim), of unit length."""
        clips = grouped(pictures, self.sampling.clip)
        with self.autocast():
            vectors: torch.Tensor = self.image_tower.get_video_features(pixel_values_videos=clips).pooler_output
        return vectors.flatten(0, -2)

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim), of unit length."""
        with self.autocast():
            vectors: torch.Tensor = self.text_tower.get_text_features(**self.tokens(texts, "max_length")).pooler_output
        return vectors


def load(runtime: Runtime, variant: Literal["large", "base"] = "large") -> VideoPrism:
    """VideoPrism LvT, large over 8 frames or base over 16, at 288 pixels."""
    require("videoprism", NEEDED)
    return VideoPrism(runtime, f"VideoPrism LvT {variant}", MODELS[variant].source)
