"""Texts word by word: from `avs extract` to a head that looks at words, and a search that reads its topics so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avs_cli.io.store import Store
from avs_cli.io.store_writer import Item, StoreWriter

Avs = Callable[..., Any]
PLACE = ("--threads", 1, "--device", "cpu")
WORDWISE = ("--model", "minilm:output=words", "--dtype", "float32")
CAPTIONS = (
    "v1#0 a dog runs\nv1#1 the dog is running on a beach\nv2#0 a red car\nv2#1 cars\nv3#0 a man eats\nv3#1 food\n"
)
WORDS = [3, 7, 3, 1, 3, 1]


@pytest.fixture
def avs(avs_here: Avs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Avs:
    """In a folder of captions, their words, and videos of two frames."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    draw = np.random.default_rng(0)
    with StoreWriter(tmp_path / "frames.h5", "frames", 4, {"model": "tiny"}, frame_level=True) as writer:
        writer.add([Item(None, f"v{k}", draw.normal(size=(2, 4))) for k in (1, 2, 3)])
        writer.finish(["v1", "v2", "v3"])
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    ran = avs_here("extract", "--text", "captions.txt", *WORDWISE, "-o", "words.h5", *PLACE)
    assert ran.returncode == 0, ran.stderr
    return avs_here


def test_a_store_has_a_vector_for_each_word(avs: Avs, tmp_path: Path) -> None:
    with Store(tmp_path / "words.h5") as words:
        assert (words.feature, words.frame_level) == ("minilm-words", True)
        assert [*words.ids] == [line.split()[0] for line in CAPTIONS.splitlines()]
        block = words.read(words.ids)
    assert block.offsets is not None
    assert np.diff(block.offsets).tolist() == WORDS
    assert "several vectors per item" in avs("info", "words.h5").stdout


def test_topics_are_read_word_by_word_as_the_captions_were(avs: Avs, tmp_path: Path) -> None:
    line = ("train", "captions.txt", "--video", "frames.h5", "--text", "words.h5", "--epochs", 2, "-o", "h.safetensors")
    ran = avs(*line, "--head", "xclip:dim=8,frames=2,words=5", *PLACE)
    assert ran.returncode == 0, ran.stderr
    (tmp_path / "topics.txt").write_text("1 a dog\n2 a car on the beach\n")
    ran = avs("extract", "--text", "topics.txt", *WORDWISE, "-o", "t.h5", *PLACE)
    assert ran.returncode == 0, ran.stderr
    search = ("search", "frames.h5", "--head", "h.safetensors", "--topics", "topics.txt", *PLACE)
    itself, given = avs(*search), avs(*search, "--vectors", "t.h5")
    assert itself.returncode == 0, itself.stderr
    assert itself.stdout == given.stdout
    assert len(itself.stdout.splitlines()) == 2 * 3
    ran = avs("search", "words.h5", "--query", "a dog")
    assert (ran.returncode, "encodes words one by one" in ran.stderr) == (2, True)


def test_a_head_that_does_not_look_at_words_takes_their_mean(avs: Avs) -> None:
    line = ("train", "captions.txt", "--video", "frames.h5", "--text", "words.h5", "--epochs", 1, "-o", "h.safetensors")
    assert avs(*line, "--head", "laff:dim=8,heads=2", *PLACE).returncode == 0
    ran = avs("search", "frames.h5", "--head", "h.safetensors", "--query", "a dog", *PLACE)
    assert len(ran.stdout.splitlines()) == 3
