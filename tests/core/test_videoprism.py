"""VideoPrism's vectors are those of transformers' own class and processor."""

from pathlib import Path

import numpy as np
import pytest
import tiny_weights as tiny
import torch

from avs_cli.core.encoders import Runtime, encoders
from avs_cli.core.extraction.sampling import sample_times
from avs_cli.io import weights as reader
from avs_cli.types import Sampling


@torch.inference_mode()
def test_clips_and_texts_are_those_of_the_original(tmp_path: Path) -> None:
    from transformers import AutoModel, AutoProcessor

    tiny.MAKERS["videoprism"](tmp_path)
    original, processor = AutoModel.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    encoder = encoders.load("videoprism")(Runtime(reader, weights=str(tmp_path)))
    clips = np.random.default_rng(0).integers(0, 255, (2, 4, 36, 36, 3), np.uint8)
    texts = ["a red dog", "the cat runs on the street, and far away"]
    seen = processor(videos=list(clips), do_sample_frames=False, return_tensors="pt")
    expected = original.get_video_features(**seen).pooler_output.reshape(2, 32)
    np.testing.assert_allclose(encoder.encode_frames(clips.reshape(8, 36, 36, 3)), expected, atol=1e-5)
    read = processor(text=texts, padding="max_length", truncation=True, max_length=16, return_tensors="pt")
    wanted = original.get_text_features(read["input_ids"], read["attention_mask"]).pooler_output
    np.testing.assert_allclose(encoder.encode_text(texts), wanted, atol=1e-5)
    assert encoder.sampling == Sampling(fps=None, count=4, clip=4)


@pytest.mark.parametrize(("total", "rate"), [(100, 25.0), (16, 25.0), (401, 29.97)])
def test_frames_are_sampled_as_by_the_published_processor(total: int, rate: float) -> None:
    from transformers import LlavaOnevisionVideoProcessor
    from transformers.video_utils import VideoMetadata

    expected = LlavaOnevisionVideoProcessor().sample_frames(VideoMetadata(total, fps=rate), num_frames=16)
    times = sample_times(0.0, total / rate, Sampling(fps=None, count=16, clip=16), rate)
    assert [round(time * rate) for time in times] == expected.tolist()
