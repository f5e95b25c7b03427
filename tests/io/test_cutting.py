"""Clips against the frames and packets of the videos that they are cut from."""

import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest

from avs_cli.errors import FormatError
from avs_cli.io.video.cutting import cut_clip, media_info
from avs_cli.io.video.frames import probe

RATE, FRAMES = 25, 75
STEADY = [n / RATE for n in range(FRAMES)]
# Neighbours differ by 37 grey levels, more than any codec's loss.
LEVELS = [20 + 37 * n % 200 for n in range(FRAMES)]
START, END = 1.3, 2.1


class Film(NamedTuple):
    """How a video of three seconds is made, and the suffix of a copied clip of it."""

    name: str
    video: str
    sound: str | None
    copied: str
    times: list[float] = STEADY
    turned: int | None = None
    options: dict[str, str] = {}  # noqa: RUF012


FILMS = [
    Film("b-frames.mp4", "libx264", "aac", ".mp4", options={"bf": "2"}),
    Film("started-late.ts", "libx264", "aac", ".mkv", options={"bf": "2"}),
    Film("offset.mkv", "libx264", "libmp3lame", ".mkv", times=[n / RATE + 4 for n in range(FRAMES)]),
    Film("silent.mp4", "libx264", None, ".mp4"),
    Film("turned.mov", "libx264", "aac", ".mp4", turned=90),
    Film("uneven.mp4", "libx264", "aac", ".mp4", times=[n / RATE + 0.013 * (n % 3) for n in range(FRAMES)]),
    Film("old.avi", "mpeg4", "libmp3lame", ".mkv"),
    Film("web.webm", "libvpx", "libopus", ".webm"),
]


def shoot(path: Path, film: Film) -> Path:
    """A grey film with a key frame every 20, and a tone."""
    with av.open(str(path), "w") as out:
        # Every jump of the levels is a change of scene.
        options = {"sc_threshold": "0"} | film.options if film.video == "libx264" else None
        pictures = out.add_stream(film.video, rate=RATE, options=options)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, RATE if path.suffix == ".avi" else 1000)
        pictures.gop_size = 20
        if film.turned is not None:
            pictures.set_display_rotation(film.turned)
        tone = out.add_stream(film.sound, rate=48000) if film.sound else None
        for n, (level, time) in enumerate(zip(LEVELS, film.times, strict=True)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), level, np.uint8), format="gray").reformat(
                format="yuv420p"
            )
            frame.time_base = pictures.codec_context.time_base
            frame.pts = round(time / frame.time_base)
            out.mux(pictures.encode(frame))
            if tone:
                format = tone.codec_context.format.name
                wave = 0.2 * np.sin(np.arange(1920, dtype=np.float32) / 20 + n)
                heard = av.AudioFrame.from_ndarray(np.tile(wave, (2, 1)).astype(np.float32), "fltp", "stereo")
                heard.sample_rate, heard.time_base = 48000, Fraction(1, 48000)
                heard.pts = round((n / RATE + film.times[0]) * 48000)
                for part in av.AudioResampler(format, "stereo", 48000).resample(heard):
                    out.mux(tone.encode(part))
        out.mux(pictures.encode())
        if tone:
            out.mux(tone.encode())
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Film], Path]:
    made: dict[str, Path] = {}

    def get(film: Film) -> Path:
        if film.name not in made:
            made[film.name] = shoot(tmp_path_factory.mktemp("films") / film.name, film)
        return made[film.name]

    return get


def pictures(path: Path) -> list[tuple[float, float, str, bool]]:
    """Each frame's time from the first, mean grey level, digest of its pixels, and whether it is a key frame."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame) for frame in container.decode(video=0)]
    first = frames[0][0]
    grey = [(time - first, frame.to_ndarray()[:48], frame.key_frame) for time, frame in frames]
    return [(time, float(one.mean()), hashlib.sha256(one.tobytes()).hexdigest(), key) for time, one, key in grey]


def sound(path: Path) -> list[tuple[float, bytes]]:
    """Each packet of sound: its time from the first frame, and its content."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        first = next(frame.time for frame in container.decode(video=0))
    with av.open(str(path)) as container:
        packets: list[Any] = [packet for packet in container.demux(audio=0) if packet.size]
        return [(float(packet.pts * packet.time_base) - first, bytes(packet)) for packet in packets]


@pytest.mark.parametrize("made", FILMS, ids=lambda film: film.name)
def test_an_exact_clip_has_the_frames_of_the_shot_and_no_others(
    film: Callable[[Film], Path], tmp_path: Path, made: Film
) -> None:
    source = film(made)
    clip = cut_clip(source, tmp_path / "clip", START, END, exact=True)
    whole = pictures(source)
    wanted = [(time, level) for time, level, *_ in whole if START - 5e-4 <= time < END - 5e-4]
    found = pictures(clip)
    assert [level for _, level, *_ in found] == pytest.approx([level for _, level in wanted], abs=3)
    assert [time for time, *_ in found] == pytest.approx([time - wanted[0][0] for time, _ in wanted], abs=2e-3)
    assert probe(clip).rotation == (made.turned or 0)
    with av.open(str(clip)) as container:
        assert container.streams.video[0].codec_context.name == "h264"


