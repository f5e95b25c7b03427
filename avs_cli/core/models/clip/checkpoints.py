"""Checkpoints of CLIP4Clip's family under our names: which weight goes where is written out, nothing is guessed.

Such a checkpoint holds CLIP under `clip.`, named as OpenAI does, or as Hugging Face does (X-Pool), and its own parts
beside it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from avs_cli.errors import MismatchError

# Ours by theirs; a name that ends with a dot is the beginning of several.
TEMPORAL = {"frame_position_embeddings.weight": "temporal.positions", "transformerClip.resblocks.": "temporal.blocks."}
STUDENT = {**TEMPORAL, "frameLinear.": "attention.first.", "frameLinear2.": "attention.second."}
# Parts that were saved and are never used: an encoder over words and frames together, and its last layer.
UNUSED = ("cross.", "similarity_dense.")
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
_HUGGING_FACE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "text_projection.weight": "text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "visual_projection.weight": "visual.proj",
    "logit_scale": "logit_scale",
}
_INSIDE = {
    ".self_attn.out_proj.": ".attn.out_proj.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
}
_PROJECTION = re.compile(r"(.*\.)self_attn\.([qkv])_proj\.(weight|bias)")


class Parts(NamedTuple):
    """CLIP's weights, named as OpenAI's CLIP and open_clip do, and the model's own, named as ours, in float32."""

    clip: dict[str, torch.Tensor]
    own: dict[str, torch.Tensor]


def parts(
    state: Mapping[str, torch.Tensor], names: Mapping[str, str], what: str, unused: Sequence[str] = UNUSED
) -> Parts:
    """A checkpoint's weights, by where they belong. `logit_scale`, which is CLIP's, is in both parts.

    Raises MismatchError for a weight that has no place, and where CLIP is missing.
    """
    clip: dict[str, torch.Tensor] = {}
    own: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if value.is_complex() or not (value := value.float()).isfinite().all():
            raise MismatchError(f"the published weights of {what} hold {key}, which is NaN, infinite or complex")
        if key.startswith("clip."):
            clip[key.removeprefix("clip.")] = value
        elif ours := renamed(key, names):
            own[ours] = value
        elif not key.startswith(tuple(unused)):
            raise MismatchError(f"unexpected tensor {key} in the published weights of {what}")
    clip = openai(clip)
    if "logit_scale" not in clip:
        raise MismatchError(f"not published weights of {what}: no CLIP model (clip.logit_scale)")
    return Parts(clip, {**own, "logit_scale": clip["logit_scale"]})


def renamed(key: str, names: Mapping[str, str]) -> str | None:
    """Our name of a weight, if `names` has one."""
    for theirs, ours in names.items():
        if key == theirs or (theirs.endswith(".") and key.startswith(theirs)):
            return ours + key.removeprefix(theirs)
    return None


def openai(clip: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A CLIP's weights named as OpenAI does, from that or from Hugging Face's names."""
    if any(key.startswith("vision_model.") for key in clip):
        return _from_hugging_face(clip)
    return {key: value for key, value in clip.items() if key not in _NOT_WEIGHTS}


def _from_hugging_face(clip: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    thirds: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in clip.items():
        if key.endswith("position_ids"):
            continue
        ours = renamed(key, _HUGGING_FACE)
        if ours is None:
            raise MismatchError(f"unexpected tensor clip.{key} in the published weights")
        if third := _PROJECTION.fullmatch(ours):
            thirds.setdefault(f"{third[1]}attn.in_proj_{third[3]}", {})[third[2]] = value
            continue
        for theirs, inside in _INSIDE.items():
            ours = ours.replace(theirs, inside)
        # A Linear layer there is a matrix on the right here.
        found[ours] = value.T.contiguous() if ours in ("text_projection", "visual.proj") else value
    for key, held in thirds.items():
        if len(held) < 3:
            raise MismatchError(f"the published weights lack a part of clip's {key}: they hold {', '.join(held)}")
        found[key] = torch.cat([held[part] for part in "qkv"])
    return found


def dim_of(shapes: Mapping[str, Sequence[int]], what: str) -> int:
    """Length of the vectors of a checkpoint's CLIP, by the shapes of its weights.

    Raises MismatchError where it holds no CLIP.
    """
    for prefix in ("clip.", "module.clip."):
        # As a matrix on the right it ends with the vector's length; as a layer's weight it begins with it.
        for name, axis in (("text_projection", 1), ("text_projection.weight", 0)):
            if len(shapes.get(prefix + name, ())) == 2:
                return int(shapes[prefix + name][axis])
    raise MismatchError(f"not published weights of {what}: no CLIP model (clip.text_projection)")
