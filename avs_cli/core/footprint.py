"""What searching with a model costs: arithmetic for each pair of a text and a video, and bytes for each video."""

from typing import NamedTuple

FLOAT = 4


class Footprint(NamedTuple):
    """Of one text-video pair and one video.

    products  multiplications in dot products
    gates     further ones, in products of softmaxes with matrices
    stored    bytes of a video in float32
    """

    products: int
    gates: int
    stored: int


def footprint(model: str, dim: int = 512, frames: int = 12, words: int = 32) -> Footprint:
    """What is left to do when a text comes: all that can be computed of a video alone has been, and is stored.

    model  "student" (of one vector, CLIP4Clip too), "ts2net", "xclip" or "xpool"
    """
    vector = dim * FLOAT
    if model == "xclip":
        # vs, vw, sf and fw; of these all but the first weigh words, or frames, or both.
        gates = words**2 + frames**2 + frames * words**2 + words * frames**2 + frames**2 + words**2
        return Footprint(dim * (1 + words + frames + frames * words), gates, (1 + frames) * vector)
    if model == "ts2net":
        return Footprint(frames * dim, 0, frames * vector)
    if model == "xpool":
        # Attention over keys, the sum of values (which `out` is folded into), the last layer, the cosine.
        return Footprint(2 * frames * dim + dim**2 + dim, 0, 2 * frames * vector)
    return Footprint(dim, 0, vector)
