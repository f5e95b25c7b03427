"""What CONTRIBUTING.md promises: paths that exist, an example that works from the command line, one file per entry."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avs_cli.io.head_file import load_head
from avs_cli.io.store.reader import Store
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.io.text.trec import read_run

Avs = Callable[..., Any]
Add = Callable[[str, str, str], None]

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# The program, with one more folder of fusion methods.
PROGRAM = (
    "import sys, avs_cli.core.fusion.methods as package; package.__path__.append(sys.argv.pop(1)); "
    "from avs_cli.cli import main; main()"
)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:avs_cli|tests)/[\w/.]+)`", TEXT))))
def test_a_path_that_is_named_exists(path: str) -> None:
    assert (CHECKOUT / path).exists()


@pytest.mark.parametrize("pattern", re.findall(r"\| `(core/[\w/]+)/NAME\.py`", TEXT))
def test_a_place_for_entries_is_a_registry(pattern: str) -> None:
    assert "Registry(" in (CHECKOUT / "avs_cli" / pattern / "__init__.py").read_text() or pattern.endswith(
        ("measures", "shots")
    )


def test_the_example_is_a_fusion_method_as_it_stands(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    path, _, code = block.removeprefix("# ").partition("\n")
    assert path == "avs_cli/core/fusion/methods/median_rank.py"
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / Path(path).name).write_text(code)
    for name, order in {"a": "xyz", "b": "xzy", "c": "yx"}.items():
        rows = (f"1 Q0 {shot} {rank} {-rank} {name}\n" for rank, shot in enumerate(order, start=1))
        (tmp_path / f"{name}.trec").write_text("".join(rows))
    line = ["fuse", "a.trec", "b.trec", "c.trec", "--method", "median-rank:offset=1", "-o", "fused.trec"]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "methods"), *line]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    # Ranks of x: 1, 1, 2; of y: 2, 3, 1; of z: 3, 2 and none.
    assert read_run(str(tmp_path / "fused.trec")) == {"1": {"x": 1 / 2, "y": 1 / 3, "z": 1 / 4}}


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Add:
    """One more file in a package of entries, and nothing else."""

    def added(package: str, name: str, code: str) -> None:
        folder = tmp_path / "added" / package.replace(".", "_")
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(code)
        module = importlib.import_module(f"avs_cli.core.{package}")
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(folder)])

    return added


ENCODER = '''
"""The mean colour of a frame."""

import numpy as np

from avs_cli.core.encoders.catalogue import Model
from avs_cli.types import Pixels, Sampling, Source

MODELS = {
    "rgb": Model(dim=3, parameters=0, gmacs=0, licence="CC0-1.0", source=Source(0)),
    "red": Model(dim=1, parameters=0, gmacs=0, licence="CC0-1.0", source=Source(0)),
}


class MeanColour:
    pixels, sampling, rows, pooling, has_text, word_level = Pixels(8, None), Sampling(), 1, "mean", False, False

    def __init__(self, dim):
        self.dim, self.provenance = dim, {"model": "mean colour", "channels": dim}

    def encode_frames(self, frames):
        return frames.mean((1, 2))[:, : self.dim].astype(np.float32)


def load(runtime, channels: str = "rgb"):
    return MeanColour(MODELS[channels].dim)
'''


def test_an_encoder_with_its_published_models_is_one_file(avs_here: Avs, add: Add) -> None:
    add("encoders", "mean_colour", ENCODER)
    listed = {one["model"]: one for one in json.loads(avs_here("extract", "--list-models", "--json").stdout)}
    assert {name: one["dim"] for name, one in listed.items() if name.startswith("mean")} == {
        "mean-colour:rgb": 3,
        "mean-colour:red": 1,
    }
    Image.new("RGB", (40, 30), (200, 100, 50)).save("a.png")
    for channels, colour in {"rgb": [200, 100, 50], "red": [200]}.items():
        ran = avs_here("extract", "a.png", "--model", f"mean-colour:{channels}", "-o", f"{channels}.h5")
        assert ran.returncode == 0, ran.stderr
        with Store(f"{channels}.h5") as store:
            assert store.read(["a"]).vectors.tolist() == [colour]


def test_a_measure_is_one_file(avs_here: Avs, add: Add) -> None:
    add(
        "evaluation.measures",
        "last",
        "def score(ranking, judgments, of: int = 1):\n"
        "    return judgments[ranking[-of]].relevance / 4 if ranking[-of] in judgments else 0.0\n",
    )
    Path("q.qrels").write_text("1 0 x 0\n1 0 y 1\n1 0 z 3\n")
    Path("a.trec").write_text("1 Q0 x 1 3 a\n1 Q0 y 2 2 a\n1 Q0 z 3 1 a\n")
    ran = avs_here("eval", "q.qrels", "a.trec", "-m", "last", "-m", "last:of=2", "--json")
    assert ran.returncode == 0, ran.stderr
    (row,) = json.loads(ran.stdout)["runs"]
    assert list(row["scores"].values()) == [3 / 4, 1 / 4]


def test_a_reranker_is_one_file(avs_here: Avs, add: Add) -> None:
    add(
        "search.rerankers",
        "backwards",
        "def rerank(candidates, by: float = 1.0):\n    return -by * candidates.scores\n",
    )
    Path("a.trec").write_text("1 Q0 x 1 3 a\n1 Q0 y 2 2 a\n1 Q0 z 3 1 a\n")
    ran = avs_here("rerank", "a.trec", "--method", "backwards:by=2", "--weight", 1, "-o", "b.trec")
    assert ran.returncode == 0, ran.stderr
    assert sorted(read_run("b.trec")["1"], key=read_run("b.trec")["1"].__getitem__) == ["x", "y", "z"]


HEAD = """
from avs_cli.core.models.heads.w2vvpp import W2VVPP


