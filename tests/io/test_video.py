import io
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avs_cli.core.extraction.sampling import sample_times
from avs_cli.errors import FormatError, UnavailableError
from avs_cli.io.video import frames
from avs_cli.io.video.frames import (
    Job,
    View,
    decode,
    decode_views,
    find_media,
    probe,
    read_frames,
    read_small,
    read_views,
)
from avs_cli.io.video.workers import Broken, ahead, alive, apart
from avs_cli.types import Failure, Frames, Pixels, Sampling, Shot

SMALL = Pixels(size=16, resize=16)
EVERY_HALF_SECOND = partial(sample_times, sampling=Sampling())


def make_video(path, pictures, times, codec="libx264", rotation=None, gop=12):
    """Pictures are grey levels or (H, W, 3) arrays; times are their time stamps in seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"bf": "0"} if codec == "libx264" else {})
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.gop_size = gop
        if rotation is not None:
            stream.set_display_rotation(rotation)
        arrays = [np.full((48, 64, 3), one, np.uint8) if np.isscalar(one) else one for one in pictures]
        stream.height, stream.width, stream.pix_fmt = *arrays[0].shape[:2], "yuv420p"
        for array, seconds in zip(arrays, times, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_picture(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def grey_levels(frames):
    return [round(float(picture.mean())) for picture in frames.pixels]


def read_whole(path, times, pixels=SMALL, end=None, **options):
    """The pieces of one shot over the whole file, at these times."""
    shot = Shot("s", str(path), 0.0, end or max(probe(path).duration, max(times) + 0.04))
    return list(read_frames(path, [shot], lambda start, end, frame_rate: times, pixels, **options))


RAMP = list(range(20, 220, 2))  # a hundred grey levels, one per frame


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """Four seconds at 25 frames a second, in which frame n has the grey level 20 + 2n; a key frame every 12."""
    return make_video(tmp_path_factory.mktemp("ramp") / "ramp.mp4", RAMP, [n / 25 for n in range(100)])


# What is there


def test_the_facts_of_real_clips_are_those_that_were_measured(shared_data):
    rows = [row.split("\t") for row in shared_data("clips/probe.tsv").read_text().splitlines()[1:]]
    assert len(rows) > 10
    for name, _, _, width, height, rate, count, _, _ in rows:
        info = probe(shared_data(f"clips/{name}"))
        assert (info.width, info.height) == (int(width), int(height)), name
        assert round(info.duration * info.frame_rate) == pytest.approx(int(count), abs=0.01), name
        if not name.endswith(".gif"):  # a gif's own rate is not that of its delays
            assert info.frame_rate == pytest.approx(float(rate), abs=0.01), name


def test_a_file_without_a_duration_is_as_long_as_its_frames(tmp_path):
    path = tmp_path / "live.mkv"
    with av.open(str(path), "w", format="matroska", options={"live": "1"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in RAMP:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert container.duration is None and container.streams.video[0].duration is None
    assert probe(path).duration == pytest.approx(4.0, abs=0.05)


def test_media_are_found_in_folders_in_a_fixed_order_without_hidden_ones(tmp_path):
    for name in ("b/2.mp4", "b/1.JPG", "a.webm", "notes.txt", ".hidden.mp4", ".cache/x.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_media([tmp_path / "notes.txt", tmp_path, tmp_path / "a.webm"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["notes.txt", "a.webm", "b/1.JPG", "b/2.mp4"]


def test_a_folder_without_media_and_a_file_that_is_not_there_are_errors(tmp_path):
    with pytest.raises(FormatError, match="contains no videos or images"):
        find_media([tmp_path])
    with pytest.raises(FileNotFoundError):
        find_media([tmp_path / "gone.mp4"])


# Frames by time


def test_a_frame_is_the_one_nearest_to_its_time(ramp):
    (frames,) = read_whole(ramp, [0.0, 0.5, 1.0, 3.96])
    # 0.5 s lies between frames 12 (0.48 s) and 13 (0.52 s): the earlier one.
    assert grey_levels(frames) == pytest.approx([20, 44, 70, 218], abs=1)
    assert frames.pixels.shape == (4, 16, 16, 3) and frames.last


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.webm"])
def test_variable_frame_rate_goes_by_time_stamps_not_by_frame_numbers(tmp_path, name):
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    path = make_video(tmp_path / name, [20, 60, 100, 140, 180], [0, 0.1, 1.0, 1.1, 3.0], codec)
    (frames,) = read_whole(path, [0.0, 0.5, 0.6, 1.0, 1.5, 2.5, 3.0])
    assert grey_levels(frames) == pytest.approx([20, 60, 100, 100, 140, 180, 180], abs=2)


def test_times_in_any_order_give_frames_in_that_order(ramp):
    (frames,) = read_whole(ramp, [2.0, 0.0, 2.0, 1.0])
    assert grey_levels(frames) == pytest.approx([120, 20, 120, 70], abs=1)


def test_a_frame_of_the_next_shot_is_never_shown(ramp):
    # The shot's last frame starts at 0.96 s; at 0.99 s the next shot's first frame (1.0 s) is nearer.
    shot = Shot("s", "ramp", 0.0, 1.0)
    (frames,) = read_frames(ramp, [shot], lambda start, end, frame_rate: [0.99], SMALL)
    assert grey_levels(frames) == pytest.approx([20 + 2 * 24], abs=1)


def test_many_shots_are_read_in_order_with_a_thumbnail_of_each_ones_middle(ramp):
    shots = [Shot("b", "ramp", 2.0, 4.0), Shot("a", "ramp", 0.0, 2.0)]
    first, second = read_frames(ramp, shots, EVERY_HALF_SECOND, SMALL)
    assert (first.shot, second.shot) == ("a", "b")
    assert grey_levels(second) == pytest.approx([120, 144, 170, 194], abs=1)
    middle = Image.open(io.BytesIO(second.thumbnail))
    assert middle.format == "JPEG" and middle.size == (64, 48)
    assert np.asarray(middle).mean() == pytest.approx(20 + 2 * 75, abs=2)


def test_overlapping_shots_each_get_their_frames(ramp):
    shots = [Shot("whole", "ramp", 0.0, 4.0), Shot("part", "ramp", 1.0, 2.0), Shot("other", "ramp", 1.5, 3.0)]
    found = {frames.shot: grey_levels(frames) for frames in read_frames(ramp, shots, EVERY_HALF_SECOND, SMALL)}
    assert found["part"] == pytest.approx([70, 94], abs=1)
    assert found["other"] == pytest.approx([94, 120, 144], abs=1)
    assert len(found["whole"]) == 8


def test_a_long_shot_comes_in_pieces_of_at_most_64_pictures_and_whole_clips(ramp):
    pieces = read_whole(ramp, [n / 25 for n in range(100)])
    assert [(len(piece.pixels), piece.last, piece.thumbnail is not None) for piece in pieces] == [
        (64, False, False),
        (36, True, True),
    ]
    assert [len(piece.pixels) for piece in read_whole(ramp, [n / 25 for n in range(96)], clip=12)] == [60, 36]
    assert [len(piece.pixels) for piece in read_whole(ramp, [n % 100 / 25 for n in range(200)], clip=100)] == [100] * 2


def test_without_pixels_a_shot_is_its_thumbnail(ramp):
    (frames,) = read_whole(ramp, [0.0], pixels=None)
    assert frames.last and len(frames.pixels) == 0 and frames.thumbnail


def test_frames_wanted_far_apart_are_sought_and_are_the_same_frames(tmp_path, monkeypatch):
    levels = [20 + n % 200 for n in range(750)]
    path = make_video(tmp_path / "long.mp4", levels, [n / 25 for n in range(750)], gop=50)
    shots = [Shot("a", "long", 1.0, 2.0), Shot("b", "long", 15.0, 16.0), Shot("c", "long", 28.0, 30.0)]
    calls = []
    monkeypatch.setattr(
        frames.OpenVideo, "seek", lambda self, time, seek=frames.OpenVideo.seek: calls.append(time) or seek(self, time)
    )
    sought = list(read_frames(path, shots, EVERY_HALF_SECOND, SMALL))
    assert calls == [15.0, 28.0]
    monkeypatch.setattr(frames, "SEEK_SECONDS", 1e9)
    straight = list(read_frames(path, shots, EVERY_HALF_SECOND, SMALL))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(sought, straight, strict=True))
    assert grey_levels(sought[1]) == pytest.approx([levels[375], levels[387]], abs=1)


def test_real_clips_give_the_same_frames_with_and_without_seeking(shared_data, monkeypatch):
    for name in ("sam2_bedroom.mp4", "intel_asl_book.mkv", "intel_car-detection.mp4"):
        path = shared_data(f"clips/{name}")
        end = probe(path).duration
        shots = [Shot("late", name, end - 0.5, end)]
        monkeypatch.setattr(frames, "SEEK_SECONDS", 0.5)
        (sought,) = read_frames(path, shots, EVERY_HALF_SECOND, SMALL)
        monkeypatch.setattr(frames, "SEEK_SECONDS", 1e9)
        (straight,) = read_frames(path, shots, EVERY_HALF_SECOND, SMALL)
        assert np.array_equal(sought.pixels, straight.pixels), name


# Pictures


def test_the_short_side_is_resized_and_the_centre_is_cut_out(tmp_path):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, 32:64] = 255  # the middle third, which is what a centre crop of 32 of 64 by 32 keeps the most of
    path = make_video(tmp_path / "wide.mp4", [picture] * 3, [0, 0.04, 0.08])
    (frames,) = read_whole(path, [0.0], Pixels(size=32, resize=32))
    columns = frames.pixels[0, 16, :, 0]
    assert columns[0] < 40 and columns[16] > 215 and columns[31] < 40
    assert (columns > 128).sum() == pytest.approx(64 / 3, abs=1)


def test_without_a_resize_the_frame_is_squashed_to_the_square(tmp_path):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, :48] = 255
    path = make_video(tmp_path / "wide.mp4", [picture] * 3, [0, 0.04, 0.08])
    (frames,) = read_whole(path, [0.0], Pixels(size=32, resize=None))
    assert (frames.pixels[0, 16, :, 0] > 128).sum() == 16


def test_ten_crops_are_corners_and_centre_and_their_mirror_images(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255
    path = make_picture(tmp_path / "corner.png", picture)
    (frames,) = read_frames(path, [Shot("s", "c", 0, 0)], EVERY_HALF_SECOND, Pixels(size=16, resize=48, crops=10))
    assert frames.pixels.shape == (10, 16, 16, 3)
    means = [round(float(crop.mean())) for crop in frames.pixels]
    assert means[:4] == [255, 0, 0, 0] and means[5:9] == [255, 0, 0, 0]
    assert np.array_equal(frames.pixels[4][:, ::-1], frames.pixels[9])


def test_crops_of_a_clip_keep_its_frames_together(ramp):
    pieces = read_whole(ramp, [0.0, 1.0, 2.0, 3.0], Pixels(size=16, resize=24, crops=10), clip=2)
    levels = [level for piece in pieces for level in grey_levels(piece)]
    assert levels == pytest.approx([20, 70] * 10 + [120, 170] * 10, abs=1)


@pytest.mark.parametrize(
    "rotation, corner", [(None, (0, 0)), (90, (1, 0)), (-90, (0, 1)), (180, (1, 1))], ids=["0", "90", "-90", "180"]
)
def test_a_turned_video_is_put_upright(tmp_path, rotation, corner):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255  # white at the top left; a quarter turn to the left takes it to the bottom left
    path = make_video(tmp_path / "turned.mp4", [picture] * 3, [0, 0.04, 0.08], rotation=rotation)
    info = probe(path)
    assert info.rotation == (rotation or 0) % 360
    assert (info.width, info.height) == ((48, 64) if info.rotation % 180 else (64, 48))
    (frames,) = read_whole(path, [0.0])
    quarters = frames.pixels[0, 4::8, 4::8, 0] > 128
    assert [tuple(place) for place in np.argwhere(quarters)] == [corner]
    assert Image.open(io.BytesIO(frames.thumbnail)).size == (info.width, info.height)


def test_oblong_pixels_are_displayed_square(tmp_path):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        container.mux(stream.encode())
    assert (probe(path).width, probe(path).height) == (128, 48)


def test_scaling_is_close_to_what_pillow_makes_of_the_whole_frame(shared_data):
    path = shared_data("clips/sam2_dog.mp4")
    (ours,) = read_whole(path, [2.0], Pixels(size=224, resize=224))
    with av.open(str(path)) as container:
        frame = next(frame for frame in container.decode(video=0) if frame.time >= 2.0 - 1e-3)
    whole = frame.to_image().resize((398, 224), Image.Resampling.BICUBIC)
    theirs = np.asarray(whole.crop((87, 0, 87 + 224, 224))).astype(int)
    difference = np.abs(ours.pixels[0].astype(int) - theirs)
    assert difference.mean() < 2.0 and np.percentile(difference, 99) < 10


# Still pictures


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_a_still_picture_is_a_shot_of_one_frame(tmp_path, suffix):
    path = make_picture(tmp_path / f"p.{suffix}", np.full((60, 80, 3), 100, np.uint8))
    assert probe(path) == (0.0, 0.0, 80, 60, 0)
    (frames,) = read_frames(path, [Shot("p", "p", 0.0, 0.0)], EVERY_HALF_SECOND, SMALL)
    assert grey_levels(frames) == pytest.approx([100], abs=1)
    assert frames.last and Image.open(io.BytesIO(frames.thumbnail)).size == (80, 60)


def test_exif_orientation_is_honoured(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right for display
    path = make_picture(tmp_path / "p.jpg", picture, exif=exif)
    assert (probe(path).width, probe(path).height) == (48, 64)
    (frames,) = read_frames(path, [Shot("p", "p", 0.0, 0.0)], EVERY_HALF_SECOND, SMALL)
    assert [tuple(place) for place in np.argwhere(frames.pixels[0, 4::8, 4::8, 0] > 128)] == [(0, 1)]


def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path):
    path = make_picture(tmp_path / "deep.png", np.full((20, 20), 0x8000, np.uint16))
    (frames,) = read_frames(path, [Shot("p", "p", 0.0, 0.0)], EVERY_HALF_SECOND, SMALL)
    assert grey_levels(frames) == [128]


def test_an_animated_gif_is_a_video(tmp_path):
    pages = [Image.fromarray(np.full((48, 64, 3), level, np.uint8)) for level in (20, 120, 220)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=[500, 1000, 500])
    (frames,) = read_whole(tmp_path / "a.gif", [0.0, 0.5, 1.2, 1.5], end=2.0)
    assert grey_levels(frames) == pytest.approx([20, 120, 220, 220], abs=2)


# What cannot be read


def broken_file(folder: Path, kind: str, ramp: Path) -> Path:
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"this is no video\n" * 20,
        "plain.txt": b"neither is this\n" * 20,
        "zero.gif": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
        "half.mp4": ramp.read_bytes()[: ramp.stat().st_size // 2],
        "text.jpg": b"this is no picture\n",
        "empty.png": b"",
    }
    path = folder / kind
    path.write_bytes(contents[kind])
    return path


BROKEN = {
    "empty.mp4": "empty file",
    "text.mp4": r"not a video \(moov atom not found\)",
    "plain.txt": "not a video",
    "zero.gif": "no frames",
    "half.mp4": r"not a video \(moov atom not found\)",
    "text.jpg": "not an image",
    "empty.png": "empty file",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_video_is_said_in_one_line(tmp_path, ramp, kind, capfd):
    path = broken_file(tmp_path, kind, ramp)
    with pytest.raises(FormatError, match=f"{kind}: {BROKEN[kind]}") as error:
        probe(path)
    assert "\n" not in str(error.value)
    with pytest.raises(FormatError):
        list(read_frames(path, [Shot("s", "v", 0, 1)], EVERY_HALF_SECOND, SMALL))
    assert capfd.readouterr() == ("", "")


def within(megabytes, program, *arguments):
    """What a program prints that may not take more memory than this beyond what its imports take."""
    limit = (
        "import resource, sys; from avs_cli.io.video.frames import *; from avs_cli.types import *\n"
        "from functools import partial; from avs_cli.core.extraction.sampling import sample_times\n"
        "held = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (held + ({megabytes} << 20),) * 2)\n"
    )
    command = [sys.executable, "-c", limit + program, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return (ran.stdout + ran.stderr).strip().splitlines()[-1]


READ = """
shot = Shot("s", sys.argv[1], 0.0, float(sys.argv[2]))
try:
    print(*(one.message if isinstance(one, Failure) else one.pixels.shape for one in
            read_frames(shot.video, [shot], partial(sample_times, sampling=Sampling()), Pixels(224, 256))))
