"""Weights of the authors' LAFF code under our names, and the head that they need.

Known are the parts that have parameters: the transforms of both ends, the attention of both ends, and that over
frames. What is left out on purpose: the attention's bias, which changes nothing, its LayerNorm, which is never used,
and counters.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from avs_cli.core.heads._blocks import Input
from avs_cli.errors import MismatchError

_TRANSFORM = re.compile(
    r"(?:(?P<video>vis_net\.(?:VisMutiTransformNet\.)?)|(?P<text>txt_net\.transform_layer\.))"
    r"(?P<name>[^.]+)\.(?P<part>fc1|bn1)\.(?P<what>\w+)"
)
_ATTENTION = re.compile(
    r"(?P<end>vis_net|txt_net)\.(?:vis_)?attention_layer\.(?:attention_layer\.(?P<head>\d+)\.)?"
    r"(?P<what>embedding_common\.0\.weight|global_emb_weight_net\.weight)"
)
_FRAMES = re.compile(r"vis_net\.frame_attention\.(?P<name>[^.]+)\.0\.embedding_common\.0\.weight")
_UNUSED = re.compile(r".*(?:embedding_common\.0\.bias|layer_norm\.\w+|num_batches_tracked|frame_attention.*)")


class Published(NamedTuple):
    """Features, the head's settings as a spec takes them, and its state."""

    videos: list[Input]
    texts: list[Input]
    settings: dict[str, Any]
    state: dict[str, torch.Tensor]


def laff(weights: Mapping[str, torch.Tensor], ave: bool = False, mul: bool = False) -> Published:
    """The published head's parts. The weights do not say whether it was trained with `ave` or `mul`.

    Raises MismatchError for a weight that has no place in ours, such as a text encoder's.
    """
    state: dict[str, torch.Tensor] = {}
    ends: dict[str, dict[str, dict[str, torch.Tensor]]] = {"vis_net": {}, "txt_net": {}}
    vectors: dict[str, dict[int, torch.Tensor]] = {"vis_net": {}, "txt_net": {}}
    pools: dict[str, torch.Tensor] = {}
    for key, value in weights.items():
        if found := _ATTENTION.fullmatch(key):
            if found["what"].startswith("embedding"):
                vectors[found["end"]][int(found["head"] or 0)] = value
            else:
                state[f"{_ours(found['end'])}.fusion.r"] = value.reshape(())
        elif found := _FRAMES.fullmatch(key):
            pools[found["name"]] = value.reshape(-1)
        elif _UNUSED.fullmatch(key):
            continue
        elif found := _TRANSFORM.fullmatch(key):
            name = found["name"].removesuffix("_transform")
            part = ends["vis_net" if found["video"] else "txt_net"].setdefault(name, {})
            part[f"{found['part'].removesuffix('1')}.{found['what']}"] = value
        else:
            raise MismatchError(f"the published weights hold {key}, which has no place in a laff head")
    heads = max(map(len, vectors.values()))
    width = next((v.numel() for held in vectors.values() for v in held.values()), 0)
    dim = next(v.shape[0] for end in ends.values() for part in end.values() for v in part.values())
    raw = []
    inputs: dict[str, list[Input]] = {"vis_net": [], "txt_net": []}
    for end, parts in ends.items():
        for place, (name, part) in enumerate(parts.items()):
            source = part["fc.weight"].shape[1] if "fc.weight" in part else dim // heads
            raw += [] if "fc.weight" in part else [name]
            inputs[end].append(Input(name, source, name in pools))
            for what, value in part.items():
                state[f"{_ours(end)}.transforms.{place}.{what}"] = value
        if vectors[end]:
            state[f"{_ours(end)}.fusion.a"] = torch.cat([vectors[end][head] for head in sorted(vectors[end])])
    for place, video in enumerate(inputs["vis_net"]):
        if video.name in pools:
            state[f"frames.{place}.a"] = pools[video.name]
    settings = {
        "dim": dim,
        "heads": heads,
        "split": heads * width == dim,
        "ave": ave,
        "mul": mul,
        "raw": "+".join(raw),
        "norm": any("fc.weight" in part and "bn.weight" in part for end in ends.values() for part in end.values()),
        "raw_norm": all("bn.weight" in p for p in ends["txt_net"].values() if "fc.weight" not in p),
    }
    return Published(inputs["vis_net"], inputs["txt_net"], settings, state)


def _ours(end: str) -> str:
    return {"vis_net": "video", "txt_net": "text"}[end]
