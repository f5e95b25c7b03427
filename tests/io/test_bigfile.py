"""BigFile folders, both ways, and files of word vectors."""

import contextlib
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from avs_cli.cli import exit_code
from avs_cli.errors import FormatError
from avs_cli.io.arrays import read_npy, write_clip_retrieval, write_npy
from avs_cli.io.bigfile import BigFile, read_bigfile, read_word_vectors, write_bigfile
from avs_cli.io.store.reader import open_store
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.types import Block


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


def frames(path: Path) -> Path:
    with StoreWriter(path, "f", 2, {"model": "f"}, "float32", frame_level=True) as writer:
        writer.add([Item(None, "shot1_1", np.ones((2, 2))), Item(None, "shot1", np.zeros((1, 2)))])
        writer.finish(["shot1_1", "shot1"])
    return path


@pytest.mark.parametrize("target", ["big", "f.npy"])
def test_a_shots_frames_are_one_shot_again_after_a_round_trip(tmp_path: Path, target: str) -> None:
    assert run("convert", frames(tmp_path / "s.h5"), tmp_path / target) == (0, "")
    assert run("convert", tmp_path / target, tmp_path / "back.h5::f") == (0, "")
    assert (tmp_path / "back.h5").read_bytes() == (tmp_path / "s.h5").read_bytes()


def test_frames_of_a_store_are_called_as_published_tools_call_them(tmp_path: Path) -> None:
    assert run("convert", frames(tmp_path / "s.h5"), tmp_path / "big") == (0, "")
    assert BigFile(tmp_path / "big").ids == ["shot1_1_0", "shot1_1_1", "shot1_0"]
    published = eval((tmp_path / "big" / "video2frames.txt").read_text())  # as dual_encoding's readers do
    assert published == {"shot1_1": ["shot1_1_0", "shot1_1_1"], "shot1": ["shot1_0"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{'a': ['v2', 'v1']}", ""),
        ('{u"a": [u\'v2\'], "b": ["v1"]}', ""),
        ("{'a': ['v1', 'v3']}", "frame 'v3' of 'a' is missing from id.txt"),
        ("{'a': ['v1', 'v1']}", "frame 'v1' of 'a' is missing from id.txt or duplicated"),
        ("{'a': ['v1']}", "1 rows of id.txt belong to no video"),
        ("{'a': []}", "not a dict of videos and their frames"),
        ("__import__('os').abort()", "not a dict of videos"),
        ("[" * 100_000, "not a dict of videos"),
    ],
)
def test_video2frames_says_whose_frames_the_rows_are(tmp_path: Path, text: str, told: str) -> None:
    (bigfile(tmp_path / "big") / "video2frames.txt").write_text(text)
    code, message = run("convert", tmp_path / "big", tmp_path / "s.h5")
    assert (code, told in message) == (3 if told else 0, True)
    if not told:
        with open_store(str(tmp_path / "s.h5")) as store:
            assert store.frame_level and store.read(["a"]).vectors.tolist()[0] == [3, 4, 5]


def test_rows_become_frames_when_it_is_asked_and_are_named_when_they_look_like_it(tmp_path: Path) -> None:
    code, message = run("convert", bigfile(tmp_path / "big", "v1_1\nv1_0\n"), tmp_path / "rows.h5")
    assert code == 0 and "--frames" in message
    assert run("convert", tmp_path / "big", tmp_path / "frames.h5", "--frames") == (0, "")
    with open_store(str(tmp_path / "rows.h5")) as store:
        assert store.ids == ["v1_1", "v1_0"] and not store.frame_level
    with open_store(str(tmp_path / "frames.h5")) as store:
        assert store.ids == ["v1"]
        assert store.read(["v1"]).vectors.tolist() == [[3, 4, 5], [0, 1, 2]]
    code, message = run("convert", bigfile(tmp_path / "other"), tmp_path / "o.h5", "--frames")
    assert code == 3 and "id.txt:1: 'v1' is not a frame name, <item>_<number>" in message
    assert run("convert", bigfile(tmp_path / "v3c", "shot1_1\nshot1_2\n"), tmp_path / "v3c.h5") == (0, "")