except FormatError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("size", [(10_000, 1), (1, 10_000)])
def test_a_picture_that_is_nothing_but_long_takes_no_memory(tmp_path, size):
    """Its short side scaled to 256 pixels, it would have 2.56 million by 256: 2 GB."""
    Image.new("RGB", size).save(tmp_path / "a.png")
    told = within(400, READ, tmp_path / "a.png", 0)
    assert told == f"{tmp_path}/a.png: image too narrow ({size[0]} x {size[1]} pixels)"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_panorama_is_a_picture(tmp_path):
    Image.new("RGB", (4000, 20)).save(tmp_path / "a.png")
    assert within(600, READ, tmp_path / "a.png", 0) == "(1, 224, 224, 3)"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_picture_that_declares_an_absurd_size_is_told_before_it_is_decoded(tmp_path):
    Image.new("1", (60, 60)).save(tmp_path / "bomb.png")
    small = (tmp_path / "bomb.png").read_bytes()
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + small[24:29]
    (tmp_path / "bomb.png").write_bytes(small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:])
    assert within(400, READ, tmp_path / "bomb.png", 0) == f"{tmp_path}/bomb.png: image too large"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_shot_without_end_fails_before_its_moments_are_listed(ramp):
    """Two a second for 1e9 seconds would be 2e9 of them."""
    told = within(400, READ, ramp, 1e9)
    assert told == f"{ramp}: 1e+09 s is not a valid shot end; the video lasts 4.0 s"


