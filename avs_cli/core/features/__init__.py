"""Features: frozen encoders, one module each, with `load(...) -> Feature`.

Adding an encoder is adding a file here; the contract test runs over every one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from avs_cli.types import Pixels, Sampling

if TYPE_CHECKING:
    import numpy as np


class Feature(Protocol):
    """A frozen encoder of frames, of text, or of both into one space.

    dim         length of its vectors, read from the model
    pixels      its input pictures; None for an encoder of text alone
    sampling    the frames it wants of a shot
    rows        vectors per frame (or per clip, where the sampling has clips)
    pooling     how a shot's vectors become one unless the user says otherwise: "mean", "max" or "none" (keep all)
    has_text    whether `encode_text` answers
    provenance  model, digest of the weights, preprocessing: what decides the vectors' values, and nothing else
    """

    dim: int
    pixels: Pixels | None
    sampling: Sampling
    rows: int
    pooling: str
    has_text: bool
    provenance: Mapping[str, Any]

    def encode_frames(self, frames: "np.ndarray") -> "np.ndarray":
        """Vectors of B frames, or of B clips of `sampling.clip` frames, as the encoder gives them (not normalised).

        frames   (B * clip, size, size, 3) uint8, RGB
        returns  (B * rows, dim) float32
        """
        ...

    def encode_text(self, texts: list[str]) -> "np.ndarray":
        """Vectors of N texts: (N, dim) float32, as the encoder gives them. UnavailableError when `has_text` is false."""
        ...
