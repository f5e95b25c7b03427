"""The seven features against what their authors' code gives for the same small random weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avs_cli.core.encoders import Runtime, _csn, _lavis, encoders
from avs_cli.core.weights import fill
from avs_cli.io import weights as reader
from avs_cli.io.pipe import read_text

Parity = Callable[[str], Path]
TOLERANCE = {"atol": 1e-5, "rtol": 1e-4}
CSN_TOLERANCE = {"atol": 5e-5, "rtol": 1e-4}
EVA = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "image_size": 42, "intermediate_size": 209}
QFORMER = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 48,
           "encoder_hidden_size": 48, "vocab_size": 60, "max_position_embeddings": 16}  # fmt: skip
BLIP2 = {"vision_config": EVA, "qformer_config": QFORMER, "num_query_tokens": 4, "image_text_hidden_size": 16}
BLIP = {
    "vision_config": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 48,
                      "intermediate_size": 128},
    "text_config": {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 48,
                    "vocab_size": 60, "max_position_embeddings": 16, "encoder_hidden_size": 32},
    "image_text_hidden_size": 16,
}  # fmt: skip


def arrays(path: Path, group: str) -> dict[str, torch.Tensor]:
    with np.load(path) as file:
        return {
            key.removeprefix(f"{group}/"): torch.from_numpy(file[key]) for key in file if key.startswith(f"{group}/")
        }


def needs(path: Path, name: str) -> None:
    """Skip where the arrays are an excerpt without this one: towers of pictures are too large to come along."""
    with np.load(path) as file:
        if name not in file:
            pytest.skip(f"not among the arrays here: {name}")


def loaded(spec: str, path: Path, folder: Path, config: dict[str, Any] | None = None) -> Any:
    """The feature with the original's weights, under the original's names, from a folder on disk."""
    save_file(arrays(path, "sd"), folder / "weights.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return encoders.load(spec)(Runtime(reader, weights=str(folder)))


@torch.inference_mode()
def given(compute: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> np.ndarray:
    return compute(*inputs).numpy()


@pytest.mark.parametrize("name", ["ircsn", "ipcsn"])
def test_csn_gives_the_pooled_feature_of_mmaction2(name: str, parity: Parity, tmp_path: Path) -> None:
    path = parity(f"features/{name}_narrow.npz")
    feature = loaded("ircsn:frames=16", path, tmp_path)
    clips, expected = arrays(path, "in")["clip"], arrays(path, "out")
    pictures = clips.transpose(1, 2).flatten(0, 1)
    np.testing.assert_allclose(given(feature.embed, pictures), expected["feature"], **CSN_TOLERANCE)
    np.testing.assert_allclose(given(feature.embed, pictures), expected["feature_f64"], **CSN_TOLERANCE)
    assert feature.mean == (0.485, 0.456, 0.406)


def test_every_stage_of_csn_has_the_shape_and_the_means_of_mmaction2s(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/ircsn_narrow.npz")
    network = loaded("ircsn:frames=16", path, tmp_path).image_tower
    expected, x = arrays(path, "out"), arrays(path, "in")["clip"]
    stages = ("stem", "pool", "layer1", "layer2", "layer3", "layer4")
    theirs = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4")
    for stage, their in zip(stages, theirs, strict=True):
        x = torch.inference_mode()(getattr(network, stage))(x)
        assert list(x.shape) == expected[f"{their}/shape"].tolist()
        np.testing.assert_allclose(x.mean((2, 3, 4)).numpy(), expected[f"{their}/mean_thw"], **CSN_TOLERANCE)


def test_csn_with_the_usual_epsilon_would_show(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/ircsn_narrow.npz")
    feature = loaded("ircsn:frames=16", path, tmp_path)
    pictures, expected = (
        arrays(path, "in")["clip"].transpose(1, 2).flatten(0, 1),
        arrays(path, "out")["feature"].numpy(),
    )
    for part in feature.image_tower.modules():
        if isinstance(part, torch.nn.BatchNorm3d):
            assert part.eps == 1e-3
            part.eps = 1e-5
    assert np.abs(given(feature.embed, pictures) - expected).max() > 0.02


def test_both_publishers_names_of_ir_csn_152_load_strictly_at_full_size(parity: Parity) -> None:
    schemes = json.loads(read_text(str(parity("features/ircsn152_state_dict_keys.json"))))
    for scheme, count in (("mmaction2_backbone", 930), ("vmz_pt", 932)):
        tensors = {key: torch.empty(shape, device="meta") for key, shape in schemes[scheme].items()}
        assert len(tensors) == count
        named = {_csn.from_mmaction(_csn.bare(key)): tensor for key, tensor in tensors.items()}
        assert _csn.shape({key: tensor.shape for key, tensor in named.items()}) == ((3, 8, 36, 3), 64, False)
        with torch.device("meta"):
            network = _csn.Csn()
        own = {key: tensor for key, tensor in named.items() if not key.startswith("fc.")}
        assert own.keys() == network.state_dict().keys()
        network.load_state_dict(own, strict=True, assign=True)
        fill(network, named, Path("152.pth"), "meta")


def test_names_that_trainers_put_before_a_tensor_are_dropped() -> None:
    assert _csn.from_mmaction(_csn.bare("backbone.conv1.conv.weight")) == "stem.0.weight"
    assert _csn.from_mmaction(_csn.bare("module.layer4.0.conv2.0.bn.bias")) == "layer4.0.conv2.1.bias"
    assert _csn.from_mmaction("layer1.0.downsample.bn.running_var") == "layer1.0.downsample.1.running_var"


def test_blip_gives_salesforces_projections_of_pictures(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/blip_retrieval_tiny.npz")
    needs(path, "in/pixels")
    image = given(loaded("blip", path, tmp_path, BLIP).embed, arrays(path, "in")["pixels"])
    np.testing.assert_allclose(image, arrays(path, "out")["image_proj"], **TOLERANCE)


def test_blip_gives_salesforces_projections_of_texts(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/blip_retrieval_tiny.npz")
    feature = loaded("blip", path, tmp_path, BLIP)
    inputs, expected = arrays(path, "in"), arrays(path, "out")
    text = given(feature.embed_tokens, inputs["input_ids"], inputs["attention_mask"])
    np.testing.assert_allclose(text, expected["text_proj"], **TOLERANCE)
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected["text_feat"], **TOLERANCE)


def test_blip_text_without_its_mask_is_another_vector(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/blip_retrieval_tiny.npz")
    feature = loaded("blip", path, tmp_path, BLIP)
    ids = arrays(path, "in")["input_ids"]
    unmasked = given(feature.embed_tokens, ids, torch.ones_like(ids))
    assert np.abs(unmasked - arrays(path, "out")["text_proj"].numpy()).max() > 1


def test_blip_has_its_authors_epsilon_and_berts_heads_without_a_configuration(parity: Parity, tmp_path: Path) -> None:
    config = loaded("blip", parity("features/blip_retrieval_tiny.npz"), tmp_path).config
    assert config.vision_config.layer_norm_eps == 1e-6
    assert config.text_config.num_attention_heads == 12
    assert config.vision_config.image_size == 384


def test_blip2_gives_laviss_vectors_of_texts(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/blip2_itc_tiny.npz")
    inputs = arrays(path, "in")
    text = given(loaded("blip2", path, tmp_path, BLIP2).embed_tokens, inputs["input_ids"], inputs["attention_mask"])
    np.testing.assert_allclose(text, arrays(path, "out")["text_feat_l2"], **TOLERANCE)


def test_blip2_gives_laviss_query_and_text_vectors(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/blip2_itc_tiny.npz")
    needs(path, "in/pixels")
    feature = loaded("blip2:reduce=none", path, tmp_path, BLIP2)
    inputs, expected = arrays(path, "in"), arrays(path, "out")
    queries = given(feature.embed, inputs["pixels"])
    np.testing.assert_allclose(queries, expected["image_embeds_proj_l2"].flatten(0, 1), **TOLERANCE)
    text = given(feature.embed_tokens, inputs["input_ids"], inputs["attention_mask"])
    np.testing.assert_allclose(text, expected["text_feat_l2"], **TOLERANCE)
    best = (queries.reshape(3, 4, 16) @ text.T).max(1)
    np.testing.assert_allclose(best, expected["itc_max"], **TOLERANCE)
    assert feature.rows == 4
    assert feature.pooling == "none"


@pytest.mark.parametrize("reduce", ["mean", "first"])
def test_blip2_reduces_its_queries_as_asked(reduce: str, parity: Parity, tmp_path: Path) -> None:
    path = parity("features/blip2_itc_tiny.npz")
    needs(path, "in/pixels")
    feature = loaded(f"blip2:reduce={reduce}", path, tmp_path, BLIP2)
    out = arrays(path, "out")
    expected = out["mean_of_l2_queries"] if reduce == "mean" else out["image_embeds_proj_l2"][:, 0]
    np.testing.assert_allclose(given(feature.embed, arrays(path, "in")["pixels"]), expected, **TOLERANCE)
    assert feature.rows == 1
    assert feature.provenance["reduce"] == reduce


def test_blip2s_old_configuration_still_gets_its_layers_for_text(parity: Parity, tmp_path: Path) -> None:
    old = {**BLIP2, "qformer_config": {**QFORMER, "qformer_text_input": True}}
    path = parity("features/blip2_itc_tiny.npz")
    feature = loaded("blip2", path, tmp_path, old)
    inputs = arrays(path, "in")
    text = given(feature.embed_tokens, inputs["input_ids"], inputs["attention_mask"])
    np.testing.assert_allclose(text, arrays(path, "out")["text_feat_l2"], **TOLERANCE)


def test_no_tensor_of_blip2_is_left_at_zero_as_transformers_would_leave_it(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/blip2_itc_tiny.npz")
    needs(path, "in/pixels")
    feature = loaded("blip2", path, tmp_path, BLIP2)
    assert feature.image_tower.query_tokens.abs().min() > 0
    assert feature.image_tower.vision_model.embeddings.class_embedding.abs().max() > 1e-3


@pytest.mark.parametrize("reduce", ["mean", "first", "qformer-mean"])
def test_video_llama_gives_its_authors_video_queries(reduce: str, parity: Parity, tmp_path: Path) -> None:
    path = parity("features/video_llama_tiny.npz")
    needs(path, "in/video_bcthw")
    feature = loaded(f"video-llama:frames=3,reduce={reduce}", path, tmp_path, BLIP2)
    video, out = arrays(path, "in")["video_bcthw"], arrays(path, "out")
    pictures = video.transpose(1, 2).flatten(0, 1)
    expected = {
        "mean": out["mean_768"],
        "first": out["video_hidden"][:, 0],
        "qformer-mean": out["qformer"].reshape(2, 3, 4, 24).mean((1, 2)),
    }[reduce]
    np.testing.assert_allclose(given(feature.embed, pictures), expected, **TOLERANCE)


def test_video_llamas_tower_and_queries_are_right_one_by_one(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/video_llama_tiny.npz")
    needs(path, "in/video_bcthw")
    network = loaded("video-llama:frames=3", path, tmp_path, BLIP2).image_tower
    video, out = arrays(path, "in")["video_bcthw"], arrays(path, "out")
    with torch.inference_mode():
        states = network.vision_model(pixel_values=video.transpose(1, 2).flatten(0, 1)).last_hidden_state
        np.testing.assert_allclose(states, out["ln_vision"], **TOLERANCE)
        queries = network.frame_queries(states)
        np.testing.assert_allclose(queries, out["qformer"], **TOLERANCE)
        np.testing.assert_allclose(
            network.video_queries(queries.reshape(2, 3, 4, 24)), out["video_hidden"], **TOLERANCE
        )


def test_video_llamas_video_queries_are_its_authors(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/video_llama_tiny.npz")
    feature = loaded("video-llama:frames=3", path, tmp_path, BLIP2)
    feature.image_part = ("video_",)
    expected = arrays(path, "out")
    videos, (frames, queries, width) = len(expected["video_hidden"]), expected["qformer"].shape
    states = expected["qformer"].reshape(videos, frames // videos, queries, width)
    found = given(feature.image_tower.video_queries, states)
    np.testing.assert_allclose(found, expected["video_hidden"], **TOLERANCE)
    np.testing.assert_allclose(found.mean(1), expected["mean_768"], **TOLERANCE)


def test_blip2s_queries_of_what_the_tower_saw_are_laviss(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/blip2_itc_tiny.npz")
    feature = loaded("blip2", path, tmp_path, BLIP2)
    feature.image_part = ("query_tokens", "qformer.", "vision_projection.")
    expected = arrays(path, "out")
    np.testing.assert_allclose(
        given(feature.queries_of, expected["ln_vision"]), expected["image_embeds_proj_l2"], **TOLERANCE
    )


def test_video_llama_tells_the_places_of_the_frames_apart(parity: Parity, tmp_path: Path) -> None:
    path = parity("features/video_llama_tiny.npz")
    needs(path, "in/video_bcthw")
    feature = loaded("video-llama:frames=3", path, tmp_path, BLIP2)
    video = arrays(path, "in")["video_bcthw"].transpose(1, 2)
    forward, backward = (given(feature.embed, one.flatten(0, 1)) for one in (video, video.flip(1)))
    assert np.abs(forward - backward).max() > 1e-3


def test_eva_files_without_a_beginning_name_the_same_tensors() -> None:
    for tail in ("cls_token", "pos_embed", "patch_embed.proj.bias", "blocks.38.attn.qkv.weight", "blocks.0.norm1.bias"):
        assert _lavis.lavis_name(tail) == _lavis.lavis_name(f"visual_encoder.{tail}")
    name = _lavis.lavis_name("video_Qformer.bert.encoder.layer.1.crossattention.self.key.bias")
    assert name == "video_qformer.encoder.layer.1.crossattention.attention.key.bias"