def test_an_array_and_its_ids_become_a_store_and_the_store_the_same_array(tmp_path: Path) -> None:
    for kind in ("<f4", "<f2", ">f4", "<f8"):
        made = np.arange(6).reshape(2, 3).astype(kind)
        np.save(tmp_path / "a.npy", made if kind != "<f8" else np.asfortranarray(made))
        (tmp_path / "a.ids.txt").write_text("v1\nv2\n")
        assert run("convert", tmp_path / "a.npy", tmp_path / f"{kind[1:]}{kind[0] == '>'}.h5") == (0, "")
        with open_store(str(tmp_path / f"{kind[1:]}{kind[0] == '>'}.h5")) as store:
            assert (store.feature, store.ids, store.vectors.tolist()) == ("a", ["v1", "v2"], [[0, 1, 2], [3, 4, 5]])
            assert store.dtype == (np.float16 if kind == "<f2" else np.float32)
    assert run("convert", tmp_path / "f2False.h5", tmp_path / "b.npy") == (0, "")
    assert np.load(tmp_path / "b.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (tmp_path / "b.ids.txt").read_text() == "v1\nv2\n"


class Mark:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("mark"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("array", "ids", "told"),
    [
        (np.zeros((2, 3), np.float32), None, "its rows have no ids; write them, a line each, into a.ids.txt"),
        (np.zeros((2, 3), np.float32), "v1\n", "1 ids, and"),
        (np.zeros((3, 3), np.float32), "v1\nv2\nv1\n", "duplicate id 'v1'"),
        (np.zeros((2, 3), np.int64), "v1\nv2\n", "numbers of type int64, not float16"),
        (np.zeros((2,), np.float32), "v1\nv2\n", "an array of shape (2,)"),
        (np.zeros((0, 3), np.float32), "", "an array of shape (0, 3)"),
        (np.full((2, 3), np.nan, np.float32), "v1\nv2\n", "v1: a value is NaN"),
        (np.array([[Mark()], [1]]), "v1\nv2\n", "a pickle and may execute code"),
    ],
)
def test_arrays_that_are_no_features_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: np.ndarray, ids: str | None, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", array, allow_pickle=True)
    if ids is not None:
        Path("a.ids.txt").write_text(ids)
    code, message = run("convert", "a.npy", "s.h5")
    assert (code, message.count("\n")) == (3, 1)
    assert told in message
    assert not Path("s.h5").exists() and not Path("mark").exists()


def test_an_array_that_promises_more_than_its_file_holds_is_refused_before_there_is_room_for_it(
    tmp_path: Path,
) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**9)}
        np.lib.format.write_array_header_1_0(file, header)
    (tmp_path / "a.ids.txt").write_text("v1\n")
    code, message = run("convert", tmp_path / "a.npy", tmp_path / "s.h5")
    assert code == 3 and "0 bytes of numbers, and 1000000000 x 1000000000" in message


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("s.h5", "x.npz"), "x.npz: a store is converted to an .npy file or a folder"),
        (("s.h5", "x.parquet"), "x.parquet: a store is converted to an .npy file or a folder"),
        (("s.h5", "x.v2"), "a folder name with a dot needs a final /"),
        (("s.h5", "-"), "a store is converted to"),
        (("s.h5", "x.npy", "--layout", "bigfile"), "--layout has no effect without a store that becomes a folder"),
        (("s.h5", "x", "--frames"), "--frames has no effect without a BigFile or an .npy"),
        (("f.h5", "x", "--layout", "clip-retrieval"), "these are frame-level"),
        (("big", "x.npy"), "x.npy: vectors are converted to a feature store (.h5 or .hdf5)"),
        (("big", "x.h5", "--layout", "bigfile"), "--layout has no effect without a store"),
        (("captions", "x.npy"), "not as .npy"),
    ],
)
def test_what_a_file_cannot_become_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run("convert", bigfile(tmp_path / "big"), "s.h5")
    frames(tmp_path / "f.h5")
    Path("captions").write_text("v1#enc#0 a dog\n")
    before = sorted(tmp_path.iterdir())
    code, message = run("convert", *arguments)
    assert (code, message.count("\n")) == (2, 1), message
    assert told in message
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_may_have_a_dot_in_its_name(tmp_path: Path) -> None:
    run("convert", bigfile(tmp_path / "big"), tmp_path / "s.h5")
    assert run("convert", tmp_path / "s.h5", f"{tmp_path}/clip-v1.5/") == (0, "")
    assert BigFile(tmp_path / "clip-v1.5").ids == ["v1", "v2"]


