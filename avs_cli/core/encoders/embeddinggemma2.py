"""EmbeddingGemma 2 (Google DeepMind 2026): one space for shots and texts in 100 languages, 768 dimensions.

The vector is the mean of the tokens', at unit length; its first 512, 256 or 128 numbers are a shorter vector (`dim`),
as it was trained with Matryoshka representation learning. Frames are one a second, and keep their proportions. Shots
have the prompt of documents, texts that of queries. The audio tower is not loaded.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._transformers import FILES, PromptedEncoder, require, settings
from avs_cli.core.encoders.catalogue import Model
from avs_cli.errors import SpecError
from avs_cli.types import FittedPixels, Source

MODELS = {
    "": Model(
        dim=768,
        frames=32,
        text=True,
        parameters=438.8,
        gmacs=9176.0,
        licence="Apache-2.0",
        source=Source(1.5, "google/embeddinggemma-2", FILES),
    ),
}
NEEDED = "5.21"
# The published prompts, of a shot and of a query.
OF_FRAMES, OF_TEXTS = "title: none | text: ", "task: search result | query: "
MOST_TOKENS, MOST_FRAMES = 8192, 32


class EmbeddingGemma2(PromptedEncoder):
    """The text encoder, with the vision tower before it."""

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    image_part = ("vision_tower.", "embed_vision.", "language_model.")
    text_part = ("language_model.",)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The dimension, and the prompts."""
        return {"dim": self.dim, "prompts": [OF_FRAMES, OF_TEXTS]}

    @cached_property
    def config(self) -> Any:
        """The folder's configuration, without the audio tower."""
        from transformers import EmbeddingGemma2Config

        return EmbeddingGemma2Config(**{**self.given, "audio_config": None})

    @cached_property
    def pixels(self) -> FittedPixels:  # type: ignore[override]
        """The whole frame, in whole groups of patches."""
        usual = {"patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": 140}
        given = {**usual, **settings(self.files, "video_processor")}
        side = given["patch_size"] * given["pooling_kernel_size"]
        size = int(given["max_soft_tokens"] ** 0.5) * side
        return FittedPixels(size, None, multiple=side, most=given["max_soft_tokens"] * side**2)

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return min(self.wanted or 768, int(self.config.text_config.embedding_dim))

    def build(self) -> nn.Module:
        """transformers' model."""
        from transformers import EmbeddingGemma2Model

        return EmbeddingGemma2Model(self.config)  # type: ignore[no-any-return]

    def inputs(self, frames: np.ndarray) -> Any:
        """The network's inputs for frames without their times."""
        chosen = {"do_sample_frames": False, "do_resize": False}
        text = OF_FRAMES + self.processor.video_token
        return self.processor(text=[text], videos=[frames], videos_kwargs=chosen, return_tensors="pt")

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        prompts = [OF_TEXTS + text for text in texts]
        tokens = self.processor.tokenizer(
            prompts, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
        )
        return self.vectors(self.text_tower, tokens)

    def pooled(self, states: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """The means over the tokens."""
        return (states.float() * there.unsqueeze(-1)).sum(1) / there.sum(1, keepdim=True)


def load(runtime: Runtime, dim: Literal[768, 512, 256, 128] = 768, frames: int = MOST_FRAMES) -> EmbeddingGemma2:
    """EmbeddingGemma 2 over at most `frames` frames (1 to 32) of a shot.

    dim  length of the vectors
    """
    require("embeddinggemma2", NEEDED)
    if runtime.precision == "fp16":
        raise SpecError("embeddinggemma2: its activations are too large for fp16; use --precision bf16 or fp32")
    if not 1 <= frames <= MOST_FRAMES:
        raise SpecError(f"embeddinggemma2: frames={frames}: the model takes 1 to {MOST_FRAMES} frames")
    return EmbeddingGemma2(runtime, "EmbeddingGemma 2", MODELS[""].source, dim, frames)
