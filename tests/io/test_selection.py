"""Frames of a video of which most are not decoded are those of a full decoding, pixel by pixel."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from avs_cli.core.extraction.sampling import sample_times
from avs_cli.io.video.frames import opened_video, read_frames
from avs_cli.types import Frames, Pixels, Sampling, Shot

RATE, SECONDS = 25, 8
WHOLE = Pixels(size=48, resize=48)
# Options of x264: key frames far apart, near, near without a restart; groups of pictures as in broadcasts.
STREAMS = {
    "long.mp4": "keyint=250:bframes=3",
    "short.mp4": "keyint=20:min-keyint=20:scenecut=0:bframes=3",
    "open.mkv": "keyint=20:min-keyint=20:scenecut=0:bframes=3:open-gop=1",
    "short.ts": "keyint=20:min-keyint=20:scenecut=0:bframes=2:b-pyramid=none",
    "interlaced.ts": "keyint=20:bframes=2:tff=1",
    "refresh.mp4": "keyint=20:intra-refresh=1:bframes=2",
}


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of moving noise in each way of coding."""
    folder = tmp_path_factory.mktemp("streams")
    grain = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pictures = [
        np.roll(grain, (number, 2 * number), axis=(0, 1)) // (1 + number // 90) for number in range(RATE * SECONDS)
    ]
    for name, options in STREAMS.items():
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("libx264", rate=RATE, options={"x264-params": options + ":threads=1"})
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return folder


def all_frames(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [(frame.time, frame.to_ndarray(format="yuv420p")) for frame in container.decode(stream)]
    return [(time - found[0][0], planes) for time, planes in found]


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("fps", [0.25, 2.0, 7.0])
def test_selected_frames_are_those_of_a_full_decoding(streams: Path, name: str, fps: float) -> None:
    frames = all_frames(streams / name)
    times = sample_times(0.0, float(SECONDS), frame_rate=RATE, sampling=Sampling(fps=fps))
    with opened_video(streams / name) as video:
        video.selection.want(times)
        decoded = [(time, frame.to_ndarray(format="yuv420p")) for time, _, frame in video.frames]
    for wanted in times:
        for side in (lambda time: time <= wanted + 1e-6, lambda time: time > wanted + 1e-6):  # noqa: B023
            expected = [one for one in frames if side(one[0])]
            given = [one for one in decoded if side(one[0])]
            if expected:
                place = max if expected[0][0] <= wanted + 1e-6 else min
                (time, planes), (other, same) = (place(some, key=lambda one: one[0]) for some in (expected, given))
                assert abs(time - other) < 1e-4
                assert np.array_equal(planes, same)


def test_frames_that_no_other_needs_are_not_decoded(streams: Path) -> None:
    counts = {}
    for name in STREAMS:
        with opened_video(streams / name) as video:
            video.selection.want([4.0])
            counts[name] = sum(1 for _ in video.frames)
    everything = RATE * SECONDS
    assert counts["interlaced.ts"] == everything
    assert counts["long.mp4"] < 0.6 * everything
    # The frames after the wanted one, up to the next restart, are left out.
    assert counts["short.mp4"] < counts["long.mp4"]
    assert counts["short.ts"] < 0.6 * everything


def test_shots_of_a_selected_video_have_all_their_frames(streams: Path) -> None:
    shots = [Shot(str(start), "v", start, start + 2.0) for start in range(0, SECONDS, 2)]
    times = partial(sample_times, sampling=Sampling(fps=2.0))
    pieces = list(read_frames(streams / "short.mp4", shots, times, WHOLE))
    assert [len(piece.pixels) for piece in pieces if isinstance(piece, Frames)] == [4] * 4
