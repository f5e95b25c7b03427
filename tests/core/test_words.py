"""Texts word by word: from `avs extract` to a head that looks at words, and a search that reads its topics so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from avs_cli.core.models.clip.towers import Towers, tokenise
from avs_cli.core.training.pairs import score_matrix
from avs_cli.io.store.reader import Store
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.stages.heads import load_heads
from avs_cli.stages.training_data import TrainingData

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
    assert "frame-level" in avs("info", "words.h5").stdout


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


TINY = {
    "embed_dim": 6, "quick_gelu": True, "text_cfg": {"width": 64, "heads": 1, "layers": 1, "context_length": 16},
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 64, "patch_size": 16},
}  # fmt: skip


def test_a_head_over_clips_frames_and_words_scores_as_xclip_does_over_clips_towers(avs: Avs, tmp_path: Path) -> None:
    """Captions have 3 to 9 tokens, of which 8 count; videos have two of three frames."""
    torch.manual_seed(0)
    network = open_clip.CLIP(**TINY).eval()
    (tmp_path / "clip").mkdir()
    save_file(network.state_dict(), tmp_path / "clip" / "open_clip_model.safetensors")
    (tmp_path / "clip" / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))
    for output, name in (("sentence", "sentences.h5"), ("words,words=8", "spoken.h5")):
        ran = avs("extract", "--text", "captions.txt", "--model", f"clip:output={output}", "--weights", "clip",
                  "--dtype", "float32", "-o", name, *PLACE)  # fmt: skip
        assert ran.returncode == 0, ran.stderr
    (tmp_path / "v.mp4").touch()
    ran = avs("extract", "v.mp4", "--model", "clip:output=words", "--weights", "clip", "-o", "v.h5", *PLACE)
    assert (ran.returncode, "encodes text only" in ran.stderr) == (2, True)
    texts = ("--text", "sentences.h5", "--text", "spoken.h5")
    ran = avs("train", "captions.txt", "--video", "frames.h5", *texts, "--head", "xclip:dim=6,frames=3,words=8",
              "--objective", "contrastive", "--epochs", 2, "--learning-rate", 0.01,
              "-o", "h.safetensors", *PLACE)  # fmt: skip
    assert ran.returncode == 0, ran.stderr

    (loaded,) = load_heads(["h.safetensors"])
    head: Any = loaded.head
    with TrainingData(["frames.h5"], ["sentences.h5", "spoken.h5"]) as data:
        pairs = data.pairs(["captions.txt"])
        scores = score_matrix(head, pairs)
    tokens = tokenise(pairs.sentences, 8)
    with torch.inference_mode(), Store(tmp_path / "frames.h5") as frames:
        words = Towers(network).texts(tokens)[1]
        sentences = Towers(network).texts(tokenise(pairs.sentences, 16))[0]
        spoken = (torch.arange(8) <= tokens.argmax(1)[:, None]).float()
        mean = (words * spoken[:, :, None]).sum(1) / spoken.sum(1, keepdim=True)
        said = head.model.embed_texts(head.text(torch.cat([sentences, mean], 1)), head.word(words), spoken)
        seen = torch.from_numpy(frames.read(["v1", "v2", "v3"]).vectors.astype(np.float32)).view(3, 2, 4)
        padded = torch.cat([head.video(seen), torch.zeros(3, 1, 6)], 1)
        videos = head.model.embed_videos(padded, torch.tensor([[1, 1, 0]] * 3))
        expected = head.model.similarities(said, videos) / head.model.logit_scale.exp()
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)
