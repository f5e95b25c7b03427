"""What searching with a model costs: arithmetic for each pair of a text and a video, and bytes for each video.

All that can be computed of a video alone has been, and is stored in float32.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from avs_cli.core.teachers import teachers

FLOAT = 4
# Weights that no other checkpoint of the family has. The first that is found counts: TS2-Net has X-CLIP's header too.
_SIGNS = {
    "global_mat_weight": "xclip",
    "pool_frames.linear_proj.weight": "xpool",
    "visual_token_selector.score_predictor.in_conv.1.weight": "ts2net",
    "frameLinear.weight": "teachclip",
}


class Footprint(NamedTuple):
    """Of one text-video pair and one video.

    products  multiplications in dot products
    gates     further ones, in products of softmaxes with matrices
    stored    bytes of a video
    """

    products: int
    gates: int
    stored: int


def of_student(dim: int) -> Footprint:
    """One vector and one dot product, whatever the student does before: TeachCLIP's and CLIP4Clip's."""
    return Footprint(dim, 0, dim * FLOAT)


def of_teacher(name: str, dim: int, frames: int, words: int) -> Footprint:
    """A teacher's, for vectors of `dim` numbers. Raises UnknownName."""
    products, gates, numbers = teachers.module(name).footprint(dim, frames, words)
    return Footprint(products, gates, numbers * FLOAT)


def of_head(told: Mapping[str, Any]) -> Footprint | None:
    """Of the head (or student) that a description is of; None for a kind that is not known here."""
    kind, settings = told["kind"], told["settings"]
    if kind == "teachclip":
        return of_student(settings["config"]["embed_dim"])
    dim = settings.get("dim")
    if kind == "xpool":
        return of_teacher("xpool", dim, settings["frames"], 1)
    if kind in ("afa", "w2vvpp"):
        return of_student(dim)
    if kind == "sea":
        return of_student(dim * len([*told["texts"], *told["encoders"]]))
    if kind == "laff":
        apart = settings["fusion"] == "attention" and not settings["split"]
        return of_student(dim * settings["heads"] if apart else dim)
    return None


class PublishedModel(NamedTuple):
    """One of the authors' checkpoints: which model it is of, for how many numbers, frames and words, and its cost."""

    model: str
    dim: int
    frames: int
    words: int
    cost: Footprint


def of_published(shapes: Mapping[str, tuple[int, ...]], frames: int = 12, words: int = 32) -> PublishedModel | None:
    """What a checkpoint of CLIP4Clip's family is of, by the shapes of its weights; None for another file.

    frames, words  that it is used for, where its weights do not say
    """
    shapes = {key.removeprefix("module."): shape for key, shape in shapes.items()}
    found = next((model for sign, model in _SIGNS.items() if sign in shapes), None)
    if found is None or not any(key.startswith("clip.text_projection") for key in shapes):
        return None
    # As a matrix on the right it ends with the vector's length; as a layer's weight it begins with it.
    layer = shapes.get("clip.text_projection.weight")
    dim = layer[0] if layer else shapes["clip.text_projection"][1]
    frames = shapes.get("frame_logit_weight", (frames,))[0]
    words = shapes.get("word_logit_weight", (words,))[0]
    cost = of_student(dim) if found == "teachclip" else of_teacher(found, dim, frames, words)
    return PublishedModel(found, dim, frames, words, cost)
