"""Weights on disk: found, fetched by name, read, and none of their code run."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avs_cli.errors import FormatError, UnavailableError
from avs_cli.io.weights import WeightFiles, commands, given, here, is_path, locate, pickled
from avs_cli.types import Source

EVIL = "from pathlib import Path\nPath({mark!r}).touch()\nclass Config: pass\nclass Model: pass\nclass Words: pass\n"
AUTO = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoTokenizer": ["evil.Words", None]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of tensors and a configuration."""
    save_file({"a": torch.arange(3.0)}, tmp_path / "1.safetensors", {"made": "here"})
    save_file({"b": torch.zeros(2, 2), "c": torch.ones(1)}, tmp_path / "2.safetensors")
    (tmp_path / "config.json").write_text('{"width": 3}')
    (tmp_path / "vocab.txt").write_text("é\n")
    return tmp_path


def test_a_folder_is_read_as_one_model(folder: Path) -> None:
    files = given(folder)
    assert files.root == folder
    assert [path.name for path in files.sources] == ["1.safetensors", "2.safetensors", "config.json"]
    assert files.header == {"made": "here"}
    assert files.keys == {"a", "b", "c"}
    assert files.shapes == {"a": (3,), "b": (2, 2), "c": (1,)}
    assert files.read(lambda key: key != "b").keys() == {"a", "c"}
    assert files.read()["a"].tolist() == [0, 1, 2]
    assert files.json("config.json") == {"width": 3}
    assert files.text("vocab.txt") == "é\n"
    assert (files.json("other.json"), files.text("other.txt")) == (None, None)


def test_one_file_of_a_folder_leaves_out_the_others(folder: Path) -> None:
    files = given(folder).only("2.safetensors")
    assert files is not None
    assert files.keys == {"b", "c"}
    assert files.json("config.json") == {"width": 3}
    assert given(folder).only("3.safetensors") is None
    assert given(folder / "1.safetensors").only("2.safetensors") is None


def test_beside_a_single_file_nothing_is_read(folder: Path) -> None:
    files = given(folder / "1.safetensors")
    assert files.sources == (folder / "1.safetensors",)
    assert (files.json("config.json"), files.text("vocab.txt")) == (None, None)


@pytest.mark.parametrize(("content", "message"), [("[1]", "not a JSON object"), ("{", "not JSON")])
def test_a_configuration_that_is_no_object_is_refused(content: str, message: str, folder: Path) -> None:
    (folder / "other.json").write_text(content)
    with pytest.raises(FormatError, match=message):
        given(folder).json("other.json")


def test_a_text_that_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError, match=r"vocab\.txt: not UTF-8"):
        given(folder).text("vocab.txt")


def test_what_is_given_goes_before_what_is_published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    source = Source(0.5, urls=("https://example.org/a.pth",))
    assert locate(source, str(folder), "m").root == folder
    assert not here(source)
    with pytest.raises(UnavailableError, match=r"the weights of m are not on this machine \(0\.5 GB\)"):
        locate(source, None, "m")
    kept = folder / "torch" / "hub" / "checkpoints" / "a.safetensors"
    assert f"avs convert {kept.with_suffix('.pth')} {kept} --trust-pickle" in commands(source)
    kept.parent.mkdir(parents=True)
    save_file({"z": torch.zeros(1)}, kept)
    assert here(source)
    assert locate(source, None, "m").keys == {"z"}


def test_weights_that_come_with_a_package_are_always_here_and_those_to_be_trained_never() -> None:
    assert here(Source(0))
    assert not here(Source(0, trained=True))


def test_only_tensors_are_read_of_a_pickle(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    assert pickled(tmp_path / "a.pth")["a"].tolist() == [1, 1]
    torch.save({"a": Path("b")}, tmp_path / "b.pth")
    torch.save([torch.ones(2)], tmp_path / "c.pth")
    (tmp_path / "d.pth").write_text("junk")
    (tmp_path / "e.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:-40])
    (tmp_path / "f.pth").touch()
    for name, message in {
        "b": "that torch saved",
        "c": "by their names",
        "d": "saved",
        "e": "saved",
        "f": "saved",
    }.items():
        with pytest.raises(FormatError, match=rf"{name}\.pth: not tensors .*{message}"):
            pickled(tmp_path / f"{name}.pth")
    with pytest.raises(FileNotFoundError):
        pickled(tmp_path / "nowhere.pth")


def test_a_name_under_which_the_user_has_a_folder_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roberta-base").mkdir()
    assert is_path("roberta-base")
    assert not is_path("xlm-roberta-base")


def test_digests_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    kept: dict[str, np.ndarray] = {}

    def remember(name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        return kept.setdefault(name, compute()) if name not in kept else kept[name]

    path = tmp_path / "a.safetensors"
    for value in (1.0, 2.0):
        save_file({"a": torch.full((3,), value), f"b{value}": torch.zeros(int(value))}, path)
        digest = WeightFiles(path, [path]).digest(remember)
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest() == WeightFiles(path, [path]).digest(remember)
    assert len(kept) == 2


@pytest.mark.parametrize("what", ["tokenizer", "network"])
def test_transformers_is_not_let_to_run_a_folders_code_or_to_ask(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "evil.py").write_text(EVIL.format(mark=str(mark)))
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(json.dumps({"auto_map": AUTO, "model_type": "evil"}))
    monkeypatch.setattr("builtins.input", lambda *asked: "y")
    with pytest.raises(FormatError, match="that transformers can read"):
        getattr(WeightFiles(tmp_path, []), what)()
    assert not mark.exists()
