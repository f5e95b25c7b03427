"""EmbeddingGemma 2's vectors are those of transformers' own class and processor, with the published prompts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_weights as tiny
import torch
from PIL import Image

from avs_cli.core.encoders import Runtime, encoders
from avs_cli.core.extraction.sampling import sample_times
from avs_cli.errors import SpecError
from avs_cli.io import weights as reader
from avs_cli.io.video.frames import read_frames
from avs_cli.types import FittedPixels, Frames, ProcessorSampling, Shot

TEXTS = ["a red dog", "the cat runs on the street"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.MAKERS["embeddinggemma2:frames=3"](tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Any:
    return encoders.load("embeddinggemma2:frames=4")(Runtime(reader, weights=str(folder)))


@pytest.fixture(scope="module")
def original(folder: Path) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder).eval()


@torch.inference_mode()
def mean(original: Any, inputs: Any) -> np.ndarray:
    """The published pooling: the mean over the tokens that are there, at unit length."""
    states = original(**inputs).last_hidden_state
    there = inputs["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((states * there).sum(1) / there.sum(1), dim=-1).numpy()


def test_texts_are_those_of_the_original(encoder: Any, original: Any) -> None:
    prompts = [f"task: search result | query: {text}" for text in TEXTS]
    inputs = encoder.files.processor()(text=prompts, return_tensors="pt")
    assert inputs["attention_mask"].sum(1).diff() > 0  # one is padded
    assert inputs["input_ids"][1, [0, -1]].tolist() == [2, 1]  # from <bos> to <eos>
    np.testing.assert_allclose(encoder.encode_text(TEXTS), mean(original, inputs), atol=1e-5)
    assert not any(name.startswith(("audio_tower", "embed_audio")) for name, _ in encoder.network.named_parameters())


def test_clips_are_those_of_the_original(encoder: Any, original: Any) -> None:
    clip = np.random.default_rng(0).integers(0, 255, (4, 96, 144, 3), np.uint8)
    clip[3] = clip[2]  # repeated: the shot has three frames
    inputs = encoder.files.processor()(
        text=["title: none | text: <|video|>"], videos=[clip[:3]], do_sample_frames=False, do_resize=False,
        return_tensors="pt",
    )  # fmt: skip
    # 2 x 3 tokens a frame.
    assert (inputs["input_ids"] == original.config.video_token_id).sum() == 18
    given = encoder.encode_frames(np.concatenate([clip, clip[::-1]]))
    np.testing.assert_allclose(given[:1], mean(original, inputs), atol=1e-5)
    assert np.array_equal(given[1:], encoder.encode_frames(clip[::-1]))
    assert np.abs(given[0] - given[1]).max() > 1e-3


def test_a_shorter_vector_is_the_first_numbers_at_unit_length(folder: Path, encoder: Any) -> None:
    short = encoders.load("embeddinggemma2:dim=128")(Runtime(reader, weights=str(folder)))
    whole = encoder.encode_text(TEXTS)
    assert (encoder.dim, short.dim, short.provenance["dim"]) == (160, 128, 128)
    expected = whole[:, :128] / np.linalg.norm(whole[:, :128], axis=1, keepdims=True)
    np.testing.assert_allclose(short.encode_text(TEXTS), expected, atol=1e-6)
    with pytest.raises(SpecError, match="dim: '100' is not one of 768, 512, 256, 128"):
        encoders.load("embeddinggemma2:dim=100")


def test_frames_keep_their_proportions_as_in_the_published_processor(encoder: Any, tmp_path: Path) -> None:
    from transformers.models.embedding_gemma2.processing_embedding_gemma2 import get_aspect_ratio_preserving_size

    assert encoder.pixels == FittedPixels(384, None, multiple=48, most=70 * 48**2)  # the folder has 70 tokens a frame
    pixels = FittedPixels(528, None, multiple=48, most=140 * 48**2)
    for width, height in ((1920, 1080), (640, 360), (100, 80), (608, 1080), (1000, 100), (400, 400)):
        Image.new("RGB", (width, height)).save(tmp_path / "a.png")
        (found,) = read_frames(tmp_path / "a.png", [Shot("a", "a", 0, 0)], lambda *_, frame_rate: [0.0], pixels)
        assert isinstance(found, Frames)
        assert found.pixels.shape[1:3] == get_aspect_ratio_preserving_size(height, width, 16, 140 * 9, 3)


@pytest.mark.parametrize(("total", "rate"), [(100, 25.0), (12, 25.0), (99, 29.97), (1600, 29.97)])
def test_frames_are_sampled_as_by_the_published_processor(total: int, rate: float) -> None:
    from transformers import EmbeddingGemma2VideoProcessor
    from transformers.video_utils import VideoMetadata

    given = VideoMetadata(total, fps=rate, duration=total / rate)
    expected = EmbeddingGemma2VideoProcessor().sample_frames(given, 1, 32, "uniform").tolist()
    times = sample_times(0.0, total / rate, ProcessorSampling(fps=1.0, count=32, clip=32), rate)
    assert [round(time * rate) for time in times] == expected + expected[-1:] * (32 - len(expected))


def test_what_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(SpecError, match="frames=33: the model takes 1 to 32"):
        encoders.load("embeddinggemma2:frames=33")(Runtime(reader))
    with pytest.raises(SpecError, match="use --precision bf16 or fp32"):
        encoders.load("embeddinggemma2")(Runtime(reader, precision="fp16"))
