"""PE-AV's vectors are those of transformers' own class and processor, from a folder with the sound's tower too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_weights as tiny
import torch

from avs_cli.core.encoders import Runtime, encoders
from avs_cli.core.extraction.sampling import sample_times
from avs_cli.errors import SpecError
from avs_cli.io import weights as reader
from avs_cli.types import ProcessorSampling

TEXTS = ["a red dog", "the cat runs on the street"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.MAKERS["pe-av:frames=3"](tmp_path_factory.mktemp("pe-av"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Any:
    return encoders.load("pe-av:frames=3")(Runtime(reader, weights=str(folder)))


@torch.inference_mode()
def test_clips_and_texts_are_those_of_the_original_which_hears_them_too(folder: Path, encoder: Any) -> None:
    from transformers import AutoProcessor, PeAudioVideoConfig, PeAudioVideoModel

    # Its configuration, read from the folder, would forget the width of the frames' vectors.
    original = PeAudioVideoModel.from_pretrained(folder, config=PeAudioVideoConfig(**tiny.PE_AV)).eval()
    processor = AutoProcessor.from_pretrained(folder)
    clips = np.random.default_rng(0).integers(0, 255, (2, 3, 28, 28, 3), np.uint8)
    inputs = processor(videos=list(clips), text=TEXTS, padding=True, return_tensors="pt")
    sound = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(0))
    given = {key: inputs[key] for key in ("input_ids", "attention_mask", "pixel_values_videos")}
    expected = original(**given, input_values=sound)
    np.testing.assert_allclose(encoder.encode_frames(clips.reshape(6, 28, 28, 3)), expected.video_embeds, atol=2e-5)
    np.testing.assert_allclose(encoder.encode_text(TEXTS), expected.text_video_embeds, atol=2e-5)
    assert encoder.provenance["mean"] == [0.5, 0.5, 0.5]


def test_a_folder_of_videos_and_texts_alone_gives_the_same(encoder: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (tmp_path / name).write_bytes((encoder.files.root / name).read_bytes())
    save_file(dict(encoder.tensors(("",))), tmp_path / "model.safetensors")
    encoder.config.save_pretrained(tmp_path)
    alone = encoders.load("pe-av:frames=3")(Runtime(reader, weights=str(tmp_path)))
    clip = np.random.default_rng(1).integers(0, 255, (3, 28, 28, 3), np.uint8)
    np.testing.assert_allclose(alone.encode_frames(clip), encoder.encode_frames(clip), atol=1e-5)
    np.testing.assert_allclose(alone.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=1e-5)


def test_nothing_is_printed(encoder: Any, capfd: pytest.CaptureFixture[str]) -> None:
    encoder.build()
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("total", "rate"), [(100, 25.0), (16, 25.0), (7, 25.0), (401, 29.97)])
def test_frames_are_sampled_as_by_the_published_processor(total: int, rate: float) -> None:
    from transformers import PeVideoVideoProcessor
    from transformers.video_utils import VideoMetadata

    expected = PeVideoVideoProcessor().sample_frames(VideoMetadata(total, fps=rate), num_frames=16)
    times = sample_times(0.0, total / rate, ProcessorSampling(fps=None, count=16, clip=16), rate)
    assert [round(time * rate) for time in times] == expected


def test_a_clip_needs_a_frame() -> None:
    assert sample_times(2.0, 4.0, ProcessorSampling(fps=None, count=1, clip=1), 25.0) == [2.0]
    with pytest.raises(SpecError, match="pe-av: frames=0: at least one frame"):
        encoders.load("pe-av:frames=0")(Runtime(reader))
