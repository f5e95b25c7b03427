"""BLIP ViT-B (Li et al. 2022, arXiv:2201.12086), fine-tuned for retrieval: joint image-text space, 256 dimensions.

The image-text contrastive half: [CLS] of each tower, projected, not normalised.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from avs_cli.core.encoders import Runtime, _lavis
from avs_cli.core.encoders.base import PublishedEncoder
from avs_cli.core.encoders.catalogue import Model
from avs_cli.types import Pixels, Source

MODELS = {
    "coco": Model(
        dim=256,
        text=True,
        parameters=223.7,
        gmacs=55.5,
        licence="BSD-3-Clause",
        source=Source(0.9, "Salesforce/blip-itm-base-coco"),
    ),
    "flickr": Model(
        dim=256,
        text=True,
        parameters=223.7,
        gmacs=55.5,
        licence="BSD-3-Clause",
        source=Source(0.9, "Salesforce/blip-itm-base-flickr"),
    ),
}

TOKENS, WORDS = 35, 40


class Blip(PublishedEncoder):
    """The two contrastive towers, from a Hugging Face folder or from Salesforce's own file."""

    has_text = True
    image_part = ("vision_model.", "vision_proj.")
    text_part = ("text_encoder.", "text_proj.")

    @cached_property
    def config(self) -> Any:
        """The folder's configuration, else that of the published ViT-B."""
        from transformers import BlipConfig

        given = self.files.json("config.json")
        # Without a folder: BERT's twelve heads, where transformers would take eight.
        config = BlipConfig(**given) if given else BlipConfig(text_config={"num_attention_heads": 12})
        # The model was trained with this; the published configuration has transformers' 1e-5.
        config.vision_config.layer_norm_eps = 1e-6
        return config

    @cached_property
    def pixels(self) -> Pixels:  # type: ignore[override]
        """The frame, resized to the square of the training."""
        return Pixels(size=self.config.vision_config.image_size, resize=None)

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return int(self.config.image_text_hidden_size)

    def build(self) -> nn.Module:
        """transformers' retrieval model."""
        from transformers import BlipForImageTextRetrieval

        return BlipForImageTextRetrieval(self.config)  # type: ignore[no-any-return]

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """The weights, with the names of transformers."""
        found = self.files.read(lambda key: _lavis.blip_name(key).startswith(part))
        return {_lavis.blip_name(key): tensor for key, tensor in found.items()}

    @cached_property
    def tokenizer(self) -> Any:
        """Texts to token ids."""
        return _lavis.tokenizer(self.files, self.model)

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to (B, dim)."""
        with self.autocast():
            states = self.image_tower.vision_model(pixel_values=pictures).last_hidden_state
        projected: torch.Tensor = self.image_tower.vision_proj(states[:, 0].float())
        return projected

    def embed_tokens(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(N, L) token ids and which of them are no padding, to (N, dim)."""
        with self.autocast():
            states = self.text_tower.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        projected: torch.Tensor = self.text_tower.text_proj(states[:, 0].float())
        return projected

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        tokens = self.tokenizer(
            [_lavis.caption(text, WORDS) for text in texts],
            padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt",
        ).to(self.runtime.device)  # fmt: skip
        return self.embed_tokens(tokens["input_ids"], tokens["attention_mask"])


def load(runtime: Runtime, variant: Literal["coco", "flickr"] = "coco") -> Blip:
    """BLIP fine-tuned for retrieval on COCO or Flickr30k."""
    return Blip(runtime, f"BLIP ViT-B ITM {variant}", MODELS[variant].source)