def test_beside_a_shot_without_end_the_others_are_read(ramp):
    shots = [Shot("a", str(ramp), 0.0, 1.0), Shot("endless", str(ramp), 0.5, 1e9), Shot("b", str(ramp), 2.0, 3.0)]
    read = list(read_frames(ramp, shots, EVERY_HALF_SECOND, SMALL))
    assert [one.shot for one in read if isinstance(one, Frames)] == ["a", "b"]
    assert [one.id for one in read if isinstance(one, Failure)] == ["endless"]


def test_without_thumbnails_a_shot_without_end_fails_as_well(ramp):
    (failed,) = read_frames(ramp, [Shot("endless", str(ramp), 0.0, 1e9)], EVERY_HALF_SECOND, SMALL, thumbnail=0)
    assert failed.id == "endless"


def test_a_header_that_promises_days_is_told(tmp_path):
    make_video(tmp_path / "a.mkv", [10, 20, 30], [0, 0.04, 10 * 86400])
    with pytest.raises(FormatError, match=r"a\.mkv: its header claims a duration of 10 days"):
        probe(tmp_path / "a.mkv")


def test_a_truncated_picture_is_an_error(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = make_picture(tmp_path / "p.jpg", noise)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FormatError, match=r"p\.jpg: broken image \(.*truncated"):
        list(read_frames(path, [Shot("s", "v", 0, 1)], EVERY_HALF_SECOND, SMALL))


