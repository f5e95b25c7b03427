"""TIPSv2 (Cao et al. 2026, arXiv:2604.12012): joint image-text space, with patches that are aligned to texts.

The vector of a frame is its first class token, which the authors compare with texts.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._transformers import FILES, ProcessedEncoder, require
from avs_cli.core.encoders.catalogue import Model
from avs_cli.types import Source

MODELS = {
    "so400m14": Model(
        dim=1152,
        text=True,
        parameters=861.7,
        gmacs=487.9,
        licence="CC-BY-4.0",
        source=Source(3.4, "google/tipsv2-so400m14", FILES),
    ),
    "g14": Model(
        dim=1536,
        text=True,
        parameters=1525.1,
        gmacs=1292.2,
        licence="CC-BY-4.0",
        source=Source(6.1, "google/tipsv2-g14", FILES),
    ),
    "l14": Model(
        dim=1024,
        text=True,
        parameters=487.9,
        gmacs=362.2,
        licence="CC-BY-4.0",
        source=Source(2.0, "google/tipsv2-l14", FILES),
    ),
    "b14": Model(
        dim=768,
        text=True,
        parameters=195.9,
        gmacs=107.0,
        licence="CC-BY-4.0",
        source=Source(0.78, "google/tipsv2-b14", FILES),
    ),
}
NEEDED = "5.15"
PROCESSING = {"size": {"height": 448, "width": 448}, "resample": 2, "do_normalize": False}
# Layers and heads of the vision towers, by their names in the authors' own configurations.
TOWERS = {"vit_base": (12, 12), "vit_large": (24, 16), "vit_so400m": (27, 16), "vit_giant2": (40, 24)}
# The authors' names of tensors; applied in order.
_NAMES = (
    (r"^text_encoder\.", "text_model."),
    (r"^vision_encoder\.", "vision_model."),
    (r"^text_model\.ln_final\.", "text_model.final_layer_norm."),
    (r"^text_model\.token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^text_model\.transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^(text_model\..*)\.ln_([12])\.", r"\1.layer_norm\2."),
    (r"^(text_model\..*)\.attn\.", r"\1.self_attn."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^vision_model\.patch_embed\.proj\.", "vision_model.embeddings.patch_embeddings.projection."),
    (r"^vision_model\.(cls_token|mask_token|register_tokens)$", r"vision_model.embeddings.\1"),
    (r"^vision_model\.pos_embed$", "vision_model.embeddings.position_embeddings"),
    (r"^vision_model\.norm\.", "vision_model.layernorm."),
    (r"^vision_model\.blocks\.", "vision_model.encoder.layer."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w3\.", ".mlp.down_proj."),
)
_JOINED = (
    (".in_proj_", (".q_proj.", ".k_proj.", ".v_proj.")),
    (".qkv.", (".q_proj.", ".k_proj.", ".v_proj.")),
    (".mlp.w12.", (".mlp.gate_proj.", ".mlp.up_proj.")),
)


def converted(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors with the authors' names, under those of transformers; others as they are."""
    found: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        name = _renamed(key)
        parts = next(((joint, names) for joint, names in _JOINED if joint in name), None)
        if parts is None:
            found[name] = tensor
        else:
            names = [name.replace(parts[0], one) for one in parts[1]]
            found |= dict(zip(names, tensor.chunk(len(names)), strict=True))
    return found


def _renamed(key: str) -> str:
    for pattern, replacement in _NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _native(given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of transformers with the sizes of one of the authors' own."""
    width, inner = given["embed_dim"], given["text_mlp_dim"]
    layers, heads = TOWERS[given["vision_fn"]]
    vision = {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "mlp_ratio": given["text_mlp_dim"] / width, "image_size": given["img_size"], "patch_size": given["patch_size"],
        "num_register_tokens": given["num_register_tokens"], "use_swiglu_ffn": given["ffn_layer"] == "swiglu",
    }  # fmt: skip
    text = {
        "hidden_size": given["text_hidden_size"], "intermediate_size": inner, "vocab_size": given["vocab_size"],
        "num_hidden_layers": given["text_num_layers"], "num_attention_heads": given["text_num_heads"],
        "max_position_embeddings": given["max_len"],
    }  # fmt: skip
    return {"vision_config": vision, "text_config": text}


class Tipsv2(ProcessedEncoder):
    """The two towers, under the names of transformers or of the authors."""

    part = "image_processor"
    usual = PROCESSING
    image_part = ("vision_model.",)
    text_part = ("text_model.",)

    @cached_property
    def config(self) -> Any:
        """The folder's configuration, else that of the published B/14."""
        from transformers import Tipsv2Config

        given = self.files.json("config.json") or {}
        return Tipsv2Config(**(_native(given) if "vision_fn" in given else given))

    def build(self) -> nn.Module:
        """transformers' model."""
        from transformers import Tipsv2Model

        return Tipsv2Model(self.config)  # type: ignore[no-any-return]

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """The weights, with the names of transformers."""
        return converted(self.files.read(lambda key: _renamed(key).startswith(part)))

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to (B, dim)."""
        with self.autocast():
            vectors: torch.Tensor = self.image_tower.get_image_features(pixel_values=pictures).pooler_output
        return vectors

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        with self.autocast():
            vectors: torch.Tensor = self.text_tower.get_text_features(**self.tokens(texts, "max_length")).pooler_output
        return vectors


def load(runtime: Runtime, variant: Literal["so400m14", "g14", "l14", "b14"] = "so400m14") -> Tipsv2:
    """TIPSv2 of this size, at 448 pixels."""
    require("tipsv2", NEEDED)
    return Tipsv2(runtime, f"TIPSv2 {variant}", MODELS[variant].source)