def build(videos, texts, encoders, dim: int = 4):
    return W2VVPP(videos, texts, encoders, dim, 0.0, False)


def footprint(settings, videos, texts):
    return settings["dim"], 0, settings["dim"]
"""
OBJECTIVE = """
from avs_cli.core.training.objectives.base import cosines


def build(aim: float = 1.0):
    return lambda batch: (cosines(batch).diagonal(dim1=1, dim2=2) - aim).square().mean()
"""
COUNTS = "def build(corpus, min_count: int = 1):\n    return BagOfWords(corpus.vocabulary(min_count, True), True)\n"


def test_a_head_an_objective_and_a_text_encoder_are_a_file_each(avs_here: Avs, add: Add, tmp_path: Path) -> None:
    add("models.heads", "narrow", HEAD)
    add("training.objectives", "squares", OBJECTIVE)
    add("models.text", "counts", "from avs_cli.core.models.text.bow import BagOfWords\n\n\n" + COUNTS)
    chance = np.random.default_rng(0)
    ids = [f"v{number}" for number in range(8)]
    with StoreWriter(tmp_path / "v.h5", "clip", 3, {"model": "m"}) as writer:
        writer.add([Item(None, one, chance.normal(size=3)) for one in ids])
        writer.finish(ids)
    Path("captions.txt").write_text("".join(f"{one}#enc#0 a thing called {one}\n" for one in ids))
    ran = avs_here(
        "train", "captions.txt", "--video", "v.h5", "--text", "counts", "--head", "narrow:dim=5", "--objective",
        "squares:aim=0.5", "--epochs", 2, "--batch-size", 4, "--threads", 1, "--device", "cpu", "-o", "h.safetensors",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    head = load_head("h.safetensors").head
    assert (head["kind"], head["settings"], head["encoders"][0]["name"]) == ("narrow", {"dim": 5}, "counts")
    ran = avs_here("search", "v.h5", "-q", "a thing called v3", "--head", "h.safetensors", "-o", "found.trec")
    assert ran.returncode == 0, ran.stderr
    (found,) = read_run("found.trec").values()
    assert sorted(found) == ids
