"""Qwen3-VL-Embedding's vectors are those of transformers' own class and processor, with the authors' prompts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_weights as tiny
import torch
from PIL import Image

from avs_cli.core.encoders import Runtime, encoders
from avs_cli.errors import FormatError, SpecError
from avs_cli.io import weights as reader
from avs_cli.io.video.frames import read_frames
from avs_cli.types import FittedPixels, Frames, Shot

TEXTS = ["a red dog", "the cat runs on the street"]
PROMPT = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
OF_FRAMES, OF_TEXTS = "Represent the user's input.", "Find a video that contains the following visual content."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.MAKERS["qwen3-vl-embedding:frames=3"](tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Any:
    return encoders.load("qwen3-vl-embedding:frames=4")(Runtime(reader, weights=str(folder)))


@pytest.fixture(scope="module")
def original(folder: Path) -> Any:
    from transformers import Qwen3VLModel

    return Qwen3VLModel.from_pretrained(folder).eval()


@torch.inference_mode()
def last(original: Any, inputs: Any) -> np.ndarray:
    """What the authors' code makes of the inputs: the state of the last token that is there, at unit length."""
    states = original(**inputs).last_hidden_state
    ends = inputs["attention_mask"].shape[1] - 1 - inputs["attention_mask"].flip(1).argmax(1)
    return torch.nn.functional.normalize(states[range(len(states)), ends], dim=-1).numpy()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)


def test_texts_are_those_of_the_original(encoder: Any, original: Any) -> None:
    prompts = [PROMPT.format(OF_TEXTS, text) for text in TEXTS]
    inputs = encoder.files.processor()(text=prompts, padding=True, padding_side="right", return_tensors="pt")
    np.testing.assert_allclose(encoder.encode_text(TEXTS), last(original, inputs), atol=1e-5)


def test_clips_are_those_of_the_original_with_the_times_of_their_frames(encoder: Any, original: Any) -> None:
    from transformers.video_utils import VideoMetadata

    clip = noise(4, 64, 96)
    clip[3] = clip[2]  # repeated: the shot has three frames
    processor = encoder.files.processor()
    times = VideoMetadata(3, fps=1.0, frames_indices=[0, 1, 2])
    inputs = processor(
        text=[PROMPT.format(OF_FRAMES, "<|video_pad|>")], videos=[clip[:3]], video_metadata=[times],
        do_sample_frames=False, do_resize=False, return_tensors="pt",
    )  # fmt: skip
    # 2 x 3 tokens for each two frames; the third frame is there twice.
    frame = f"<|vision_start|>{6 * '<|video_pad|>'}<|vision_end|>"
    seen = PROMPT.format(OF_FRAMES, f"<0.5 seconds>{frame}<2.0 seconds>{frame}")
    assert processor.tokenizer.decode(inputs["input_ids"][0]) == seen
    assert processor.tokenizer.decode(encoder.inputs(clip[:3])["input_ids"][0]) == seen
    given = encoder.encode_frames(np.concatenate([clip, clip[::-1]]))
    np.testing.assert_allclose(given[:1], last(original, inputs), atol=1e-5)
    assert np.array_equal(given[1:], encoder.encode_frames(clip[::-1]))
    assert np.abs(given[0] - given[1]).max() > 1e-3


def test_a_shot_of_one_frame_is_an_image(encoder: Any, original: Any) -> None:
    frame = noise(1, 64, 96)
    prompt = PROMPT.format(OF_FRAMES, "<|vision_start|><|image_pad|><|vision_end|>")
    inputs = encoder.files.processor()(text=[prompt], images=[frame[0]], do_resize=False, return_tensors="pt")
    given = encoder.encode_frames(np.repeat(frame, 4, axis=0))
    np.testing.assert_allclose(given, last(original, inputs), atol=1e-5)


def test_a_shorter_vector_is_the_first_numbers_at_unit_length(folder: Path, encoder: Any) -> None:
    short = encoders.load("qwen3-vl-embedding:dim=64")(Runtime(reader, weights=str(folder)))
    whole = encoder.encode_text(TEXTS)
    assert (encoder.dim, short.dim, short.provenance["dim"]) == (80, 64, 64)
    expected = whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True)
    np.testing.assert_allclose(short.encode_text(TEXTS), expected, atol=1e-6)
    for dim in (63, 81):
        with pytest.raises(SpecError, match=f"dim={dim} is not between 64 and 80"):
            assert encoders.load(f"qwen3-vl-embedding:dim={dim}")(Runtime(reader, weights=str(folder))).dim


def test_frames_keep_their_proportions_as_in_the_authors_code(tmp_path: Path) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    pixels = FittedPixels(864, None, multiple=32, least=128 * 1024, most=768 * 1024)
    for width, height in ((1920, 1080), (640, 360), (320, 240), (20, 500), (608, 1080), (976, 720), (400, 400)):
        Image.new("RGB", (width, height)).save(tmp_path / "a.png")
        (found,) = read_frames(tmp_path / "a.png", [Shot("a", "a", 0, 0)], lambda *_, frame_rate: [0.0], pixels)
        assert isinstance(found, Frames)
        assert found.pixels.shape[1:3] == smart_resize(height, width, 32, pixels.least, pixels.most), (width, height)
    Image.new("RGB", (2, 4000)).save(tmp_path / "a.png")
    with pytest.raises(FormatError, match="image too narrow"):
        list(read_frames(tmp_path / "a.png", [Shot("a", "a", 0, 0)], lambda *_, frame_rate: [0.0], pixels))


def test_many_frames_share_the_pixels_of_the_authors_limit(folder: Path) -> None:
    runtime = Runtime(reader, weights=str(folder))
    sizes = [encoders.load(f"qwen3-vl-embedding:frames={frames}")(runtime).pixels for frames in (16, 20, 64)]
    # 768 tokens of 32 x 32 pixels a frame, and 15360 of all; two frames share them.
    assert [pixels.most // 1024 for pixels in sizes] == [768, 768, 240]
    assert {(pixels.least // 1024, pixels.multiple, pixels.interpolation) for pixels in sizes} == {(128, 32, "bicubic")}
    with pytest.raises(SpecError, match="frames=65: the model takes 1 to 64"):
        encoders.load("qwen3-vl-embedding:frames=65")(Runtime(reader))
