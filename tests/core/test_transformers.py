"""What encoders of transformers share: the version that they need."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from avs_cli.core.encoders import Runtime, encoders
from avs_cli.core.encoders._transformers import require
from avs_cli.errors import FormatError, UnavailableError
from avs_cli.io import weights as reader
from avs_cli.types import Pixels


def test_an_older_transformers_is_refused_with_the_version_and_the_command() -> None:
    for installed in ("5.14.2", "4.57.1", "5.9"):
        with pytest.raises(UnavailableError) as raised:
            require("tipsv2", "5.15", installed)
        said = f"tipsv2 needs transformers 5.15 or newer, not {installed}: pip install 'transformers>=5.15'"
        assert str(raised.value) == said


@pytest.mark.parametrize("installed", ["5.15.0", "5.15.0.dev0", "5.24.0", "6.0"])
def test_the_needed_transformers_and_newer_ones_are_taken(installed: str) -> None:
    require("tipsv2", "5.15", installed)


@pytest.mark.parametrize(
    ("spec", "needed"), [("videoprism", "5.13"), ("tipsv2:b14", "5.15"), ("embeddinggemma2", "5.21")]
)
def test_an_encoder_says_so_before_it_looks_for_its_weights(
    spec: str, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: "5.12.1")
    with pytest.raises(UnavailableError, match=f"needs transformers {needed} or newer, not 5.12.1"):
        encoders.load(spec)(Runtime(reader, weights="nowhere"))


SQUASHED = {"size": {"height": 32, "width": 32}, "resample": 3}
CROPPED = {
    "size": {"shortest_edge": 40},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Pixels(448, None, "bilinear")),
        ({"preprocessor_config.json": SQUASHED}, Pixels(32, None, "bicubic")),
        ({"processor_config.json": {"image_processor": CROPPED}}, Pixels(32, 40, "bilinear")),
        ({"processor_config.json": {}, "preprocessor_config.json": CROPPED}, Pixels(32, 40, "bilinear")),
    ],
)
def test_frames_are_prepared_as_the_folders_processor_says(
    files: dict[str, Any], expected: Pixels, tmp_path: Path
) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert encoders.load("tipsv2")(Runtime(reader, weights=str(tmp_path))).pixels == expected


@pytest.mark.parametrize(
    "change", [{"resample": 1}, {"size": {"height": 32, "width": 40}}, {"size": {"longest_edge": 9}}]
)
def test_another_preparation_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SQUASHED | change))
    with pytest.raises(FormatError, match=r"frames of size .* are not known"):
        assert encoders.load("tipsv2")(Runtime(reader, weights=str(tmp_path))).pixels
