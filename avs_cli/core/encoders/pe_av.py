"""Perception Encoder, audio-visual (Vyas et al. 2025, arXiv:2512.19687): its video and text towers, in one space.

The sound of videos is not read, and the audio tower not loaded.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._transformers import FILES, ProcessedEncoder
from avs_cli.core.encoders.base import grouped
from avs_cli.core.encoders.catalogue import Model
from avs_cli.errors import SpecError
from avs_cli.types import ProcessorSampling, Source

MODELS = {
    "large-16": Model(
        dim=1024,
        frames=16,
        text=True,
        parameters=900.7,
        gmacs=3079.3,
        licence="Apache-2.0",
        source=Source(5.8, "facebook/pe-av-large-16-frame", FILES),
    ),
    "large": Model(
        dim=1024,
        frames=16,
        text=True,
        parameters=900.7,
        gmacs=3079.3,
        licence="Apache-2.0",
        source=Source(5.8, "facebook/pe-av-large", FILES),
    ),
}
PROCESSING = {
    "size": {"height": 336, "width": 336}, "resample": 2, "do_normalize": True,
    "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
}  # fmt: skip
# In a folder of the audio-visual model, the towers of videos and texts may be under the names of other parts, which
# share them.
SHARED = (("video_model.", ""), ("audio_video_encoder.embedder.video_encoder.", "video_encoder."))


def _own(key: str) -> str:
    for theirs, ours in SHARED:
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


class PeVideoTowers(nn.Module):
    """The parts of transformers' PeVideoModel, under its names: that one prints to stdout when it is built."""

    def __init__(self, config: Any):
        from transformers import AutoModel
        from transformers.models.pe_video.modeling_pe_video import PeVideoContrastiveHead, PeVideoEncoder

        super().__init__()
        width = config.text_config.hidden_size
        self.text_model = AutoModel.from_config(config.text_config)
        self.video_encoder = PeVideoEncoder(config.video_config)
        self.text_video_head = PeVideoContrastiveHead(width, width)
        self.video_head = PeVideoContrastiveHead(config.video_config.hidden_size, width)


class PeAv(ProcessedEncoder):
    """Evenly spaced frames of a shot, and text, in one space."""

    usual = PROCESSING
    most = 512
    image_part = ("video_encoder.", "video_head.")
    text_part = ("text_model.", "text_video_head.")

    def __init__(self, runtime: Runtime, model: str, source: Source, frames: int):
        super().__init__(runtime, model, source)
        self.sampling = ProcessorSampling(fps=None, count=frames, clip=frames)

    @cached_property
    def config(self) -> Any:
        """That of the video and text towers: the folder's, else that of the published large model."""
        from transformers import PeAudioVideoConfig, PeVideoConfig

        given = self.files.json("config.json") or {}
        own = given.get("model_type") == "pe_video"
        config: Any = PeVideoConfig(**given) if own else PeAudioVideoConfig(**given).video_config
        vision = config.video_config.vision_config
        # timm's name of this number, which transformers 5.24 does not read here.
        vision.num_labels = getattr(vision, "num_classes", vision.num_labels)
        return config

    def build(self) -> nn.Module:
        """Both towers and their heads."""
        return PeVideoTowers(self.config)

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """The weights by their names in the towers."""
        found = self.files.read(lambda key: _own(key).startswith(part))
        return {_own(key): tensor for key, tensor in found.items()}

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B * clip, 3, S, S) to (B, dim)."""
        network, clips = self.image_tower, grouped(pictures, self.sampling.clip)
        with self.autocast():
            vectors: torch.Tensor = network.video_head(network.video_encoder(pixel_values_videos=clips).pooler_output)
        return vectors

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        network = self.text_tower
        with self.autocast():
            states = network.text_model(**self.tokens(texts, True), output_hidden_states=True).hidden_states
            vectors: torch.Tensor = network.text_video_head(states[-1][:, 0])
        return vectors


def load(runtime: Runtime, variant: Literal["large-16", "large"] = "large-16", frames: int = 16) -> PeAv:
    """PE-AV over `frames` frames, evenly spaced from the first to the last one.

    variant  "large-16" was trained on 16 frames, "large" on all frames of a video
    """
    if frames < 1:
        raise SpecError(f"pe-av: frames={frames}: at least one frame is needed")
    return PeAv(runtime, f"PE-AV {variant}", MODELS[variant].source, frames)