def test_clip_retrievals_folders_are_read_and_written(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    for name in ("img_emb", "metadata"):
        (tmp_path / "clip" / name).mkdir(parents=True)
    for part, paths in {"00": ["a/x.jpg", "b/x.jpg"], "10": ["c/y z.png"]}.items():
        np.save(tmp_path / "clip" / "img_emb" / f"img_emb_{part}.npy", np.full((len(paths), 4), int(part), "f2"))
        metadata = tmp_path / "clip" / "metadata" / f"metadata_{part}.parquet"
        parquet.write_table(pyarrow.table({"image_path": paths, "caption": [""] * len(paths)}), metadata)
    assert run("convert", tmp_path / "clip", tmp_path / "s.h5") == (0, "")
    with open_store(str(tmp_path / "s.h5")) as store:
        assert store.ids == ["a/x", "b/x", "y_z"] and store.dtype == np.float16
        assert store.vectors[:, 0].tolist() == [0, 0, 10]
    assert run("convert", tmp_path / "s.h5", tmp_path / "out", "--layout", "clip-retrieval") == (0, "")
    assert np.load(tmp_path / "out" / "img_emb" / "img_emb_0.npy").shape == (3, 4)
    names = parquet.read_table(tmp_path / "out" / "metadata" / "metadata_0.parquet").column("image_path").to_pylist()
    assert names == ["a/x", "b/x", "y_z"]
    assert run("convert", tmp_path / "out", tmp_path / "again.h5::clip") == (0, "")
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "s.h5").read_bytes()
    (tmp_path / "out" / "metadata" / "metadata_0.parquet").write_bytes(b"PAR1")
    code, message = run("convert", tmp_path / "out", tmp_path / "o.h5")
    assert code == 3 and "no parquet file with a column image_path" in message


def test_without_pyarrow_clip_retrievals_folders_say_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    run("convert", bigfile(tmp_path / "big"), tmp_path / "s.h5")
    code, message = run("convert", tmp_path / "s.h5", tmp_path / "out", "--layout", "clip-retrieval")
    assert code == 4 and "pip install 'avs-cli[parquet]'" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("write", [write_npy, write_clip_retrieval])
def test_an_array_takes_no_room_before_it_is_written(tmp_path: Path, write: Callable[..., None]) -> None:
    """The system ends a process that writes to a file's map when the disk is full (SIGBUS), without a message."""
    if write is write_clip_retrieval:
        pytest.importorskip("pyarrow")
    rows = np.arange(40_000, dtype="f4").reshape(-1, 4)
    sizes = []

    def blocks() -> Iterator[Block]:
        for low in (0, 5_000):
            sizes.extend(path.stat().st_size for path in tmp_path.rglob(".*.part"))
            yield Block([f"v{row}" for row in range(low, low + 5_000)], rows[low : low + 5_000])

    write(tmp_path / "a.npy", rows.shape, rows.dtype, blocks())
    assert len(sizes) == 2 and max(sizes) <= 128 + rows.nbytes // 2
    (written,) = (path for path in tmp_path.rglob("*.npy") if path.is_file())
    np.save(tmp_path / "numpys.npy", rows)
    assert written.read_bytes() == (tmp_path / "numpys.npy").read_bytes()


@pytest.mark.parametrize("name", ["shape.txt", "feature.bin", "id.txt", "video2frames.txt", "a.npy", "a.ids.txt"])
def test_a_part_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = bigfile(tmp_path / "big")
    np.save(folder / "a.npy", np.zeros((1, 3), "f4"))
    (folder / "a.ids.txt").write_text("a")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    read = read_npy if name.startswith("a.") else read_bigfile
    with pytest.raises(FormatError, match=f"{name}: not a regular file"):
        read(folder / "a.npy" if name.startswith("a.") else folder, False)


CALLS = ["os.replace", "os.fsync", "h5py.File.close", "pathlib.Path.unlink", "pathlib.Path.rmdir", "pathlib.Path.mkdir"]


