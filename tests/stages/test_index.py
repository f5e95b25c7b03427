"""An index follows its folder: it is that of a fresh one, byte for byte, and decodes nothing twice."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from avs_cli.core import encoders as package
from avs_cli.core.encoders import encoders
from avs_cli.errors import FormatError, IncompleteError, MismatchError, SpecError, UnavailableError, UnknownName
from avs_cli.io.store.files import read_files
from avs_cli.io.store.reader import open_store
from avs_cli.stages.extract import extract
from avs_cli.stages.index import Indexed, index
from avs_cli.stages.shots import detect, write_shots

TESTS = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("bench_index", TESTS / "benchmarks" / "bench_index.py")
assert _spec and _spec.loader
bench = importlib.util.module_from_spec(_spec)
sys.modules["bench_index"] = bench
_spec.loader.exec_module(bench)

MODEL = "tower:gain=2"
WINDOWS = "fixed:seconds=1"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Five videos of one to three seconds, one that ends too early, and a file that is no video."""
    found: list[bytes] = bench.contents(tmp_path_factory.mktemp("pool"))
    return found


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: list[bytes]) -> Path:
    """videos/a.mp4, b.mp4 and sub/c.mp4, of 1, 2 and 3 shots, and the tests' own encoders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(TESTS / "data" / "encoders")])
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    Path("videos/sub").mkdir(parents=True)
    for name, data in zip(("a", "b", "sub/c"), pool, strict=False):
        Path(f"videos/{name}.mp4").write_bytes(data)
    return tmp_path


def indexed(output: str = "videos.h5", model: Any = MODEL, **settings: Any) -> Indexed:
    return index("videos", output, model, shots=WINDOWS, workers=1, threads=1, **settings)


def frames_seen(gain: float = 2) -> int:
    """The number of frames that the encoder was given so far."""
    seen: int = sys.modules["avs_cli.core.encoders.tower"].SEEN[gain]
    return seen


def rows(path: str = "videos.h5") -> list[str]:
    with open_store(path) as store:
        return store.ids


def counts(done: Indexed) -> tuple[int, ...]:
    """New, changed, moved and gone videos, and shots."""
    return done.new, done.changed, done.moved, done.gone, done.shots


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_after_any_history_an_index_is_that_of_a_fresh_one(seed: int, folder: Path, pool: list[bytes]) -> None:
    work = folder / "work"
    work.mkdir()
    found, _ = bench.wrong(work, pool, seed)
    assert not found


def test_an_index_is_the_store_of_shots_and_extract_and_a_table_of_files() -> None:
    assert counts(indexed()) == (3, 0, 0, 0, 6)
    write_shots("shots.tsv", detect("videos", WINDOWS, workers=1).shots)
    extract("videos", "extracted.h5", MODEL, shots="shots.tsv", workers=1)
    with h5py.File("videos.h5") as ours, h5py.File("extracted.h5") as theirs:
        assert set(ours) == {*theirs, "files"}
        for group in theirs:
            assert set(ours[group]) == set(theirs[group]) and dict(ours[group].attrs) == dict(theirs[group].attrs)
            for name in theirs[group]:
                assert ours[group][name].dtype == theirs[group][name].dtype
                assert np.array_equal(ours[group][name][...], theirs[group][name][...])


def test_only_new_and_changed_videos_are_decoded(pool: list[bytes]) -> None:
    indexed()
    before = frames_seen()
    assert str(indexed()) == "nothing changed; 6 shots in videos.h5"
    os.replace("videos/a.mp4", "videos/sub/z.mp4")
    os.utime("videos/b.mp4", ns=(1, 1))
    assert counts(indexed()) == (0, 0, 1, 0, 6) and rows()[-1] == "z_1"
    assert frames_seen() == before
    Path("videos/sub/c.mp4").unlink()
    assert counts(indexed()) == (0, 0, 0, 1, 3) and rows() == ["b_1", "b_2", "z_1"]
    assert frames_seen() == before
    Path("videos/new.mp4").write_bytes(pool[3])
    Path("videos/b.mp4").write_bytes(pool[4])
    assert str(indexed()) == "1 new, 1 changed; 4 shots in videos.h5"
    assert frames_seen() > before


def test_an_index_of_which_nothing_changed_is_not_written_and_loads_no_model() -> None:
    indexed()
    before, loaded = os.stat("videos.h5"), len(sys.modules["avs_cli.core.encoders.tower"].LOADED)
    indexed()
    after = os.stat("videos.h5")  # which was read: the time of that may have changed
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(sys.modules["avs_cli.core.encoders.tower"].LOADED) == loaded
    assert {path.name for path in Path().glob("videos.h5*")} == {"videos.h5"}


def test_names_of_shots_follow_the_folders_that_tell_files_apart(pool: list[bytes]) -> None:
    indexed()
    before = frames_seen()
    os.replace("videos/a.mp4", "videos/sub/b.mp4")
    indexed()
    assert rows() == ["videos/b_1", "videos/b_2", "sub/b_1", "c_1", "c_2", "c_3"] and frames_seen() == before


def test_a_model_that_is_added_is_the_only_one_that_runs() -> None:
    indexed()
    before, other = frames_seen(2), "tower:gain=3"
    assert indexed(model=other).models == (other,)
    assert frames_seen(2) == before
    indexed("fresh.h5", [MODEL, other])
    assert Path("videos.h5").read_bytes() == Path("fresh.h5").read_bytes()
    Path("videos/b.mp4").unlink()
    index("videos", "videos.h5", workers=1)  # all models of the store follow
    indexed("both.h5", [MODEL, other])
    assert Path("videos.h5").read_bytes() == Path("both.h5").read_bytes()


def test_videos_that_are_none_are_in_the_ledger_and_tried_again_when_they_change(pool: list[bytes]) -> None:
    Path("videos/broken.mp4").write_bytes(b"no video")
    with pytest.raises(
        IncompleteError, match=r"^videos\.h5: 1 of 4 videos could not be indexed; see videos\.h5\.errors"
    ):
        indexed()
    entry = Path("videos.h5.errors.jsonl").read_text()
    assert entry.count("\n") == 1 and '"id": "broken", "stage": "shots"' in entry and "videos/broken.mp4" in entry
    os.replace("videos/broken.mp4", "videos/moved.mp4")
    with pytest.raises(IncompleteError):
        indexed()
    assert '"id": "moved"' in Path("videos.h5.errors.jsonl").read_text()
    Path("videos/moved.mp4").write_bytes(pool[0])
    assert counts(indexed()) == (0, 1, 0, 0, 7)
    assert not Path("videos.h5.errors.jsonl").exists()


def test_known_failures_are_not_read_again_unless_they_are_to(hearing: Callable[[], Any]) -> None:
    Path("videos/broken.mp4").write_bytes(b"no video")
    totals = []
    for settings in ({}, {}, {"retry_failed": True}):
        report = hearing()
        with pytest.raises(IncompleteError):
            indexed(report=report, **settings)
        totals.append(report.totals["shots"])
        assert any("broken.mp4" in note for note in report.notes) == (settings == {} and len(totals) == 1)
    assert totals == [4, 0, 1]


def test_missing_videos_are_kept_where_that_is_wanted() -> None:
    indexed()
    Path("videos/a.mp4").unlink()
    done = indexed(keep_missing=True)
    assert (done.gone, done.kept, done.shots) == (0, 1, 6) and rows()[-1] == "a_1"
    assert counts(indexed()) == (0, 0, 0, 1, 5)


def test_videos_outside_of_the_folders_are_neither_removed_nor_forgotten() -> None:
    indexed()
    with pytest.raises(MismatchError, match=r"also has videos outside of these folders: videos/sub/c\.mp4; give"):
        index(["videos/a.mp4", "videos/b.mp4"], workers=1)
    assert index("videos/sub", keep_missing=True, workers=1).kept == 2
    assert index("videos", workers=1).shots == 6


def test_a_folder_under_another_path_is_the_same_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed()
    monkeypatch.setattr("avs_cli.stages.index.digest", lambda path: pytest.fail(f"read {path}"))
    assert index(folder / "videos").moved == 3


def test_a_video_that_changes_while_it_is_read_is_not_kept(monkeypatch: pytest.MonkeyPatch, pool: list[bytes]) -> None:
    encoders.load("tower")
    tower = sys.modules["avs_cli.core.encoders.tower"].Tower
    encode = tower.encode_frames

    def encode_frames(self: Any, frames: Any) -> Any:
        Path("videos/a.mp4").write_bytes(pool[4])
        return encode(self, frames)

    with monkeypatch.context() as patched:
        patched.setattr(tower, "encode_frames", encode_frames)
        with pytest.raises(IncompleteError):
            indexed()
    assert "changed while it was indexed" in Path("videos.h5.errors.jsonl").read_text()
    assert counts(indexed()) == (1, 0, 0, 0, 7)


def test_work_with_other_weights_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        Path(name).write_bytes(name.encode())
    with monkeypatch.context() as patched:
        patched.setattr("avs_cli.stages.index.compose", lambda *arguments: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            indexed(weights={MODEL: "one"})
    assert Path("videos.h5.parts").exists()
    indexed(weights={MODEL: "other"})
    indexed("fresh.h5", weights={MODEL: "other"})
    assert Path("videos.h5").read_bytes() == Path("fresh.h5").read_bytes()


def test_an_encoder_that_has_changed_encodes_all_shots_again_where_it_is_named(
    pool: list[bytes], hearing: Callable[[], Any]
) -> None:
    Path("other").write_bytes(b"")
    both = [MODEL, "tower:gain=3"]
    indexed("fresh.h5", both)
    indexed(model=both, weights={MODEL: "other"})
    before, report = Path("videos.h5").read_bytes(), hearing()
    assert str(index("videos", report=report)) == "nothing changed; 6 shots in videos.h5"
    assert report.notes[0].startswith(f"videos.h5: {MODEL} has changed since: weights is ")
    assert Path("videos.h5").read_bytes() == before
    seen = frames_seen(3)
    assert str(indexed()) == f"{MODEL} encoded again; 6 shots in videos.h5"
    assert Path("videos.h5").read_bytes() == Path("fresh.h5").read_bytes() and frames_seen(3) == seen
    # Nothing is known of an encoder that was never loaded here: new shots tell.
    indexed("second.h5", both, weights={MODEL: "other"})
    shutil.rmtree("cache")
    Path("videos/new.mp4").write_bytes(pool[3])
    with pytest.raises(MismatchError, match=rf"second\.h5: {MODEL} has changed since.*; --model {MODEL} encodes all"):
        index("videos", "second.h5", workers=1)
    indexed("second.h5")
    indexed("fresh.h5")
    assert Path("second.h5").read_bytes() == Path("fresh.h5").read_bytes()


def test_the_weights_of_a_package_are_compared_without_having_been_loaded(
    monkeypatch: pytest.MonkeyPatch, hearing: Callable[[], Any]
) -> None:
    monkeypatch.setattr("avs_cli.stages.extraction.PACKAGED", ("tower",))
    Path("other").write_bytes(b"")
    indexed(weights={MODEL: "other"})
    shutil.rmtree("cache")
    report = hearing()
    index("videos", report=report)
    assert "has changed since" in report.notes[0]


def test_settings_that_do_not_fit_the_store_are_refused(pool: list[bytes]) -> None:
    Path("weights").write_bytes(b"")
    indexed()
    with pytest.raises(MismatchError, match=r"has shots of fixed:seconds=1, not of content"):
        index("videos", shots="content")
    Path("videos/new.mp4").write_bytes(pool[3])
    with pytest.raises(MismatchError, match="has changed since: weights"):
        indexed(weights={MODEL: "weights"})
    extract("videos", "other.h5", MODEL, workers=1)
    with pytest.raises(MismatchError, match="not written by avs index"):
        indexed("other.h5")
    with pytest.raises(SpecError, match="a feature per model"):
        indexed("videos.h5::mine")
    extract("videos", "videos.h5", "colour", workers=1)
    with pytest.raises(MismatchError, match=r"videos\.h5::colour was added by another command"):
        indexed()
    assert read_files("videos.h5") is not None


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("nosuch", UnknownName, "unknown encoder 'nosuch'"),
        ("clip", UnavailableError, "the weights of ViT-B-32-quickgelu"),
        ("minilm", SpecError, "minilm encodes text only"),
    ],
)
def test_a_model_that_cannot_encode_is_refused_before_any_video_is_read(
    model: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(Path("hub").absolute()))
    with pytest.raises(error, match=message):
        indexed(model=model)
    assert not [*Path().glob("videos.h5*")]
    indexed()
    before = Path("videos.h5").read_bytes()
    with pytest.raises(error, match=message):
        indexed(model=[MODEL, model])
    assert (Path("videos.h5").read_bytes(), [*Path().glob("videos.h5.parts")]) == (before, [])


def test_folders_without_videos_are_refused_and_nothing_is_written(pool: list[bytes]) -> None:
    Path("empty").mkdir()
    Path("empty/picture.png").write_bytes(b"")
    with pytest.raises(FormatError, match="contains no videos"):
        index("empty")
    Path("empty/broken.mp4").write_bytes(b"no video")
    with pytest.raises(IncompleteError, match="no shots in any video; nothing written"):
        index("empty", model="colour", workers=1)
    with pytest.raises(FileNotFoundError):
        index("nowhere")
    assert not list(Path().glob("videos.h5*"))


def test_strange_names_are_indexed_or_refused_one_by_one(pool: list[bytes]) -> None:
    for name in ("two words", "line\nbreak", "über", "x" * 250):
        Path(f"videos/{name}.mp4").write_bytes(pool[0])
    Path(os.fsdecode(b"videos/\xff.mp4")).write_bytes(pool[0])
    Path("videos/loop").symlink_to(".")
    with pytest.raises(IncompleteError, match="2 of 8 videos could not be indexed"):
        indexed()
    assert {"two_words_1", "line_break_1", "über_1"} <= set(rows()) and len(rows()) == 9
    ledger = Path("videos.h5.errors.jsonl").read_text()
    assert "not UTF-8" in ledger and "too long" in ledger
