"""Clip from Python: which stretches are cut, how clips are named, what cut lists say."""

import csv
import io
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from avs_cli.errors import MismatchError
from avs_cli.io.cut_lists import csv_list, edl_list, fcpxml_list, m3u_list
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.io.video.cutting import MediaInfo
from avs_cli.reporting import Reporter
from avs_cli.stages.clip import Cut, clip_names, cuts, write_clips
from avs_cli.types import Shot


class Notes(Reporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str) -> None:
        self.messages.append(message)


def film(path: Path, frames: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * n, np.uint8))))
        out.mux(stream.encode())


def gallery(path: Path, *shots: Shot) -> str:
    with StoreWriter(path, "tiny", 2, {}) as writer:
        writer.add([Item(shot, shot.id, np.ones(2, np.float32)) for shot in shots])
        writer.finish([shot.id for shot in shots])
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two films of two seconds, of which one is no video, and a store with their shots and an image."""
    monkeypatch.chdir(tmp_path)
    film(Path("videos/a.mp4"))
    Path("videos/bad.mp4").write_bytes(b"not a video")
    shots = [Shot("a_1", "videos/a.mp4", 0.0, 0.8), Shot("a_2", "videos/a.mp4", 0.8, 2.0)]
    gallery(Path("g.h5"), *shots, Shot("bad_1", "videos/bad.mp4", 0, 1), Shot("still", "still.jpg", 0, 0))
    return tmp_path


RUN = {"7": {"a_2": 3.0, "still": 2.5, "a_1": 2.0, "bad_1": 1.0, "absent": 0.5}, "8": {"a_1": 1.0}}


def test_cuts_are_the_first_shots_of_each_topic_with_their_ranks_and_padding(folder: Path) -> None:
    notes = Notes()
    found = cuts(RUN, "g.h5", depth=3, pad=0.5, report=notes)
    assert [(cut.topic, cut.rank, *cut.shot[0:1], *cut.shot[2:]) for cut in found.cuts] == [
        ("7", 1, "a_2", pytest.approx(0.3), 2.5),
        ("7", 3, "a_1", 0.0, 1.3),
        ("8", 1, "a_1", 0.0, 1.3),
    ]
    assert (found.failures, notes.messages) == ([], ["1 of 3 shots are images, which have no clips"])
    assert [cut.topic for cut in cuts(RUN, "g.h5", topics="8", report=Notes()).cuts] == ["8"]


def test_videos_are_where_the_store_says_or_beside_the_store_or_in_a_given_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"7": {"a_1": 1.0}}
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert cuts(one, "../g.h5").cuts[0].shot.video == "../videos/a.mp4"
    film(folder / "copies" / "x" / "a.mp4")
    assert cuts(one, "../g.h5", videos="../copies").cuts[0].shot.video == "../copies/x/a.mp4"
    film(folder / "copies" / "videos" / "a.mp4")  # its folder, too, has the name that the store says
    assert cuts(one, "../g.h5", videos="../copies").cuts[0].shot.video == "../copies/videos/a.mp4"
    (folder / "videos" / "a.mp4").unlink()
    message = r"1 of 1 videos are not where \.\./g\.h5 says \(videos/a\.mp4\): give --videos FOLDER"
    with pytest.raises(MismatchError, match=message):
        cuts(one, "../g.h5")


def test_the_stem_of_a_table_of_master_shots_finds_its_video(folder: Path) -> None:
    store = gallery(folder / "v3c.h5", Shot("shot00042_1", "00042", 0.0, 1.0))
    film(folder / "v3c" / "00042.mp4")
    assert cuts({"7": {"shot00042_1": 1.0}}, store, videos="v3c").cuts[0].shot.video == "v3c/00042.mp4"


def test_a_bad_video_fails_its_own_clips_and_a_rerun_goes_on(folder: Path) -> None:
    found = cuts(RUN, "g.h5", report=Notes())
    assert found.failures == ["absent: not in g.h5"]
    clips = write_clips(found.cuts, "clips")
    names = ["7_001_a_0.80-2.00.mp4", "7_003_a_0.00-0.80.mp4", "8_001_a_0.00-0.80.mp4"]
    assert ([path.name for path in clips.written], clips.existing) == (names, [])
    assert [message.split(":")[0] for message in clips.failures] == ["videos/bad.mp4"]
    assert "not a video" in clips.failures[0]
    Path("clips", names[1]).unlink()
    Path("clips", names[0]).write_bytes(b"mine")
    again = write_clips(found.cuts, "clips")
    assert [path.name for path in again.written] == [names[1]]
    assert [path.name for path in again.existing] == [names[0], names[2]]
    assert Path("clips", names[0]).read_bytes() == b"mine"
    assert sorted(path.name for path in Path("clips").iterdir()) == sorted(names)
    exact = write_clips(found.cuts[:1], "clips", exact=True)
    assert [path.name for path in exact.written] == ["7_001_a_0.80-2.00_exact.mp4"]
    with av.open(str(exact.written[0])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


def test_names_are_safe_on_every_file_system_and_differ_where_case_is_ignored() -> None:
    hostile = [("a/b", "x:y?*\u0000|.mp4"), ("A\\B", "X:Y?.mp4"), ("..", "-" + "ü" * 300 + ".mp4"), ("CON", "nul")]
    names = clip_names([Cut(topic, 1, 0.0, Shot("s", video, 0.0, 61.5)) for topic, video in hostile])
    assert names[:2] == ["a_b_001_x_y_0.00-61.50", "A_B_001_X_Y_0.00-61.50~2"]
    assert names[2].startswith("x_001_üü") and len(names[2].encode()) < 200
    assert names[3] == "CON_001_nul_0.00-61.50"
    assert all(re.fullmatch(r"[\w.~-]+", name) for name in names)


FILES = "file://"
CUTS = [
    Cut("7", 1, 0.9, Shot("a_1", "/videos/a #1, ü.mp4", 3661.0, 3662.5)),
    Cut("7", 2, 0.8, Shot("b_1", "/videos/b.mp4", 0.0, 2.0)),
    Cut("8", 1, 0.7, Shot("b\x07\n<2>", "/videos/b.mp4", 2.0, 2.01)),
]
MEDIA = {
    "/videos/a #1, ü.mp4": MediaInfo(Fraction(30000, 1001), 4000.0, 1920, 1080, 2, 48000),
    "/videos/b.mp4": MediaInfo(Fraction(25, 2), 60.0, 640, 480, 0, 0),
}


def test_an_edl_counts_frames_at_the_rate_of_most_cuts() -> None:
    """25 frames a second, twice 12.5; 3661 s are 1 h, 1 min and 1 s."""
    lines = edl_list(CUTS, MEDIA, "avs\nclip").splitlines()
    assert lines[:2] == ["TITLE: avs clip", "FCM: NON-DROP FRAME"]
    assert [line for line in lines if line[:3].isdigit()] == [
        "001  AX       AA/V  C        01:01:01:00 01:01:02:12 01:00:00:00 01:00:01:12",
        "002  AX       V     C        00:00:00:00 00:00:02:00 01:00:01:12 01:00:03:12",
        "003  AX       V     C        00:00:02:00 00:00:02:01 01:00:03:12 01:00:03:13",
    ]
    assert "* SOURCE FILE: /videos/a #1, ü.mp4" in lines and "* COMMENT: topic 8 rank 1 shot b  <2>" in lines
    padded = CUTS[1]._replace(shot=Shot("b_9", "/videos/b.mp4", 50.0, 70.0), pad=12.0)
    assert "00:00:50:00 00:01:00:00" in edl_list([padded], MEDIA, "x")
    with pytest.raises(MismatchError, match="1002 cuts, but an EDL has at most 999"):
        edl_list(CUTS * 334, MEDIA, "x")


def test_fcpxml_has_a_project_per_topic_in_whole_frames() -> None:
    text = fcpxml_list(CUTS, MEDIA)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n<fcpxml version="1.9">')
    root = ElementTree.fromstring(text)
    assert [project.get("name") for project in root.iter("project")] == ["topic 7", "topic 8"]
    assert [sequence.get("duration") for sequence in root.iter("sequence")] == ["87/25s", "1/25s"]
    assert [(clip.get("offset"), clip.get("start"), clip.get("duration")) for clip in root.iter("asset-clip")] == [
        ("0s", "3661s", "37/25s"),
        ("37/25s", "0s", "2s"),
        ("0s", "2s", "1/25s"),
    ]
    assert [one.get("src") for one in root.iter("media-rep")] == [
        FILES + "/videos/a%20%231%2C%20%C3%BC.mp4",
        FILES + "/videos/b.mp4",
    ]
    assert [asset.get("audioChannels") for asset in root.iter("asset")] == ["2", None]
    defined = {one.get("id") for one in root.find("resources") or ()}
    assert {one.get("ref") for one in root.iter("asset-clip")} | {
        one.get("format") for one in root.iter("asset")
    } < defined


def test_a_playlist_gives_vlc_the_times_and_addresses_without_a_second_meaning() -> None:
    assert m3u_list(CUTS).splitlines()[:5] == [
        "#EXTM3U",
        "#EXTINF:2,7 1: a_1",
        "#EXTVLCOPT:start-time=3661.000",
        "#EXTVLCOPT:stop-time=3662.500",
        FILES + "/videos/a%20%231%2C%20%C3%BC.mp4",
    ]
    assert len(m3u_list(CUTS).splitlines()) == 1 + 4 * len(CUTS)


def test_a_table_quotes_what_names_contain() -> None:
    rows = list(csv.reader(io.StringIO(csv_list(CUTS))))
    assert rows[0] == ["topic", "rank", "shot", "score", "video", "start", "end"]
    assert rows[1] == ["7", "1", "a_1", "0.9", "/videos/a #1, ü.mp4", "3661.000", "3662.500"]
    assert len(rows) == 4


def test_opentimelineio_reads_the_cuts_that_were_written(tmp_path: Path) -> None:
    otio = pytest.importorskip("opentimelineio", reason="needs opentimelineio with its cmx3600 and fcpx adapters")
    if not {"cmx_3600", "fcpx_xml"} <= set(otio.adapters.available_adapter_names()):
        pytest.skip("needs otio-cmx3600-adapter and otio-fcpx-xml-adapter")
    (tmp_path / "c.edl").write_text(edl_list(CUTS, MEDIA, "avs clip"))
    (tmp_path / "c.fcpxml").write_text(fcpxml_list(CUTS, MEDIA))
    seconds = [3661.0, 1.48, 0.0, 2.0, 2.0, 0.04]

    def spans(clips: Iterable[Any]) -> list[float]:
        ranges = [clip.source_range for clip in clips]
        return [time.to_seconds() for one in ranges for time in (one.start_time, one.duration)]

    read = otio.adapters.read_from_file(str(tmp_path / "c.edl"), rate=25)
    pictures = next(track for track in read.tracks if track.kind == "Video")
    assert spans(pictures.find_clips()) == pytest.approx(seconds)
    projects = otio.adapters.read_from_file(str(tmp_path / "c.fcpxml"))
    assert [project.name for project in projects] == ["topic 7", "topic 8"]
    # The adapter counts in whole frames of each video's own rate.
    assert spans(clip for one in projects for clip in one.find_clips()) == pytest.approx(seconds, abs=1 / 25)