@pytest.mark.parametrize("source", ["big", "frames", "a.npy"])
def test_a_killed_import_goes_on_and_ends_in_the_bytes_of_an_undisturbed_one(
    tmp_path: Path, killed: Callable[..., bool], monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr("avs_cli.stages.convert.PART", 2)
    monkeypatch.chdir(tmp_path)
    ids, vectors = [f"v{k // 2}_{k % 2}" for k in range(7)], np.arange(21, dtype="<f4").reshape(7, 3)
    for name in ("big", "frames"):
        write_bigfile(name, 3, [Block(ids, vectors)])
    videos = {f"v{k}": [id for id in ids if id.startswith(f"v{k}_")] for k in range(4)}
    Path("frames", "video2frames.txt").write_text(str(videos))
    np.save("a.npy", vectors)
    Path("a.ids.txt").write_text("\n".join(ids))
    assert run("convert", source, "whole.h5::f")[0] == 0
    kept = {path.name for path in tmp_path.iterdir()} | {"killed.h5"}
    moments = 0
    # What comes after a source is read is the same for all: of two, half of the moments.
    for called, count, done in itertools.product(CALLS, (1, 4), (False, True) if source == "big" else (True,)):
        if killed(["convert", source, "killed.h5::f"], called, count, done):
            moments += 1
            code, message = run("convert", source, "killed.h5::f")
            assert code == 0, (called, count, done, message)
        assert Path("killed.h5").read_bytes() == Path("whole.h5").read_bytes(), (called, count, done)
        assert {path.name for path in tmp_path.iterdir()} == kept
        Path("killed.h5").unlink()
    assert moments > (9 if source == "big" else 5)


@pytest.mark.parametrize("count", range(1, 6))
def test_an_interrupted_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("avs_cli.stages.convert.PART", 1)
    assert run("convert", bigfile(tmp_path / "big"), tmp_path / "whole.h5::f") == (0, "")
    kept = {path.name for path in tmp_path.iterdir()} | {"cut.h5"}
    calls, flush = itertools.count(1), os.fsync

    def interrupted(file: int) -> None:
        flush(file)
        if next(calls) == count:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        code = run("convert", tmp_path / "big", tmp_path / "cut.h5::f")[0]
    assert code == (130 if next(calls) > count else 0)
    assert run("convert", tmp_path / "big", tmp_path / "cut.h5::f") == (0, "")
    assert (tmp_path / "cut.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_an_import_of_other_vectors_does_not_go_on(tmp_path: Path) -> None:
    assert run("convert", bigfile(tmp_path / "big"), tmp_path / "s.h5") == (0, "")
    before = (tmp_path / "s.h5").read_bytes()
    assert run("convert", tmp_path / "big", tmp_path / "s.h5") == (0, "")
    np.arange(1, 7, dtype="<f4").tofile(tmp_path / "big" / "feature.bin")
    code, message = run("convert", tmp_path / "big", tmp_path / "s.h5")
    assert code == 3 and "contains 'v1' with different vectors" in message
    assert (tmp_path / "s.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("ids", "shape", "told"),
    [
        ("v1", "2 3", "id.txt: 1 ids, but shape.txt has 2 rows"),
        ("v1\nv2", "2 4", "feature.bin: 24 bytes, but 2 x 4 float32 values need 32"),
        ("v1\nv1", "2 3", "id.txt:2: duplicate id 'v1'"),
        ("v1\nv2", "1000000000 1000000000", "need 4000000000000000000"),
        ("v1\nv2", f"{'9' * 5000} 3", "shape.txt:1: not two numbers: rows and dimensions"),
        ("v1\nv2", "² 3", "shape.txt:1: not two numbers: rows and dimensions"),
        ("", "0 3", "shape.txt:1: no vectors: 0 rows of 3 dimensions"),
        ("v1\nv2", "1000000 0", "shape.txt:1: no vectors: 1000000 rows of 0 dimensions"),
        ("v1\nv2", "two", "shape.txt:1: not two numbers: rows and dimensions"),
    ],
)
def test_files_that_do_not_agree_are_refused(tmp_path: Path, ids: str, shape: str, told: str) -> None:
    code, message = run("convert", bigfile(tmp_path / "big", ids, shape), tmp_path / "s.h5")
    assert code == 3
    assert told in message and message.rstrip().endswith(told[-20:])
    (tmp_path / "empty").mkdir()
    assert "neither a BigFile" in run("convert", tmp_path / "empty", tmp_path / "s.h5")[1]


def test_word_vectors_come_from_text_or_a_folder_and_the_first_of_a_word_counts(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("3 2\ndog 1 2\nbad nan 1\ndog 9 9\ncat 3 4\n")
    found = read_word_vectors(str(tmp_path / "w.txt"))
    assert found.rows == {"dog": 0, "cat": 1}
    assert found.vectors.tolist() == [[1, 2], [3, 4]]
    assert read_word_vectors(str(bigfile(tmp_path / "big", "dog dog"))).rows == {"dog": 0}
    for text, told in (
        ("dog 1 2\ncat 1\n", ":2: 1 dimensions for 'cat', but 2"),
        ("dog x\n", "other than numbers"),
        ("", "no word"),
    ):
        (tmp_path / "w.txt").write_text(text)
        with pytest.raises(FormatError, match=told):
            read_word_vectors(str(tmp_path / "w.txt"))
