"""Features: frozen encoders, one module each, with `load(runtime, ...) -> Feature`.

Adding an encoder is adding a file here; the contract test runs over every one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from avs_cli.core.registry import Registry
from avs_cli.types import Pixels, Sampling

if TYPE_CHECKING:
    import numpy as np

features = Registry("feature", "avs_cli.core.features", "load")


def _forget(name: str, compute: "Callable[[], np.ndarray]") -> "np.ndarray":
    return compute()


@dataclass(frozen=True)
class Runtime:
    """Where and with what an encoder runs; none of it changes what the encoder means.

    device     a torch device
    threads    CPU threads for the arithmetic
    weights    a local checkpoint instead of the published one
    remember   gives the array of a name, computing it when no earlier run has left it (a cache; by default none)
    precision  "auto" (16 bits on an accelerator where the encoder stands it), "fp32", "bf16" or "fp16"
    """

    device: str = "cpu"
    threads: int = 1
    weights: str | None = None
    remember: "Callable[[str, Callable[[], np.ndarray]], np.ndarray]" = _forget
    precision: str = "auto"


class Feature(Protocol):
    """A frozen encoder of frames, of text, or of both into one space.

    dim         length of its vectors, read from the model
    pixels      its input pictures; None for an encoder of text alone
    sampling    the frames it wants of a shot
    rows        vectors per frame (or per clip, where the sampling has clips)
    pooling     how a shot's vectors become one unless the user says otherwise: "mean", "max" or "none" (keep all)
    has_text    whether `encode_text` answers
    word_level  whether it gives a text's words one by one
    provenance  model, digest of the weights, preprocessing: what decides the vectors' values, and nothing else
    sources     the files that decide all of these; an encoder that does not list them is loaded for every job
    """

    dim: int
    pixels: Pixels | None
    sampling: Sampling
    rows: int
    pooling: str
    has_text: bool
    word_level: bool
    provenance: Mapping[str, Any]

    def encode_frames(self, frames: "np.ndarray") -> "np.ndarray":
        """Vectors of B frames, or of B clips of `sampling.clip` frames, as the encoder gives them (not normalised).

        frames   (B * clip, size, size, 3) uint8, RGB
        returns  (B * rows, dim) float32
        """
        ...

    def encode_text(self, texts: list[str]) -> "np.ndarray | list[np.ndarray]":
        """Vectors of N texts, as the encoder gives them: (N, dim) float32. Nobody asks when `has_text` is false.

        If it is `word_level`, N arrays (K, dim), K being each text's words and at least 1.
        """
        ...
