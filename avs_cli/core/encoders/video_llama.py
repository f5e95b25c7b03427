"""Video-LLaMA's visual branch (Zhang et al. 2023, arXiv:2306.02858): 8 frames per shot, 768 dimensions.

EVA ViT-g and the Q-Former of BLIP-2 encode each frame; a video Q-Former combines the frames with position embeddings.
The vector is the mean of its 32 queries (`reduce=mean`), the first one (`first`), or the mean of the frames' queries
before it (`qformer-mean`).

The weights are in three files (the tower's, the Q-Former's, the video part's), or in a Hugging Face folder of BLIP-2
with the third beside it.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from avs_cli.core.encoders import Runtime, _lavis
from avs_cli.core.encoders.base import PublishedEncoder, grouped
from avs_cli.core.encoders.catalogue import Model
from avs_cli.errors import SpecError
from avs_cli.types import Pixels, Sampling, Source

LAVIS = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2/"
DAMO = "https://huggingface.co/DAMO-NLP-SG/Video-LLaMA-Series/resolve/main/"
MODELS = {
    "": Model(
        dim=768,
        frames=8,
        parameters=1110.1,
        gmacs=2135.0,
        licence="research, non-commercial",
        source=Source(
            2.7,
            urls=(
                LAVIS + "eva_vit_g.pth",
                LAVIS + "blip2_pretrained_flant5xxl.pth",
                DAMO + "finetune-vicuna7b-v2.pth",
            ),
        ),
    ),
}

PLACES = 32


class Network(nn.Module):
    """The parts under the names that the weights have after `lavis_name`."""

    def __init__(self, vision: Any, qformer: Any, queries: int, video_qformer: Any, video_queries: int, places: int):
        from transformers import Blip2QFormerModel, Blip2VisionModel

        super().__init__()
        self.vision_model = Blip2VisionModel(vision)
        self.vision_model.post_layernorm.eps = 1e-5
        self.qformer = Blip2QFormerModel(qformer)
        self.query_tokens = nn.Parameter(torch.zeros(1, queries, qformer.hidden_size))
        self.video_qformer = Blip2QFormerModel(video_qformer)
        self.video_query_tokens = nn.Parameter(torch.zeros(1, video_queries, video_qformer.hidden_size))
        self.video_frame_position_embedding = nn.Embedding(places, qformer.hidden_size)

    def frame_queries(self, states: torch.Tensor) -> torch.Tensor:
        """(F, tokens, width) of the tower to (F, Q, H)."""
        tokens = self.query_tokens.expand(len(states), -1, -1)
        found: torch.Tensor = self.qformer(query_embeds=tokens, encoder_hidden_states=states).last_hidden_state
        return found

    def video_queries(self, queries: torch.Tensor) -> torch.Tensor:
        """(B, T, Q, H) of the frames to (B, V, H)."""
        places = self.video_frame_position_embedding.weight[: queries.shape[1]]
        states = (queries + places[:, None]).flatten(1, 2)
        tokens = self.video_query_tokens.expand(len(states), -1, -1)
        found: torch.Tensor = self.video_qformer(query_embeds=tokens, encoder_hidden_states=states).last_hidden_state
        return found


class VideoLlama(PublishedEncoder):
    """Maps evenly spaced frames of a shot to one vector."""

    def __init__(self, runtime: Runtime, model: str, source: Source, frames: int, reduce: str):
        super().__init__(runtime, model, source)
        self.sampling = Sampling(fps=None, count=frames, clip=frames)
        self.reduce = reduce

    @property
    def settings(self) -> Mapping[str, Any]:
        """The reduction of queries."""
        return {"reduce": self.reduce}

    @cached_property
    def config(self) -> Any:
        """The folder's configuration of BLIP-2, else that of the published model."""
        from transformers import Blip2Config

        given = self.files.json("config.json")
        return Blip2Config(**given) if given else Blip2Config()

    @cached_property
    def pixels(self) -> Pixels:  # type: ignore[override]
        """The frame squashed to the square that the model was trained on."""
        return Pixels(size=self.config.vision_config.image_size, resize=None)

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return int(self.config.qformer_config.hidden_size)

    def build(self) -> nn.Module:
        """The network that fits the configuration and the weights' shapes."""
        from transformers import Blip2QFormerConfig

        image: Any = self.config.qformer_config
        image.use_qformer_text_input = False
        video = Blip2QFormerConfig(
            **{**image.to_dict(), "num_hidden_layers": 2, "cross_attention_frequency": 1}
            | {"encoder_hidden_size": image.hidden_size}
        )
        sizes = self.files.read(lambda key: key in ("video_query_tokens", "video_frame_position_embedding.weight"))
        video_queries = sizes["video_query_tokens"].shape[1] if "video_query_tokens" in sizes else 32
        places = len(sizes.get("video_frame_position_embedding.weight", range(PLACES)))
        return Network(self.config.vision_config, image, self.config.num_query_tokens, video, video_queries, places)

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """The weights by the network's names; of BLIP-2's, language model and text side are left."""
        unused = ("t5_", "opt_", "llama_", "language_", "video_Qformer.cls", "Qformer.cls")
        found = self.files.read(lambda key: not key.startswith(unused))
        return _lavis.joined_biases({_lavis.lavis_name(key): tensor for key, tensor in found.items()})

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B * T, 3, S, S) to (B, dim)."""
        network = self.image_tower
        with self.autocast():
            states = network.vision_model(pixel_values=pictures).last_hidden_state
        queries = grouped(network.frame_queries(states.float()), self.sampling.clip)
        if self.reduce == "qformer-mean":
            return queries.mean((1, 2))
        found: torch.Tensor = network.video_queries(queries)
        return found.mean(1) if self.reduce == "mean" else found[:, 0]


def load(
    runtime: Runtime,
    frames: int = 8,
    reduce: Literal["mean", "first", "qformer-mean"] = "mean",
) -> VideoLlama:
    """Video-LLaMA's visual branch over `frames` frames (1 to 32)."""
    if not 1 <= frames <= PLACES:
        raise SpecError(f"video-llama: frames={frames}: the model has positions for 1 to {PLACES}")
    source = MODELS[""].source
    return VideoLlama(runtime, "Video-LLaMA vicuna7b-v2", source, frames, reduce)