@pytest.mark.parametrize("made", FILMS, ids=lambda film: film.name)
def test_a_copied_clip_starts_at_the_key_frame_before_and_has_every_frame_of_the_shot_as_it_is(
    film: Callable[[Film], Path], tmp_path: Path, made: Film
) -> None:
    source = film(made)
    clip = cut_clip(source, tmp_path / "clip", START, END)
    assert clip.suffix == made.copied
    whole, found = pictures(source), pictures(clip)
    first = max(n for n, (time, *_, key) in enumerate(whole) if key and time <= START)
    last = max(n for n, (time, *_) in enumerate(whole) if time < END - 5e-4)
    assert [digest for _, _, digest, _ in found[: last + 1 - first]] == [
        digest for _, _, digest, _ in whole[first : last + 1]
    ]
    assert len(found) <= last + 1 - first + 3  # frames that are decoded before they are shown
    assert found[0][3] and found[-1][0] + whole[first][0] < END + 0.2
    assert probe(clip).rotation == (made.turned or 0)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("made", FILMS, ids=lambda film: film.name)
def test_sound_is_copied_and_stays_in_step(
    film: Callable[[Film], Path], tmp_path: Path, made: Film, exact: bool
) -> None:
    source = film(made)
    clip = cut_clip(source, tmp_path / "clip", START, END, exact=exact)
    whole = pictures(source)
    times = [time for time, *_, key in whole if (time >= START - 5e-4 if exact else key and time <= START)]
    origin = times[0] if exact else times[-1]
    wanted = [(time - origin, content) for time, content in sound(source) if origin - 5e-4 <= time < END - 5e-4]
    found = sound(clip)
    # A transport stream has a header before each packet, and an AVI knows the time of sound to a third of a packet.
    assert all(one.endswith(content) for (_, one), (_, content) in zip(wanted, found, strict=True))
    assert [time for time, _ in found] == pytest.approx([time for time, _ in wanted], abs=9e-3)
    assert (len(found) > 10) == (made.sound is not None)


def test_equal_clips_have_equal_bytes_and_an_existing_file_is_left_as_it_is(
    film: Callable[[Film], Path], tmp_path: Path
) -> None:
    for made in (FILMS[0], FILMS[2]):
        copies = [cut_clip(film(made), tmp_path / f"{made.name}-{n}", START, END) for n in range(2)]
        assert copies[0].read_bytes() == copies[1].read_bytes()
    copies[0].write_bytes(b"kept")
    assert cut_clip(film(made), tmp_path / f"{made.name}-0", START, END) == copies[0]
    assert copies[0].read_bytes() == b"kept"


def test_a_gif_is_encoded_since_its_frames_need_all_before_them(tmp_path: Path) -> None:
    made = Film("small.gif", "gif", None, ".mp4")
    with av.open(str(tmp_path / made.name), "w") as out:
        stream = out.add_stream("gif", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 65, 49, "rgb8"
        for level in LEVELS:
            picture = av.VideoFrame.from_ndarray(np.full((49, 65, 3), level, np.uint8)).reformat(format="rgb8")
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    clip = cut_clip(tmp_path / made.name, tmp_path / "clip", START, END)
    assert clip.suffix == ".mp4"
    assert (probe(clip).width, probe(clip).height, len(pictures(clip))) == (64, 48, 20)


def test_a_stretch_beyond_the_end_and_a_file_that_is_no_video_are_errors_that_leave_no_file(
    film: Callable[[Film], Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    for path, start, end, exact, message in [
        (film(FILMS[0]), 50.0, 51.0, True, "no frame from 50.000 to 51.000 s; the video lasts 3"),
        (film(FILMS[0]), 1.0, 51.0, True, "frames end at 3.0 s of 51.0 s"),
        (film(FILMS[0]), 1.0, 51.0, False, "frames end at 3.0 s of 51.0 s"),
        (tmp_path / "broken.mp4", 0.0, 1.0, False, "not a video"),
    ]:
        with pytest.raises(FormatError, match=message):
            cut_clip(path, tmp_path / "out" / "clip", start, end, exact)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_padding_ends_where_the_video_does(film: Callable[[Film], Path], tmp_path: Path) -> None:
    for exact in (True, False):
        clip = cut_clip(film(FILMS[0]), tmp_path / f"clip-{exact}", 2.0, 13.0, exact, pad=10.0)
        assert probe(clip).duration == pytest.approx(1.0 if exact else 1.4, abs=0.1)


def test_the_facts_for_a_cut_list(film: Callable[[Film], Path]) -> None:
    info = media_info(film(FILMS[0]))
    assert (info.width, info.height, info.channels, info.hertz) == (64, 48, 2, 48000)
    assert float(info.rate) == pytest.approx(25, abs=0.1)
    assert media_info(film(FILMS[3])).channels == 0
