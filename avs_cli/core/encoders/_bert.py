"""BERT (Devlin et al. 2019, arXiv:1810.04805), the encoder alone, from a Hugging Face folder; used by MiniLM.

transformers takes 2.8 s of a core to import, longer than a small gallery takes to search. This is the same arithmetic
in the same order, so that the hidden states are the same to the last bit.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from avs_cli.core.weights import NetworkWeights, empty, fill
from avs_cli.errors import FormatError

# Supported configurations; others are loaded with transformers.
PLAIN = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
# Defaults of a configuration.
DEFAULTS = {**PLAIN, "model_type": "", "layer_norm_eps": 1e-12, "type_vocab_size": 2, "pad_token_id": 0}
SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
# Tokenizers for which transformers follows their files.
TOKENIZERS = ("BertTokenizer", "BertTokenizerFast")


class Tokens(NamedTuple):
    """The tokens of B texts, K of the longest, each (B, K): ids, mask of tokens, mask of special tokens."""

    ids: torch.Tensor
    there: torch.Tensor
    framing: torch.Tensor


class Bert(nn.Module):
    """Maps token ids to the hidden states of the last layer."""

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        self.width = width = int(config["hidden_size"])
        self.embeddings = _Embeddings(config, width)
        self.encoder: Any = nn.ModuleDict(
            {"layer": nn.ModuleList(_Layer(config) for _ in range(config["num_hidden_layers"]))}
        )

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """(B, K, D) float32."""
        states: torch.Tensor = self.embeddings(tokens.ids)
        # Attention without a mask uses another, faster kernel, whose last digits differ.
        mask = None if bool(tokens.there.all()) else tokens.there[:, None, None, :]
        for layer in self.encoder["layer"]:
            states = layer(states, mask)
        return states


class _Embeddings(nn.Module):
    def __init__(self, config: dict[str, Any], width: int):
        super().__init__()
        self.word_embeddings = nn.Embedding(config["vocab_size"], width)
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], width)
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], width)
        self.LayerNorm = nn.LayerNorm(width, eps=config["layer_norm_eps"])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        normal: torch.Tensor = self.LayerNorm(states + self.position_embeddings.weight[: ids.shape[1]])
        return normal


class _Layer(nn.Module):
    """Attention and a feed-forward network, each with a residual connection and layer normalisation."""

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        width, inner, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        names = ("query", "key", "value")
        # The names are those of the published tensors.
        self.attention: Any = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(width, width) for name in names}),
                "output": nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps=eps)}),
            }
        )
        self.intermediate: Any = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output: Any = nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, eps=eps)})
        self.heads = config["num_attention_heads"]

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        looking, merging = self.attention["self"], self.attention["output"]
        split = (*states.shape[:2], self.heads, -1)
        query, key, value = (looking[name](states).view(split).transpose(1, 2) for name in ("query", "key", "value"))
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        seen = seen.transpose(1, 2).reshape(states.shape)
        states = merging["LayerNorm"](merging["dense"](seen) + states)
        inner = nn.functional.gelu(self.intermediate["dense"](states))
        normal: torch.Tensor = self.output["LayerNorm"](self.output["dense"](inner) + states)
        return normal


def is_plain(files: NetworkWeights) -> bool:
    """Whether a folder contains a BERT and a tokenizer that this module supports."""
    config = {**DEFAULTS, **(files.json(CONFIG) or {})}
    tokenizer = files.json("tokenizer_config.json") or {}
    normalizer = (files.json(TOKENIZER) or {}).get("normalizer") or {}
    return (
        all(config[key] == value for key, value in PLAIN.items())
        and all(isinstance(config.get(key), int) for key in SIZES)
        and "auto_map" not in config
        and tokenizer.get("tokenizer_class", TOKENIZERS[0]) in TOKENIZERS
        and "auto_map" not in tokenizer
        and normalizer.get("type") == "BertNormalizer"
        and normalizer.get("lowercase") == tokenizer.get("do_lower_case", True)
    )


def load(files: NetworkWeights, device: str) -> Bert:
    """The network with its weights, which may have a prefix, as in task-specific models."""
    config = {**DEFAULTS, **(files.json(CONFIG) or {})}
    with empty():
        network = Bert(config).eval()
    tensors = {key.removeprefix("bert."): tensor for key, tensor in files.read().items()}
    # Weights from before 2019 have gamma and beta for layer normalisation.
    renamed = {key.replace(".gamma", ".weight").replace(".beta", ".bias"): value for key, value in tensors.items()}
    fill(network, renamed, files.root, device)
    return network


class Tokenizer:
    """A WordPiece tokenizer with truncation, and padding to the longest text of a batch."""

    def __init__(self, files: NetworkWeights, most: int):
        from tokenizers import Tokenizer as Pieces

        path = files.root / TOKENIZER
        try:
            self.pieces = Pieces.from_str(files.text(TOKENIZER) or "")
        except Exception as error:  # the only class of errors of the library
            raise FormatError(path, f"not a tokenizer ({error})") from None
        self.pieces.enable_truncation(most)
        self.pieces.enable_padding(pad_id=(files.json(CONFIG) or {}).get("pad_token_id", 0))

    def __call__(self, texts: list[str], device: str) -> Tokens:
        found = self.pieces.encode_batch(texts)
        ids = torch.tensor([one.ids for one in found], device=device)
        there = torch.tensor([one.attention_mask for one in found], dtype=torch.bool, device=device)
        framing = torch.tensor([one.special_tokens_mask for one in found], dtype=torch.bool, device=device)
        return Tokens(ids, there, framing)
