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
from avs_cli.core.encoders._transformers import FILES, settings, unit
from avs_cli.core.encoders.base import PublishedEncoder
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.models.clip.sampling import counted
from avs_cli.errors import FormatError, SpecError
from avs_cli.types import FittedPixels, ProcessorSampling, Source

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


class Qwen3VlEmbedding(PublishedEncoder):
    """The model without its language head."""

    has_text = True
    mean = std = (0.5, 0.5, 0.5)
    image_part = ("visual.", "language_model.")
    text_part = ("language_model.",)

    def __init__(self, runtime: Runtime, model: str, source: Source, dim: int | None, frames: int):
        super().__init__(runtime, model, source)
        self.wanted = dim
        self.sampling = ProcessorSampling(fps=1.0, count=frames, clip=frames)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The dimension, and the instructions."""
        return {"dim": self.dim, "instructions": [OF_FRAMES, OF_TEXTS]}

    @cached_property
    def config(self) -> Any:
        """The folder's configuration."""
        from transformers import Qwen3VLConfig

        given = self.files.json("config.json")
        if given is None:
            raise FormatError(self.files.root, "qwen3-vl-embedding takes a Hugging Face folder with a config.json")
        return Qwen3VLConfig(**given)

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
        processor = self.files.processor()
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

    @torch.inference_mode()
    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """(B * clip, H, W, 3) uint8 to (B, dim) float32; each clip by itself, without repetitions of its last frame."""
        clips = frames.reshape(-1, self.sampling.clip, *frames.shape[1:])
        vectors = [self._embed(self._inputs(clip[counted(clip)]), self.image_tower) for clip in clips]
        return np.asarray(torch.cat(vectors).cpu().numpy(), np.float32)

    def _inputs(self, frames: np.ndarray) -> Any:
        """The network's inputs for 1 or more frames, one a second; a single one is an image."""
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
        return self._embed(tokens, self.text_tower)

    def _embed(self, inputs: Any, network: Any) -> torch.Tensor:
        """(N, dim) of unit length: the states of the last token of each input."""
        inputs = inputs.to(self.runtime.device)
        with self.autocast():
            states: torch.Tensor = network(**inputs).last_hidden_state
        last = inputs["attention_mask"].sum(1) - 1
        return unit(states[torch.arange(len(states), device=states.device), last], self.dim)


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
