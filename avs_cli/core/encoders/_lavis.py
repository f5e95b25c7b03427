"""Conversion of the names of tensors of BLIP, BLIP-2 and Video-LLaMA to those of transformers."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from avs_cli.core.weights import NetworkWeights
from avs_cli.errors import UnavailableError

# Applied in order.
_VISION = (
    (r"^visual_encoder\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed$", "vision_model.embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual_encoder\.norm\.", "vision_model.post_layernorm."),
    (r"^ln_vision\.", "vision_model.post_layernorm."),
    (r"^visual_encoder\.blocks\.(\d+)\.", r"vision_model.encoder.layers.\1."),
    (r"^(vision_model\.encoder\.layers\.\d+)\.norm([12])\.", r"\1.layer_norm\2."),
    (r"^(vision_model\.encoder\.layers\.\d+)\.attn\.proj\.", r"\1.self_attn.projection."),
    (r"^(vision_model\.encoder\.layers\.\d+)\.attn\.", r"\1.self_attn."),
)
_QFORMER = (
    (r"^(video_)?Qformer\.bert\.", lambda found: f"{found[1] or ''}qformer."),
    (r"^qformer\.embeddings\.(word|position)_embeddings\.", r"embeddings.\1_embeddings."),
    (r"qformer\.embeddings\.LayerNorm\.", lambda found: "qformer.layernorm."),
    (r"(qformer\.encoder\.layer\.\d+\.(?:cross)?attention)\.self\.", r"\1.attention."),
    (r"^vision_proj\.", "vision_projection."),
    (r"^text_proj\.", "text_projection."),
)
_EVA_TOP = ("cls_token", "pos_embed", "patch_embed.", "blocks.")


def blip_name(key: str) -> str:
    """The name in transformers' BlipForImageTextRetrieval of a tensor of Salesforce's BLIP; others as they are."""
    return _renamed(key, _VISION)


def lavis_name(key: str) -> str:
    """The name in transformers' BLIP-2 models of a tensor of LAVIS or Video-LLaMA; others as they are.

    In eva_vit_g.pth, the tensors of the vision tower have no prefix.
    """
    return _renamed(f"visual_encoder.{key}" if key.startswith(_EVA_TOP) else key, _VISION + _QFORMER)


def joined_biases(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors with EVA's biases of queries and values made into one of queries, keys (none) and values."""
    found = dict(tensors)
    for key in tensors:
        if key.endswith(".q_bias"):
            stem = key.removesuffix("q_bias")
            query, value = found.pop(f"{stem}q_bias"), found.pop(f"{stem}v_bias")
            found[f"{stem}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return found


def caption(text: str, words: int) -> str:
    """A caption as BLIP's training cleaned it: lower case, without some punctuation, its first words."""
    bare = re.sub(r'[.!"()*#:;~]', " ", text.lower())
    return " ".join(bare.split()[:words])


def tokenizer(files: NetworkWeights, model: str) -> Any:
    """The BERT tokenizer that lies with the weights; UnavailableError where it does not."""
    from transformers import BertTokenizer

    if any(files.text(name) is not None for name in ("tokenizer.json", "tokenizer_config.json")):
        return files.tokenizer()
    words = files.text("vocab.txt")
    if words is None:
        raise UnavailableError(
            f"{model} encodes text with a tokenizer, which does not lie with the weights: give --weights a folder that "
            "also has tokenizer.json or vocab.txt"
        )
    lines = words.removesuffix("\n").split("\n")
    return BertTokenizer({line.rstrip(): number for number, line in enumerate(lines)})


def _renamed(key: str, rules: Iterable[tuple[str, Any]]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
