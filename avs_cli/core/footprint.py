"""The cost of searching with a model: operations per text-video pair, and bytes per video.

Everything that depends on the video alone is precomputed and stored in float32.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from avs_cli.core.models.clip.checkpoints import dim_of
from avs_cli.core.models.heads import heads
from avs_cli.core.models.settings import settings_for
from avs_cli.core.models.teachers import teachers
from avs_cli.errors import MismatchError

FLOAT = 4
# The default of the teachers; their checkpoints do not contain it.
STUDENT_SIGN = "frameLinear.weight"


class Footprint(NamedTuple):
    """The cost per text-video pair and per video.

    products  multiplications in dot products
    gates     multiplications in products of softmaxes with matrices
    stored    bytes of a video
    """

    products: int
    gates: int
    stored: int


def of_student(dim: int) -> Footprint:
    """The cost of one vector and one dot product per pair, as for TeachCLIP and CLIP4Clip."""
    return Footprint(dim, 0, dim * FLOAT)


def of_teacher(name: str, dim: int, frames: int, words: int) -> Footprint:
    """The cost of a teacher for vectors of `dim` dimensions. Raises UnknownName."""
    products, gates, numbers = teachers.module(name).footprint(dim, frames, words)
    return Footprint(products, gates, numbers * FLOAT)


def of_head(told: Mapping[str, Any]) -> Footprint | None:
    """The cost of the head (or student) with this description; None for an unknown kind.

    Raises MismatchError for invalid settings.
    """
    kind, settings = told["kind"], told["settings"]
    if kind == "teachclip":
        config = settings.get("config")
        dim = config.get("embed_dim") if isinstance(config, dict) else None
        if not isinstance(dim, int):
            raise MismatchError("the student's settings lack config: embed_dim")
        return of_student(dim)
    if kind not in heads.names():
        return None
    settings = settings_for("head", kind, heads, settings)
    texts = len(told["texts"]) + len(told["encoders"])
    products, gates, numbers = heads.module(kind).footprint(settings, len(told["videos"]), texts)
    return Footprint(products, gates, numbers * FLOAT)


class PublishedModel(NamedTuple):
    """One of the authors' checkpoints: which model it is of, for how many numbers, frames and words, and its cost."""

    model: str
    dim: int
    frames: int
    words: int
    cost: Footprint


def of_published(shapes: Mapping[str, tuple[int, ...]], frames: int = 12, words: int = 32) -> PublishedModel | None:
    """The model of a checkpoint of CLIP4Clip's family, by the shapes of its weights; None for another file.

    frames, words  numbers of frames and words where the weights do not determine them
    """
    shapes = {key.removeprefix("module."): shape for key, shape in shapes.items()}
    signs = {getattr(teachers.module(name), "SIGN", ""): name for name in teachers.names()}
    found = next((model for sign, model in {**signs, STUDENT_SIGN: "teachclip"}.items() if sign in shapes), None)
    if found is None or not any(key.startswith("clip.text_projection") for key in shapes):
        return None
    dim = dim_of(shapes, found)
    frames = (shapes.get("frame_logit_weight") or (frames,))[0]
    words = (shapes.get("word_logit_weight") or (words,))[0]
    cost = of_student(dim) if found == "teachclip" else of_teacher(found, dim, frames, words)
    return PublishedModel(found, dim, frames, words, cost)