def test_of_a_video_that_is_cut_short_the_shots_in_the_missing_part_fail(tmp_path):
    path = make_video(tmp_path / "v.mkv", RAMP * 4, [n / 25 for n in range(400)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    shots = [Shot("there", "v", 0.0, 4.0), Shot("missing", "v", 12.0, 16.0)]
    there, missing = read_frames(path, shots, EVERY_HALF_SECOND, SMALL)
    assert isinstance(there, Frames) and len(there.pixels) == 8
    assert isinstance(missing, Failure)
    assert (missing.id, missing.stage) == ("missing", "decode")
    assert missing.message.startswith(f"{path}: frames end at ") and "of 16.0 s" in missing.message
    with pytest.raises(FormatError, match="is the file cut short"):
        list(read_small(path, (16, 16)))


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(FormatError, match="no video stream"):
        probe(path)


def test_a_name_with_a_colon_is_a_file_and_a_playlist_reaches_no_network(tmp_path, ramp):
    odd = tmp_path / "http:clip %03d.mp4"
    odd.write_bytes(ramp.read_bytes())
    assert probe(odd).duration == pytest.approx(4.0)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(FormatError):
        probe(playlist)


# Many files, in worker processes


def test_many_files_are_decoded_in_their_order_and_bad_ones_fail_alone(tmp_path, ramp):
    jobs = [Job(str(ramp), (Shot("r1", "ramp", 0.0, 2.0), Shot("r2", "ramp", 2.0, 4.0)))]
    jobs += [Job(str(broken_file(tmp_path, kind, ramp)), (Shot(kind, kind, 0.0, 1.0),)) for kind in BROKEN]
    jobs += [Job(str(ramp), (Shot("r3", "ramp", 0.0, 4.0),))]
    jobs += [Job(str(tmp_path / "gone.mp4"), (Shot("gone", "gone", 0.0, 4.0),))]
    found = list(decode(jobs, EVERY_HALF_SECOND, SMALL, workers=2))
    assert [one.id if isinstance(one, Failure) else one.shot for one in found] == [
        *("r1", "r2"),
        *BROKEN,
        *("r3", "gone"),
    ]
    assert found[-1].message == f"{tmp_path / 'gone.mp4'}: no such file or directory"
    alone = list(read_frames(ramp, jobs[0].shots, EVERY_HALF_SECOND, SMALL))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(alone, found[:2], strict=True))


def test_a_long_video_is_shared_out_among_workers_with_the_same_frames(tmp_path, monkeypatch):
    path = make_video(tmp_path / "long.mp4", [20 + n % 200 for n in range(500)], [n / 25 for n in range(500)])
    shots = tuple(Shot(f"s{n}", "long", n * 2.0, n * 2.0 + 2.0) for n in range(10))
    monkeypatch.setattr(frames, "STRETCH", 5.0)
    shared = list(decode([Job(str(path), shots)], EVERY_HALF_SECOND, SMALL, workers=2))
    straight = list(read_frames(path, shots, EVERY_HALF_SECOND, SMALL))
    assert [frames.shot for frames in shared] == [shot.id for shot in shots]
    for one, other in zip(shared, straight, strict=True):
        assert np.array_equal(one.pixels, other.pixels) and one.thumbnail == other.thumbnail


VIEWS = [
    View(EVERY_HALF_SECOND, SMALL),
    View(partial(sample_times, sampling=Sampling(fps=5.0, max_frames=3)), Pixels(8, 24, crops=10)),
    View(partial(sample_times, sampling=Sampling(clip=4)), Pixels(20, None, "bilinear"), 4),
]


def alike(one, other):
    """Whether two results are the same frames or the same failure."""
    if isinstance(one, Failure) or isinstance(other, Failure):
        return one == other
    return one[2:] == other[2:] and one.shot == other.shot and np.array_equal(one.pixels, other.pixels)


def test_several_views_of_a_file_are_those_of_one_at_a_time_in_one_pass(tmp_path, ramp):
    shots = [Shot("a", "ramp", 0.0, 1.5), Shot("b", "ramp", 1.5, 4.0), Shot("late", "ramp", 9.0, 9.5)]
    shots += [Shot("c", "ramp", 1.0, 3.0), Shot("endless", "ramp", 3.0, 1e9)]
    photo = make_picture(tmp_path / "p.jpg", np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8))
    for path, own in ((ramp, shots), (photo, [Shot("p", "p", 0.0, 0.0)])):
        found = list(read_views(path, own, VIEWS))
        for number, view in enumerate(VIEWS):
            straight = list(read_frames(path, own, *view))
            mine = [result for n, result in found if n == number]
            assert len(mine) == len(straight) and all(map(alike, mine, straight))
    order = [(number, result.shot) for number, result in read_views(ramp, shots[:2], VIEWS)]
    # The second shot begins when the first one has ended for every view.
    assert {number for number, shot in order[:3]} == {0, 1, 2} and {shot for _, shot in order[:3]} == {"a"}


