"""BigFile folders, both ways, and files of word vectors."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest

from avs_cli.cli import exit_code
from avs_cli.errors import FormatError
from avs_cli.io.bigfile import BigFile, read_word_vectors
from avs_cli.io.store import open_store
from avs_cli.io.store_writer import Item, StoreWriter


def bigfile(folder: Path, ids: str = "v1\nv2\n", shape: str = "2 3") -> Path:
    folder.mkdir()
    np.arange(6, dtype="<f4").tofile(folder / "feature.bin")
    (folder / "id.txt").write_text(ids)
    (folder / "shape.txt").write_text(shape)
    return folder


def run(*arguments: object) -> tuple[int, str]:
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        return exit_code([str(argument) for argument in arguments]), told.getvalue()


@pytest.mark.parametrize("ids", ["v1\nv2\n", "v1 v2"])
def test_a_folder_becomes_a_store_and_the_store_the_same_folder(tmp_path: Path, ids: str) -> None:
    folder = bigfile(tmp_path / "resnet", ids)
    assert run("convert", folder, tmp_path / "s.h5") == (0, "")
    with open_store(str(tmp_path / "s.h5")) as store:
        assert (store.feature, store.ids) == ("resnet", ["v1", "v2"])
        assert store.vectors.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert run("convert", tmp_path / "s.h5", tmp_path / "back") == (0, "")
    assert (tmp_path / "back" / "feature.bin").read_bytes() == (folder / "feature.bin").read_bytes()
    assert (tmp_path / "back" / "shape.txt").read_text() == "2 3"
    assert BigFile(tmp_path / "back").ids == ["v1", "v2"]


def test_frames_of_a_store_are_called_as_published_tools_call_them(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "f.h5", "f", 2, {}, frame_level=True) as writer:
        writer.add([Item(None, "a", np.ones((2, 2))), Item(None, "b", np.zeros((1, 2)))])
        writer.finish(["a", "b"])
    assert run("convert", tmp_path / "f.h5::f", tmp_path / "big") == (0, "")
    assert BigFile(tmp_path / "big").ids == ["a_0", "a_1", "b_0"]


@pytest.mark.parametrize(
    ("ids", "shape", "told"),
    [
        ("v1", "2 3", "id.txt: 1 ids, and shape.txt says 2"),
        ("v1\nv2", "2 4", "feature.bin: 24 bytes, and 2 x 4 float32 are 32"),
        ("v1\nv2", "two", "shape.txt:1: not two numbers, rows and numbers per row"),
    ],
)
def test_files_that_do_not_agree_are_refused(tmp_path: Path, ids: str, shape: str, told: str) -> None:
    code, message = run("convert", bigfile(tmp_path / "big", ids, shape), tmp_path / "s.h5")
    assert code == 3
    assert message.rstrip().endswith(told)
    (tmp_path / "empty").mkdir()
    assert "is no BigFile" in run("convert", tmp_path / "empty", tmp_path / "s.h5")[1]


def test_word_vectors_come_from_text_or_a_folder_and_the_first_of_a_word_counts(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("3 2\ndog 1 2\nbad nan 1\ndog 9 9\ncat 3 4\n")
    found = read_word_vectors(str(tmp_path / "w.txt"))
    assert found.rows == {"dog": 0, "cat": 1}
    assert found.vectors.tolist() == [[1, 2], [3, 4]]
    assert read_word_vectors(str(bigfile(tmp_path / "big", "dog dog"))).rows == {"dog": 0}
    for text, told in (
        ("dog 1 2\ncat 1\n", ":2: 1 numbers for 'cat', and 2"),
        ("dog x\n", "no number"),
        ("", "no word"),
    ):
        (tmp_path / "w.txt").write_text(text)
        with pytest.raises(FormatError, match=told):
            read_word_vectors(str(tmp_path / "w.txt"))
