"""X-CLIP (Ni et al. 2022, arXiv:2208.02816): CLIP with cross-frame attention, one vector per 8 frames."""

from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.base import IMAGENET_MEAN, IMAGENET_STD, PublishedEncoder, grouped
from avs_cli.core.encoders.catalogue import Model
from avs_cli.errors import FormatError, UnavailableError
from avs_cli.types import Pixels, Sampling, Source

MODELS = {
    "large": Model(
        dim=768,
        frames=8,
        text=True,
        parameters=575.7,
        gmacs=650.2,
        licence="MIT",
        source=Source(2.3, "microsoft/xclip-large-patch14"),
    ),
    "base": Model(
        dim=512,
        frames=8,
        text=True,
        parameters=196.6,
        gmacs=35.8,
        licence="MIT",
        source=Source(0.79, "microsoft/xclip-base-patch32"),
    ),
}


class MicrosoftXClip(PublishedEncoder):
    """A shot's frames, evenly spread, and text, in one space."""

    mean, std = IMAGENET_MEAN, IMAGENET_STD
    has_text = True
    image_part = ("vision_model.", "visual_projection.", "prompts_visual_", "mit.")
    text_part = ("text_model.", "text_projection.")

    @cached_property
    def config(self) -> Any:
        """The folder's configuration."""
        from transformers import XCLIPConfig

        return XCLIPConfig(**(self.files.json("config.json") or {}))

    @cached_property
    def sampling(self) -> Sampling:  # type: ignore[override]
        """As many frames as the model was made for."""
        count = self.config.vision_config.num_frames
        return Sampling(fps=None, count=count, clip=count)

    @cached_property
    def pixels(self) -> Pixels:  # type: ignore[override]
        """The centre of the frame."""
        size = self.config.vision_config.image_size
        return Pixels(size, size, "bilinear")

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return int(self.config.projection_dim)

    def build(self) -> nn.Module:
        """transformers' model."""
        from transformers import XCLIPModel

        return XCLIPModel(self.config)  # type: ignore[no-any-return]

    @cached_property
    def tokenizer(self) -> Any:
        """Texts to token ids."""
        try:
            return self.files.tokenizer()
        except FormatError:
            raise UnavailableError(
                f"{self.model} encodes text with a tokenizer, which does not lie with the weights in {self.files.root}"
            ) from None

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B * clip, 3, S, S) to (B, dim)."""
        clips = grouped(pictures, self.sampling.clip)
        with self.autocast():
            vectors: torch.Tensor = self.image_tower.get_video_features(pixel_values=clips).pooler_output
        return vectors

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        tokens = tokens.to(self.runtime.device)
        with self.autocast():
            vectors: torch.Tensor = self.text_tower.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).pooler_output
        return vectors


def load(runtime: Runtime, variant: Literal["large", "base"] = "large") -> MicrosoftXClip:
    """X-CLIP of ViT-L/14 or ViT-B/32, 8 frames."""
    return MicrosoftXClip(runtime, f"X-CLIP {variant}", MODELS[variant].source)