def test_views_are_given_the_shots_that_they_want(ramp):
    shots = (Shot("a", "ramp", 0.0, 2.0), Shot("b", "ramp", 2.0, 4.0))
    broken = Job(str(ramp) + ".gone", (Shot("x", "gone", 0.0, 1.0),))
    wanted = {"a": [0, 2], "b": [1], "x": [2]}
    found = list(decode_views([Job(str(ramp), shots), broken], VIEWS, wanted, workers=2))
    names = {(number, one.id if isinstance(one, Failure) else one.shot) for number, one in found}
    assert names == {(0, "a"), (2, "a"), (1, "b"), (2, "x")}


def test_a_view_whose_images_a_file_cannot_give_fails_alone(tmp_path):
    tall = np.zeros((4096, 4, 3), np.uint8)
    photo = make_picture(tmp_path / "tall.png", tall)
    video = make_video(tmp_path / "tall.mp4", [np.zeros((8192, 16, 3), np.uint8)] * 3, [0, 0.04, 0.08])
    views = [View(EVERY_HALF_SECOND, SMALL), View(EVERY_HALF_SECOND, Pixels(224, 256)), View(EVERY_HALF_SECOND, SMALL)]
    for path in (photo, video):
        job = Job(str(path), (Shot("s", str(path), 0.0, 0.0), Shot("t", str(path), 0.0, 0.0)))
        found = list(decode_views([job], views, workers=1))
        failed = [(number, one.id) for number, one in found if isinstance(one, Failure)]
        assert failed == [(1, "s"), (1, "t")]
        assert sorted(number for number, one in found if isinstance(one, Frames)) == [0, 0, 2, 2]
        alone = list(decode([job], *views[1], workers=1))
        assert alone == [one for number, one in found if number == 1] and "image too narrow" in alone[0].message


