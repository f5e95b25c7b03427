"""TIPSv2's vectors are those of transformers' own class and processor, from the names that the authors publish."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_weights as tiny
import torch
from safetensors import safe_open

from avs_cli.core.encoders import Runtime, encoders
from avs_cli.io import weights as reader

TEXTS = ["A red dog", "the cat runs on the street, far away from everything"]


@pytest.fixture(scope="module", params=["mlp", "swiglu"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tipsv2_folder(tmp_path_factory.mktemp("tipsv2"), use_swiglu_ffn=request.param == "swiglu")


@torch.inference_mode()
def test_frames_and_texts_are_those_of_the_original(folder: Path) -> None:
    from transformers import AutoModel, AutoProcessor

    original, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    encoder = encoders.load("tipsv2")(Runtime(reader, weights=str(folder)))
    frames = np.random.default_rng(0).integers(0, 255, (3, 28, 28, 3), np.uint8)
    expected = original(**processor(images=list(frames), text=TEXTS, max_length=16, return_tensors="pt"))
    for given, wanted in (
        (encoder.encode_frames(frames), expected.image_embeds),
        (encoder.encode_text(TEXTS), expected.text_embeds),
    ):
        assert np.linalg.norm(given, axis=1).min() > 1.5  # not of unit length; the original's are
        np.testing.assert_allclose(given / np.linalg.norm(given, axis=1, keepdims=True), wanted, atol=1e-5)
    # From 64 of the published model: 16.
    assert encoder.tokens(TEXTS, "max_length")["input_ids"].shape == (2, 16)
    assert (encoder.pixels.size, encoder.pixels.resize, encoder.pixels.interpolation) == (28, None, "bilinear")
    assert encoder.tensor(np.full((1, 2, 2, 3), 255, np.uint8)).unique().tolist() == [1.0]


def test_the_weights_have_the_authors_names_and_may_have_their_configuration(folder: Path, tmp_path: Path) -> None:
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert any(key.startswith("vision_encoder.blocks.0.attn.qkv") for key in file.keys())  # noqa: SIM118
    given = json.loads((folder / "config.json").read_text())
    vision: dict[str, Any] = given["vision_config"]
    own = {
        "model_type": "tipsv2", "vision_fn": "vit_base", "embed_dim": 32, "img_size": 28, "patch_size": 14,
        "num_register_tokens": 1, "vocab_size": 60, "max_len": 16, "text_hidden_size": 32, "text_mlp_dim": 64,
        "text_num_heads": 2, "text_num_layers": 2, "ffn_layer": "swiglu" if vision["use_swiglu_ffn"] else "mlp",
    }  # fmt: skip
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(own))
    encoder = encoders.load("tipsv2")(Runtime(reader, weights=str(tmp_path)))
    assert (encoder.config.vision_config.num_hidden_layers, encoder.config.vision_config.num_attention_heads) == (
        12,
        12,
    )
    assert encoder.config.vision_config.use_swiglu_ffn == vision["use_swiglu_ffn"]
    assert encoder.encode_text(TEXTS).shape == (2, 32)
