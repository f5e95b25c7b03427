"""A Whisper of random weights in CTranslate2's form: what it writes means nothing, and is the same every time."""

from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
TIMES = tuple(f"<|{number * 0.02:.2f}|>" for number in range(1501))
DIM, BANDS = 16, 80


def write_whisper(folder: Path) -> Path:
    """Write the model of English alone, with a token for each byte, to a new folder."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *SPECIAL, *TIMES]
    spec = WhisperSpec(1, 2, 1, 2)
    chance = np.random.default_rng(3)

    def fill(part: Any, *shape: int) -> None:
        part.weight = chance.standard_normal(shape).astype(np.float32) / 2
        part.bias = np.zeros(shape[0], np.float32)

    def attend(part: Any, *sizes: int) -> None:
        for linear, size in zip(part.linear, sizes, strict=True):
            fill(linear, size * DIM, DIM)

    fill(spec.encoder.conv1, DIM, BANDS, 3)
    fill(spec.encoder.conv2, DIM, DIM, 3)
    attend(spec.encoder.layer[0].self_attention, 3, 1)
    attend(spec.decoder.layer[0].self_attention, 3, 1)
    attend(spec.decoder.layer[0].attention, 1, 2, 1)
    fill(spec.decoder.projection, len(tokens), DIM)
    spec.decoder.embeddings.weight = spec.decoder.projection.weight
    for side, length in ((spec.encoder, 1500), (spec.decoder, 448)):
        side.position_encodings.encodings = chance.standard_normal((length, DIM)).astype(np.float32)
        fill(side.layer[0].ffn.linear_0, DIM, DIM)
        fill(side.layer[0].ffn.linear_1, DIM, DIM)
    for norm in (
        *(side.layer_norm for side in (spec.encoder, spec.decoder)),
        *(side.layer[0].ffn.layer_norm for side in (spec.encoder, spec.decoder)),
        *(side.layer[0].self_attention.layer_norm for side in (spec.encoder, spec.decoder)),
        spec.decoder.layer[0].attention.layer_norm,
    ):
        norm.gamma, norm.beta = np.ones(DIM, np.float32), np.zeros(DIM, np.float32)
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids, spec.config.suppress_ids_begin, spec.config.lang_ids = [], [], []
    spec.config.alignment_heads = [(0, 0), (0, 1)]
    spec.validate()
    spec.optimize()
    folder.mkdir()
    spec.save(str(folder))
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (*SPECIAL, *TIMES)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