def act(job: str) -> Iterator[str]:
    """A job that does what its name says."""
    if job == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "hang":
        time.sleep(60)
    if job == "slow":
        for _ in range(4):
            time.sleep(0.55)
            alive()
    if job == "raise":
        raise FormatError("x.mp4", "no good")
    if job == "half":
        yield "first"
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "fault":
        raise TypeError("our own")
    yield f"{job} {os.getpid()}"


def test_a_worker_that_crashes_or_hangs_is_replaced_and_the_others_go_on():
    started = time.monotonic()
    jobs = ["a", "crash", "b", "hang", "raise", "slow", "half", "c"]
    results = [(job, result) for job, result in apart(act, jobs, workers=1, timeout=2)]
    assert [job for job, _ in results] == ["a", "crash", "b", "hang", "raise", "slow", "half", "half", "c"]
    said = {job: result.message for job, result in results if isinstance(result, Broken)}
    assert said == {
        "crash": "crashed its reader: SIGSEGV",
        "hang": "gave no sign of life for 2 s",
        "raise": "x.mp4: no good",
        "half": "crashed its reader: SIGKILL (out of memory?)",
    }
    assert time.monotonic() - started < 50


def test_a_fault_of_ours_in_a_worker_is_not_taken_for_a_bad_file():
    with pytest.raises(RuntimeError, match="our own"):
        list(apart(act, ["a", "fault", "b"], workers=2, timeout=30))


