"""Lite, the offline default: frames and sentences in one space, trained on captioned photos, without any download.

EfficientNet-Lite0 looks at the whole frame, squashed to 256 by 256 pixels; MiniLM reads the sentence. Both, and what
maps them into one space (`core.models.lite`), are part of packages.

Model card
    data     the 6,000 training photos of Flickr8k (Hodosh et al. 2013) with five captions each, and for each of
             ImageNet's thousand classes a pseudo-photo that the network takes for it, with five texts
    recipe   `core.training.lite`; `make lite PHOTOS=FOLDER` trains the weights again
    licence  Apache-2.0, as the networks. Flickr8k itself is for research and education: whether that matters for what
             one does with weights learnt from it is not for us to say
    use      everyday scenes: people, what they do and wear, animals, places. It cannot read writing or recognise
             persons, and has not seen drawings, screens or night
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avs_cli.core.encoders import Runtime, minilm
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.models import efficientnet_lite0
from avs_cli.core.models.lite import FrameSide, Sentences, TextSide, dequantised
from avs_cli.core.search.confidence import Calibration
from avs_cli.core.weights import fill
from avs_cli.errors import FormatError
from avs_cli.types import Pixels, Sampling, Source

MODELS = {
    "": Model(dim=768, text=True, parameters=38.3, gmacs=0.5, licence="Apache-2.0", source=Source(0)),
}

# Fitted on the 1,000 photos of Flickr8k's dev part and their captions, as tests/benchmarks/bench_confidence.py prints.
CALIBRATION = Calibration(slope=15.0, margin=0.180)

SIZE = 256
# How the entry `avs` in the header of a file of these weights begins; what follows is how they were trained. It is the
# only entry, since safetensors writes several in any order.
HEADER = '{"format": "avs-lite", "format_version": 1, '
PACKAGED = Path(__file__).parents[1] / "models" / "lite.safetensors"


class Lite:
    """Frames and sentences in the space of trained weights: those of the package, or of a file given as weights."""

    sampling = Sampling()
    rows = 1
    has_text = True
    word_level = False
    pooling = "mean"
    pixels = Pixels(size=SIZE, resize=None)

    def __init__(self, runtime: Runtime):
        self.runtime = runtime
        self.weights = Path(runtime.weights or PACKAGED)
        self.image_weights = Path(efficientnet_lite0.packaged_weights())
        self.files = runtime.reader.given(self.weights)
        if not self.files.header.get("avs", "").startswith(HEADER):
            raise FormatError(self.weights, "not weights of lite; `make lite` trains some")

    # Networks are loaded on first use, since a search needs only the text side.

    @cached_property
    def network(self) -> efficientnet_lite0.EfficientNetLite0:
        """EfficientNet-Lite0."""
        return efficientnet_lite0.load(self.runtime.reader, self.image_weights, self.runtime.device)

    @cached_property
    def sentences(self) -> minilm.MiniLM:
        """The sentence encoder."""
        return minilm.MiniLM(replace(self.runtime, weights=None))

    @cached_property
    def frame_side(self) -> FrameSide:
        """From features of the image network to the common space."""
        side = FrameSide(self.dim)
        self._fill(side, "frames.")
        return side

    @cached_property
    def text_side(self) -> TextSide:
        """From MiniLM's vectors to the common space."""
        shapes = self.files.shapes
        known = self.files.read(lambda key: key == "texts.known")["texts.known"]
        hidden, queries = shapes["texts.first.weight"][0], shapes["texts.queries.weight"][0]
        side = TextSide(self.dim, hidden, queries, known)
        self._fill(side, "texts.")
        return side

    def _fill(self, side: torch.nn.Module, prefix: str) -> None:
        tensors = dequantised(self.files.read(lambda key: key.startswith(prefix)))
        fill(
            side,
            {name.removeprefix(prefix): tensor for name, tensor in tensors.items()},
            self.weights,
            self.runtime.device,
        )
        side.eval()

    @cached_property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return int(self.files.shapes["frames.layer.weight"][0])

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """Models and digests of their weights."""
        reader, remember = self.runtime.reader, self.runtime.remember
        return {
            "model": "lite",
            "weights": self.files.digest(remember),
            "image": {"model": "EfficientNet-Lite0", "weights": reader.digest(self.image_weights, remember)},
            "text": self.sentences.provenance,
        }

    @property
    def sources(self) -> tuple[Path, ...]:
        """The weights of the three networks."""
        return (self.weights, self.image_weights, *self.sentences.sources)

    @torch.inference_mode()
    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """(B, 256, 256, 3) uint8 to (B, D) float32 of unit length."""
        pooled = self.network.pooled(efficientnet_lite0.scaled(frames, self.runtime.device))
        vectors = self.frame_side(pooled, self.network.classifier(pooled))
        return np.asarray(vectors.cpu().numpy(), np.float32)

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> np.ndarray:
        """Unit vectors of N sentences, (N, D) float32; independent of the order of the texts."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for chosen, tokens, states in self.sentences.read(texts):
            sentences = Sentences(minilm.means(tokens, states), states, tokens.ids, tokens.there & ~tokens.framing)
            vectors[chosen] = self.text_side(sentences).cpu().numpy()
        return vectors


def load(runtime: Runtime) -> Lite:
    """The encoder with the packaged weights, or with those of a file that `make lite` wrote."""
    return Lite(runtime)
