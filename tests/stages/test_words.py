"""Words of shots: extraction of subtitles, alone and beside vectors, resumed after any kill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from films import subtitled_film

from avs_cli.core import encoders as package
from avs_cli.errors import IncompleteError, SpecError
from avs_cli.io.store.reader import features
from avs_cli.io.store.texts import TextStore
from avs_cli.io.text.shots import write_shots
from avs_cli.stages.extract import extract
from avs_cli.types import Shot

ENCODERS = Path(__file__).resolve().parents[1] / "data" / "encoders"
TABLE = [Shot(f"{name}_{n}", f"{name}.mkv", 4.0 * n, 4.0 * n + 4) for name in "abc" for n in range(2)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Videos a, b and c of eight seconds in media/, and a table of two shots of each; b has no subtitles."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(ENCODERS)])
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    Path("media").mkdir()
    for name in "abc":
        cues = [(1.0, 2.0, f"first of {name}"), (5.0, 6.0, f"second of {name}")]
        subtitled_film(Path(f"media/{name}.mkv"), 8, [] if name == "b" else cues)
    write_shots("shots.tsv", TABLE)
    return tmp_path


def words(path: str, feature: str | None = None) -> dict[str, list[str]]:
    with TextStore(path, feature) as store:
        return {id: [piece.text for piece in pieces] for id, pieces in store.items()}


FOUND = {
    "a_0": ["first of a"], "a_1": ["second of a"], "b_0": [], "b_1": [], "c_0": ["first of c"], "c_1": ["second of c"],
}  # fmt: skip


def test_a_shot_has_the_subtitles_of_its_time(hearing: Callable[[], Any]) -> None:
    report = hearing()
    assert extract("media", "w.h5", "subtitles", shots="shots.tsv", report=report) == "w.h5::subtitles"
    assert words("w.h5") == FOUND
    assert report.notes == ["1 of 3 videos have no subtitles"]
    with TextStore("w.h5") as store:
        assert store.shots()["a_1"] == Shot("a_1", "media/a.mkv", 4.0, 8.0)
        assert store.provenance["model"] == "subtitles" and "av" in store.provenance["versions"]
    before = Path("w.h5").read_bytes()
    extract("media", "w.h5", "subtitles", shots="shots.tsv")
    assert Path("w.h5").read_bytes() == before


def test_texts_and_vectors_are_features_of_one_store() -> None:
    models = ["subtitles", "tower:gain=2", "subtitles:de"]
    names = extract("media", "both.h5", models, shots="shots.tsv")
    assert names == ["both.h5::subtitles", "both.h5::tower-2", "both.h5::subtitles-de"]
    assert features("both.h5") == ["subtitles", "subtitles-de", "tower-2"]
    assert words("both.h5", "subtitles") == FOUND
    assert words("both.h5", "subtitles-de") == {id: [] for id in FOUND}
    for model in ("tower:gain=2", "subtitles", "subtitles:de"):
        extract("media", "each.h5", model, shots="shots.tsv")
    assert Path("both.h5").read_bytes() == Path("each.h5").read_bytes()
    with pytest.raises(SpecError, match="subtitles reads videos"):
        extract("media", "frames.h5", "subtitles", frames="name")


def test_one_bad_file_is_in_the_ledger_and_stops_nothing() -> None:
    Path("media/b.srt").write_bytes(b"\x89PNG\0")
    with pytest.raises(IncompleteError, match="2 of 6 shots are missing"):
        extract("media", "w.h5", "subtitles", shots="shots.tsv")
    assert words("w.h5") == {id: texts for id, texts in FOUND.items() if id[0] != "b"}
    assert "media/b.srt: not text" in Path("w.h5.errors.jsonl").read_text()
    Path("media/b.srt").unlink()
    extract("media", "w.h5", "subtitles", shots="shots.tsv", retry_failed=True)
    assert words("w.h5") == FOUND
    assert not Path("w.h5.errors.jsonl").exists()


def test_an_extraction_killed_at_any_moment_ends_with_the_same_bytes(
    killed: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    extract("media", "whole.h5", "subtitles", shots="shots.tsv")
    monkeypatch.setattr("avs_cli.stages.words.PART_SHOTS", 1)
    line = ["extract", "media", "--shots", "shots.tsv", "--model", "subtitles", "-o", "w.h5", "--workers", "1"]
    for called, count, done in (
        ("avs_cli.io.store.writer.FeatureWriter.add", 1, True),
        ("avs_cli.io.store.writer.FeatureWriter.add", 3, False),
        ("avs_cli.io.store.writer.FeatureWriter._join", 1, True),
    ):
        assert killed(line, called, count, done)
    assert len(list(Path("w.h5.parts").iterdir())) >= 3
    extract("media", "w.h5", "subtitles", shots="shots.tsv")
    assert Path("w.h5").read_bytes() == Path("whole.h5").read_bytes()
