"""Extraction from Python: the stores are those that `avs extract` writes."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avs_cli.core import encoders as package
from avs_cli.errors import IncompleteError, SpecError, UnknownName
from avs_cli.io.store.reader import open_store
from avs_cli.stages.extract import extract, extract_texts
from avs_cli.types import Topic

ENCODERS = Path(__file__).resolve().parents[1] / "data" / "encoders"
Here = Callable[..., Any]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """images/a_1.png … of one colour each, the tests' own encoders in the registry, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(ENCODERS)])
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    for name, colour in {"a_1": (200, 0, 0), "a_2": (0, 200, 0), "b_1": (0, 0, 100)}.items():
        Image.new("RGB", (16, 16), colour).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def vectors(name: str) -> dict[str, list[float]]:
    with open_store(name) as store:
        return dict(zip(store.ids, store.read(store.ids).vectors.tolist(), strict=True))


def test_images_become_the_store_that_the_command_writes(avs_here: Here) -> None:
    name = extract("images", "python.h5", "colour", workers=1)
    assert name == "python.h5::colour"
    assert vectors(name) == {"a_1": [200, 0, 0], "a_2": [0, 200, 0], "b_1": [0, 0, 100]}
    assert avs_here("extract", "images", "--model", "colour", "-o", "command.h5", "--workers", 1).returncode == 0
    assert Path("python.h5").read_bytes() == Path("command.h5").read_bytes()


def test_parameters_are_the_commands_options(avs_here: Here) -> None:
    name = extract(
        [Path("images")], "python.h5::mine", "colour:gain=2", frames="name", pool="max", dtype="float32", thumbnails=0,
        frame_norm="l2", workers=1, shard=(1, 1),
    )  # fmt: skip
    assert name == "python.h5::mine" and vectors(name) == {"a": [1, 1, 0], "b": [0, 0, 1]}
    line = ("extract", "images", "--model", "colour:gain=2", "-o", "command.h5::mine", "--frames", "name", "--pool")
    options = ("max", "--dtype", "float32", "--thumbnails", 0, "--frame-norm", "l2", "--workers", 1)
    assert avs_here(*line, *options).returncode == 0
    assert Path("python.h5").read_bytes() == Path("command.h5").read_bytes()


def test_shards_share_the_files() -> None:
    shards = [vectors(extract("images", f"{i}.h5", "colour", shard=(i, 2), workers=1)) for i in (1, 2)]
    assert [list(shard) for shard in shards] == [["a_1", "b_1"], ["a_2"]]


def test_texts_are_a_file_topics_or_a_mapping(avs_here: Here) -> None:
    Path("topics.txt").write_text("661 red\n662 bag\n")
    name = extract_texts("topics.txt", "python.h5", "colour")
    assert vectors(name) == {"661": [1, 0, 0], "662": [0, 1, 1]}
    assert avs_here("extract", "--text", "topics.txt", "--model", "colour", "-o", "command.h5").returncode == 0
    extract_texts({"661": "red", "662": "bag"}, "mapping.h5", "colour")
    extract_texts([Topic("661", "red"), Topic("662", "bag")], "topics.h5", "colour")
    for other in ("command.h5", "mapping.h5", "topics.h5"):
        assert Path(other).read_bytes() == Path("python.h5").read_bytes()


def test_files_that_fail_are_notes_and_make_the_store_incomplete(caplog: pytest.LogCaptureFixture) -> None:
    Path("images/broken.png").write_bytes(b"no image")
    with (
        caplog.at_level(logging.WARNING, "avs_cli"),
        pytest.raises(IncompleteError, match=r"^s\.h5: 1 of 4 shots are missing; see s\.h5\.errors\.jsonl$"),
    ):
        extract("images", "s.h5", "colour", workers=1)
    assert len(caplog.messages) == 1 and "broken.png" in caplog.messages[0]
    assert np.array(list(vectors("s.h5").values())).shape == (3, 3)


def test_what_cannot_be_is_refused_before_a_file_is_written(folder: Path) -> None:
    with pytest.raises(UnknownName):
        extract("images", "s.h5", "color")
    with pytest.raises(SpecError, match="cannot be combined"):
        extract("images", "s.h5", "colour", frames="name", shots="shots.tsv")
    with pytest.raises(SpecError, match="part 3 of 2"):
        extract("images", "s.h5", "colour", shard=(3, 2))
    with pytest.raises(FileNotFoundError):
        extract_texts("nowhere.txt", "s.h5", "colour")
    assert not list(folder.glob("s.h5*"))
