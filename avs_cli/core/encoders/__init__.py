"""Frozen encoders, one module each, with `load(runtime, ...) -> Encoder`.

Adding an encoder is adding a file here; the contract test runs over every one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from avs_cli.core.registry import Registry
from avs_cli.types import Pixels, Sampling

if TYPE_CHECKING:
    import numpy as np

    from avs_cli.core.weights import WeightReader

# Modules that are not entries.
SHARED = ("base", "catalogue", "open_clip_models")
# Ni et al. (Microsoft) and Ma et al. both call their model X-CLIP; the latter is the teacher and head `xclip`.
RENAMED = {"x-clip": "microsoft-xclip"}
# The encoder of videos and texts where none is named.
DEFAULT = "lite"
# The encoders of frames whose weights are part of packages, and may change with the version of one.
PACKAGED = ("conse", "lite")
# Notes on an encoder, shown before it is used; here, since modules of encoders take seconds to import.
ADVICE = {
    "conse": "conse needs no download: it is good at objects and animals, weak at people, actions and written text",
    "lite": "lite needs no download: it is good at everyday scenes, weak at rare things and written text; larger "
    "models, such as --model siglip2, know more, for a download (--list-models)",
}
encoders = Registry("encoder", "avs_cli.core.encoders", "load")


def _forget(name: str, compute: "Callable[[], np.ndarray]") -> "np.ndarray":
    return compute()


@dataclass(frozen=True)
class Runtime:
    """How an encoder runs; nothing here changes the meaning of its vectors.

    reader     opens the files of weights, which core does not: the module `avs_cli.io.weights`
    device     a torch device
    threads    CPU threads
    weights    a local checkpoint instead of the published one
    remember   a cache of arrays by name, which computes missing ones (default: no cache)
    precision  "auto" (16 bits on an accelerator, if safe for the encoder), "fp32", "bf16" or "fp16"
    """

    reader: "WeightReader"
    device: str = "cpu"
    threads: int = 1
    weights: str | None = None
    remember: "Callable[[str, Callable[[], np.ndarray]], np.ndarray]" = _forget
    precision: str = "auto"


class Encoder(Protocol):
    """A frozen encoder of frames, of text, or of both into a joint space.

    dim         dimension of its vectors, read from the model
    pixels      its input images; None for a text encoder
    sampling    the frames to sample from a shot
    rows        vectors per frame (or per clip, where the sampling has clips)
    pooling     default pooling of the vectors of a shot: "mean", "max" or "none"
    has_text    whether `encode_text` is available
    word_level  whether a text gives one vector per word
    provenance  model, digest of the weights, preprocessing: everything that determines the vectors
    sources     the files that determine these facts; an encoder without them is loaded for every job
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
        """Vectors of B frames, or of B clips of `sampling.clip` frames, not normalised.

        frames   (B * clip, size, size, 3) uint8, RGB
        returns  (B * rows, dim) float32
        """
        ...

    def encode_text(self, texts: list[str]) -> "np.ndarray | list[np.ndarray]":
        """(N, dim) float32 vectors of N texts, not normalised; not called when `has_text` is false.

        If it is `word_level`, N arrays (K, dim), K being each text's words and at least 1.
        """
        ...
