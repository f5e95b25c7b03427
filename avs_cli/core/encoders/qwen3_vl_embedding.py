"""Qwen3-VL-Embedding (Li et al. 2026): a vision-language model that gives one vector for a shot or a text.

The vector is the last token's, at unit length; its first numbers are a shorter vector (`dim`), as it was trained with
Matryoshka representation learning. Prompts are those of the authors: an instruction, then the frames or the text.

Frames are one a second, from the first on, and the prompt has their times. They keep their proportions.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._transformers import FILES, PromptedEncoder, settings
from avs_cli.core.encoders.catalogue import Model
from avs_cli.errors import SpecError
from avs_cli.types import FittedPixels, Source

# The multiply-adds are those of 16 frames of 768 tokens.
MODELS = {
    "2b": Model(
        dim=2048,
        frames=16,
        text=True,
        parameters=2127.5,
        gmacs=23450.0,
        licence="Apache-2.0",
        source=Source(4.3, "Qwen/Qwen3-VL-Embedding-2B", FILES),
    ),
    "8b": Model(
        dim=4096,
        frames=16,
        text=True,
        parameters=8144.8,
        gmacs=66440.0,
        licence="Apache-2.0",
        source=Source(16.3, "Qwen/Qwen3-VL-Embedding-8B", FILES),
    ),
}
# The authors' instructions, of a shot and of a query.
OF_FRAMES = "Represent the user's input."
OF_TEXTS = "Find a video that contains the following visual content."
# Their limits: tokens of a text; frames of a video; tokens of a frame, and of all frames together.
MOST_TOKENS, MOST_FRAMES = 8192, 64
LEAST_OF_FRAME, MOST_OF_FRAME, MOST_OF_FRAMES = 128, 768, 15360
LEAST_DIM = 64


class Qwen3VlEmbedding(PromptedEncoder):
    """The model without its language head."""

    mean = std = (0.5, 0.5, 0.5)
    image_part = ("visual.", "language_model.")
    text_part = ("language_model.",)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The dimension, and the instructions."""
        return {"dim": self.dim, "instructions": [OF_FRAMES, OF_TEXTS]}

    @cached_property
    def config(self) -> Any:
        """The folder's configuration."""
        from transformers import Qwen3VLConfig

        return Qwen3VLConfig(**self.given)

    @cached_property
    def pixels(self) -> FittedPixels:  # type: ignore[override]
        """The whole frame, in whole patches."""
        given = {"patch_size": 16, "merge_size": 2, **settings(self.files, "video_processor")}
        side = given["patch_size"] * given["merge_size"]
        assert self.sampling.count is not None
        most = max(min(MOST_OF_FRAME, MOST_OF_FRAMES // self.sampling.count), LEAST_OF_FRAME)
        size = int(most**0.5) * side
        return FittedPixels(size, None, multiple=side, least=LEAST_OF_FRAME * side**2, most=most * side**2)

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors. Raises SpecError if the model has no vectors of the wanted length."""
        whole = int(self.config.text_config.hidden_size)
        if self.wanted is not None and not min(LEAST_DIM, whole) <= self.wanted <= whole:
            raise SpecError(f"{self.model}: dim={self.wanted} is not between {min(LEAST_DIM, whole)} and {whole}")
        return self.wanted or whole

    def build(self) -> nn.Module:
        """transformers' model."""
        from transformers import Qwen3VLModel

        return Qwen3VLModel(self.config)  # type: ignore[no-any-return]

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """The weights by their names in the network, which a language head may be around."""
        found = self.files.read(lambda key: key.removeprefix("model.").startswith(part))
        return {key.removeprefix("model."): tensor for key, tensor in found.items()}

    @cached_property
    def processor(self) -> Any:
        """Frames and texts to the network's inputs."""
        processor = super().processor
        # Frames have their size already; left at None, it warns of the sizes that it would give them.
        processor.video_processor.cap_pixels_per_frame = True
        return processor

    def prompt(self, instruction: str, content: Mapping[str, str]) -> str:
        """The conversation that the model is asked to represent."""
        system = {"role": "system", "content": [{"type": "text", "text": instruction}]}
        asked = [system, {"role": "user", "content": [content]}]
        text: str = self.processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        # Each frame of a video has its own start and end; transformers 5 keeps those around the whole video too, which
        # the model was trained without.
        start, video, end = (
            getattr(self.processor, f"{name}_token") for name in ("vision_start", "video", "vision_end")
        )
        return text.replace(f"{start}{video}{end}", video)

    def inputs(self, frames: np.ndarray) -> Any:
        """The network's inputs for frames of one second each; a single one is an image."""
        from transformers.video_utils import VideoMetadata

        still = len(frames) == 1
        prompt = self.prompt(OF_FRAMES, {"type": "image" if still else "video"})
        if still:
            given = {"images": [frames[0]], "images_kwargs": {"do_resize": False}}
        else:
            times = VideoMetadata(total_num_frames=len(frames), fps=1.0, frames_indices=list(range(len(frames))))
            chosen = {"do_sample_frames": False, "do_resize": False, "video_metadata": [times]}
            given = {"videos": [frames], "videos_kwargs": chosen}
        return self.processor(text=[prompt], return_tensors="pt", **given)

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        prompts = [self.prompt(OF_TEXTS, {"type": "text", "text": text}) for text in texts]
        tokens = self.processor.tokenizer(
            prompts, padding=True, padding_side="right", truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
        )
        return self.vectors(self.text_tower, tokens)

    def pooled(self, states: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """The states of the last tokens."""
        return states[torch.arange(len(states), device=states.device), there.sum(1) - 1]


def load(
    runtime: Runtime, variant: Literal["2b", "8b"] = "2b", dim: int | None = None, frames: int = 16
) -> Qwen3VlEmbedding:
    """Qwen3-VL-Embedding of this size.

    dim     length of the vectors, from 64 on (default: the whole vector)
    frames  frames of a shot at most, 1 to 64; more than 20 have fewer pixels each
    """
    if not 1 <= frames <= MOST_FRAMES:
        raise SpecError(f"qwen3-vl-embedding: frames={frames}: the model takes 1 to {MOST_FRAMES} frames")
    return Qwen3VlEmbedding(runtime, f"Qwen3-VL-Embedding {variant.upper()}", MODELS[variant].source, dim, frames)
