"""BLIP-2 (Li et al. 2023, arXiv:2301.12597), contrastive (ITC) branch: joint image-text space, 256 dimensions.

A frame has 32 unit vectors, one per query of the Q-Former; the paper scores a text by the most similar one. `reduce`
selects their mean (`mean`), the first (`first`) or all of them (`none`); a search over all of them is the paper's.
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
    "pretrain": Model(
        dim=256,
        text=True,
        parameters=1172.0,
        gmacs=266.7,
        licence="MIT",
        source=Source(4.8, "Salesforce/blip2-itm-vit-g"),
    ),
    "coco": Model(
        dim=256,
        text=True,
        parameters=1172.6,
        gmacs=729.0,
        licence="MIT",
        source=Source(4.8, "Salesforce/blip2-itm-vit-g-coco"),
    ),
}

TOKENS, WORDS = 32, 50


class Blip2(PublishedEncoder):
    """EVA ViT-g with the Q-Former, from a Hugging Face folder or from LAVIS's own files."""

    has_text = True
    image_part = ("vision_model.", "query_tokens", "qformer.", "vision_projection.")
    text_part = ("embeddings.", "qformer.", "text_projection.")

    def __init__(self, runtime: Runtime, model: str, source: Source, size: int, reduce: str):
        super().__init__(runtime, model, source)
        self.size, self.reduce = size, reduce
        self.pooling = "none" if reduce == "none" else "mean"

    @property
    def settings(self) -> Mapping[str, Any]:
        """The reduction of queries."""
        return {"reduce": self.reduce}

    @cached_property
    def config(self) -> Any:
        """The folder's configuration, else that of the published model."""
        from transformers import Blip2Config

        given = self.files.json("config.json")
        config = Blip2Config(**given) if given else Blip2Config(vision_config={"image_size": self.size})
        # Early revisions write it "qformer_text_input"; without it the Q-Former has no layers for text.
        config.qformer_config.use_qformer_text_input = True
        return config

    @cached_property
    def pixels(self) -> Pixels:  # type: ignore[override]
        """The frame squashed to the square that the model was trained on."""
        return Pixels(size=self.config.vision_config.image_size, resize=None)

    @cached_property
    def rows(self) -> int:  # type: ignore[override]
        """Vectors per frame."""
        return int(self.config.num_query_tokens) if self.reduce == "none" else 1

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return int(self.config.image_text_hidden_size)

    def build(self) -> nn.Module:
        """transformers' retrieval model."""
        from transformers import Blip2ForImageTextRetrieval

        network: Any = Blip2ForImageTextRetrieval(self.config)
        network.vision_model.post_layernorm.eps = 1e-5  # LAVIS's, which is PyTorch's; transformers has 1e-6
        return network  # type: ignore[no-any-return]

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """The weights, with the names of transformers."""
        found = self.files.read(lambda key: _lavis.lavis_name(key).startswith(part))
        return _lavis.joined_biases({_lavis.lavis_name(key): tensor for key, tensor in found.items()})

    @cached_property
    def tokenizer(self) -> Any:
        """Texts to token ids."""
        return _lavis.tokenizer(self.files, self.model)

    def queries(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to (B, 32, dim), every query's vector of unit length."""
        with self.autocast():
            states = self.image_tower.vision_model(pixel_values=pictures).last_hidden_state
        return self.queries_of(states)

    def queries_of(self, states: torch.Tensor) -> torch.Tensor:
        """(B, tokens, width) of the tower to (B, 32, dim), every query's vector of unit length."""
        network = self.image_tower
        tokens = network.query_tokens.expand(len(states), -1, -1)
        found = network.qformer(query_embeds=tokens, encoder_hidden_states=states.float()).last_hidden_state
        return nn.functional.normalize(network.vision_projection(found), dim=-1)

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to (B, dim), or (B * 32, dim) of all queries."""
        queries = self.queries(pictures)
        if self.reduce == "none":
            return queries.flatten(0, 1)
        return queries.mean(1) if self.reduce == "mean" else queries[:, 0]

    def embed_tokens(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(N, L) token ids and which of them are no padding, to (N, dim) of unit length."""
        network = self.text_tower
        embedded = network.embeddings(input_ids=ids)
        states = network.qformer(query_embeds=embedded, query_length=0, attention_mask=mask).last_hidden_state
        return nn.functional.normalize(network.text_projection(states[:, 0]), dim=-1)

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        tokens = self.tokenizer(
            [_lavis.caption(text, WORDS) for text in texts],
            padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt",
        ).to(self.runtime.device)  # fmt: skip
        return self.embed_tokens(tokens["input_ids"], tokens["attention_mask"])


def load(
    runtime: Runtime,
    variant: Literal["pretrain", "coco"] = "pretrain",
    reduce: Literal["mean", "first", "none"] = "mean",
) -> Blip2:
    """BLIP-2 as pretrained (224 pixels), or fine-tuned for retrieval on COCO (364 pixels)."""
    size = 224 if variant == "pretrain" else 364
    return Blip2(runtime, f"BLIP-2 ViT-g ITM {variant}", MODELS[variant].source, size, reduce)