def refuse(job: str) -> Iterator[str]:
    raise UnavailableError(f"{job}: pip install it")
    yield


def test_what_no_file_is_to_blame_for_ends_everything_at_once():
    with pytest.raises(UnavailableError, match="a: pip install it"):
        list(apart(refuse, ["a", "b"], workers=2, timeout=30))


def test_when_no_worker_can_be_started_that_is_told_and_nobody_waits_for_one(monkeypatch):
    def no_more(crew: object, seat: int) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("avs_cli.io.video.workers._Crew._hire", no_more)
    with pytest.raises(OSError, match="temporarily unavailable"):
        list(apart(act, ["a", "b"], workers=1, timeout=5))


def process_is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids):
    deadline = time.monotonic() + 15
    while any(map(process_is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(process_is_there, pids))


def test_closing_early_leaves_no_worker_behind():
    results = apart(act, ["a", "hang", "hang"], workers=2, timeout=60)
    _, said = next(results)
    results.close()
    assert wait_until_gone([int(said.split()[1])])


MEGABYTES = 1 << 20


def pour(job: str) -> Iterator[bytes]:
    """192 results of a megabyte, each of them noted in the file that the job names."""
    for _ in range(192):
        with open(job, "a") as made:
            made.write(".")
        yield bytes(MEGABYTES)


def poured(path: Path) -> int:
    """How many results were made by the time that no more are made for a third of a second."""
    before, now = -1, 0
    while now != before:
        time.sleep(0.33)
        before, now = now, path.stat().st_size if path.exists() else 0
    return now


def test_the_job_at_the_head_of_the_line_waits_for_a_slow_taker_like_the_others(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    results = apart(pour, [str(first), str(second)], workers=2, timeout=30, size=len)
    next(results)
    # Two workers have room for 128 MB; each then holds one result and sends another.
    assert poured(first) + poured(second) <= 128 + 2 * 2 + 1
    # The second job's results may fill the room: the first one's go through all the same.
    assert sum(1 for _ in results) == 2 * 192 - 1


ORPHANS = """
import sys
sys.path.insert(0, {folder!r})
from test_video import act
from avs_cli.io.video.workers import apart
if __name__ == "__main__":
    for job, result in apart(act, ["a", "slow", "hang"], 1, 60):
        print(result, flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_workers_leave_when_the_main_process_is_gone(tmp_path, end):
    script = tmp_path / "main.py"
    script.write_text(ORPHANS.format(folder=str(Path(__file__).parent)))
    main = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    worker = int(main.stdout.readline().split()[1])
    assert process_is_there(worker)
    main.send_signal(end)
    main.communicate(timeout=15)
    assert wait_until_gone([worker])


def test_items_made_ahead_come_in_order_and_errors_come_after_them():
    def numbers():
        yield from range(5)
        raise FormatError("x.mp4", "no good")

    taken = []
    with pytest.raises(FormatError, match="no good"):
        taken.extend(iter_into(taken, ahead(numbers(), 2)))
    assert taken == [0, 1, 2, 3, 4]


def iter_into(taken, items):
    for item in items:
        taken.append(item)
    return []


def test_leaving_early_ends_the_thread_that_runs_ahead():
    ended = []

    def forever():
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    items = ahead(forever(), 2)
    next(items)
    items.close()
    del items
    deadline = time.monotonic() + 5
    while not ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended


@pytest.mark.parametrize("size", [(40, 40), (33, 27), (100, 51), (80, 70), (64, 48), (90, 96)])
@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_colours_written_as_planes_have_the_values_of_packed_ones(tmp_path, kernel, size):
    """libswscale has separate code for both; which one is quick depends on the sizes."""
    grain = np.random.default_rng(3).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    path = make_video(tmp_path / "noise.mp4", list(grain), [0.0, 0.04])
    with av.open(str(path)) as container:
        packed = [
            frame.reformat(*size, "rgb24", interpolation=frames.KERNELS[kernel], threads=1).to_ndarray()
            for frame in container.decode(video=0)
        ]
    assert np.array_equal([frame for _, frame in read_small(path, size, kernel)], packed)
