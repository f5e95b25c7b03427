"""What searching with a model costs: arithmetic for each pair of a text and a video, and bytes for each video.

All that can be computed of a video alone has been, and is stored in float32.
"""

from typing import NamedTuple

from avs_cli.core.teachers import teachers

FLOAT = 4


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
