"""The sound of videos: in time with the pictures, in pieces, and one bad video stops nothing."""

from pathlib import Path

import av
import numpy as np
import pytest
from films import subtitled_film
from PIL import Image
from written import spoken_film

from avs_cli.errors import FormatError
from avs_cli.io.video.sounds import PIECE, RATE, read_sound, sounds
from avs_cli.types import Failure, Sound

LOUD = 600


def joined(path: Path) -> np.ndarray:
    return np.concatenate([piece.samples for piece in read_sound(path)])


def begins(sound: np.ndarray) -> float:
    """The second of the first loud sample."""
    return float(np.argmax(np.abs(sound.astype(int)) > LOUD)) / RATE


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spoken_film(tmp_path_factory.mktemp("sound") / "film.mkv", 12, [2.0])


def test_sound_comes_in_pieces_of_ten_seconds(film: Path) -> None:
    pieces = list(read_sound(film))
    assert [(len(piece.samples), piece.last) for piece in pieces] == [(PIECE, False), (2 * RATE, True)]
    assert {piece.samples.dtype for piece in pieces} == {np.dtype(np.int16)}
    assert not any(piece.silent for piece in pieces)


def test_the_sentence_is_heard_when_it_is_said(film: Path, tmp_path: Path) -> None:
    assert begins(joined(film)) == pytest.approx(2.0, abs=0.05)
    late = spoken_film(tmp_path / "late.mkv", 6, [2.0], late=1.5)
    assert begins(joined(late)) == pytest.approx(2.0, abs=0.05)
    # Packets that are lost are silence: what comes after them does not move.
    lossy = spoken_film(tmp_path / "lossy.mkv", 6, [2.0], gap=lambda time: 0.5 < time < 1.5)
    assert begins(joined(lossy)) == pytest.approx(2.0, abs=0.05)
    assert len(joined(lossy)) == pytest.approx(6 * RATE, abs=RATE / 10)


def test_two_channels_at_another_rate_become_one(tmp_path: Path) -> None:
    path = tmp_path / "stereo.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        voice = container.add_stream("pcm_s16le", rate=44100)
        voice.layout = "stereo"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
        both = np.tile(np.array([8000, 0], np.int16), 2 * 44100)[None]
        chunk = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        chunk.sample_rate = 44100
        container.mux(voice.encode(chunk))
    sound = joined(path)
    assert len(sound) == pytest.approx(2 * RATE, abs=50)
    assert np.median(np.abs(sound)) == pytest.approx(4000, rel=0.5)


def test_videos_come_in_order_and_a_bad_one_is_a_failure(film: Path, tmp_path: Path) -> None:
    silent = subtitled_film(tmp_path / "silent.mkv", 2, [])
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    videos = [str(film), str(text), str(silent), str(picture), str(tmp_path / "none.mp4")]
    found = list(sounds(videos, 2, 20.0))
    assert [video for video, _ in found] == [videos[0], *videos]
    _, bad, none, still, missing = (one for _, one in found[1:])
    assert isinstance(bad, Failure) and bad.message.startswith(f"{text}: not a video")
    assert isinstance(missing, Failure) and "no such file" in missing.message
    assert all(isinstance(one, Sound) and one.silent and one.last and not len(one.samples) for one in (none, still))


def test_a_file_without_pictures_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="contains no video stream"):
        list(read_sound(Path(__file__).parents[1] / "data" / "said.ogg"))
