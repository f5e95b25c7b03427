"""`avs clip`: clips and cut lists from a run."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.types import Shot

RUN = "7 Q0 a_2 1 3 x\n7 Q0 bad_1 2 2 x\n7 Q0 a_1 3 1 x\n"


@pytest.fixture
def clip(avs_here: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Runs `avs clip` in a folder with two films, of which one is no video, their store, and a run from stdin."""
    (tmp_path / "videos").mkdir()
    with av.open(str(tmp_path / "videos" / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(20):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * n, np.uint8))))
        out.mux(stream.encode())
    (tmp_path / "videos" / "bad.mp4").write_bytes(b"not a video")
    shots = [Shot("a_1", "videos/a.mp4", 0, 0.8), Shot("a_2", "videos/a.mp4", 0.8, 2)]
    with StoreWriter(tmp_path / "g.h5", "tiny", 2, {}) as writer:
        writer.add([Item(s, s.id, np.ones(2, np.float32)) for s in (*shots, Shot("bad_1", "videos/bad.mp4", 0, 1))])
        writer.finish([])
    return lambda *line, run=RUN: avs_here("clip", "-", "-g", "g.h5", *line, input=run)


def test_a_run_from_stdin_becomes_clips_and_a_bad_video_is_reported(clip: Callable[..., Any], tmp_path: Path) -> None:
    ran = clip("-o", "clips/", "--exact", "--pad", "0.2")
    lines = ran.stderr.splitlines()
    assert (ran.returncode, ran.stdout) == (5, "")
    assert lines[0] == "avs: clips/: 2 of 3 clips written"
    assert lines[1].startswith("avs: videos/bad.mp4: not a video")
    assert lines[2:] == ["avs: clips/: some shots are missing"]
    assert sorted(os.listdir(tmp_path / "clips")) == ["7_001_a_0.60-2.20_exact.mp4", "7_003_a_0.00-1.00_exact.mp4"]
    again = clip("-o", "clips/", "--depth", "1", "--exact", "--pad", "0.2")
    assert (again.returncode, again.stderr) == (
        0,
        "avs: clips/: 0 of 1 clips written; 1 existed and are left as they are\n",
    )


def test_a_cut_list_goes_to_stdout_or_into_a_file_that_is_no_video(clip: Callable[..., Any], tmp_path: Path) -> None:
    ran = clip("--list", "csv", "--depth", "1")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[1] == f"7,1,a_2,3.0,{tmp_path}/videos/a.mp4,0.800,2.000"
    ran = clip("--list", "edl", "--depth", "1", "-o", "cuts.edl")
    assert (ran.returncode, ran.stderr) == (0, "avs: the EDL counts 30 frames per second\n")
    assert "001  AX       V     C        00:00:00:24 00:00:02:00" in (tmp_path / "cuts.edl").read_text()
    ran = clip("--list", "m3u", "-o", "videos/a.mp4")
    assert (ran.returncode, "would overwrite videos/a.mp4" in ran.stderr) == (2, True)
    ran = clip("--list", "edl", "-o", "more.edl")
    assert ran.returncode == 5 and ran.stderr.startswith("avs: videos/bad.mp4: not a video")
    assert ran.stderr.endswith("nothing written\n") and not (tmp_path / "more.edl").exists()


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (["--list", "csv", "--exact"], 2, "--exact has no effect with --list"),
        ([], 2, "clips are files: give --output FOLDER, or --list"),
        (["-o", "clips", "--topics", "9"], 3, "no run has any"),
        (["-o", "clips", "--videos", "empty"], 3, "contains no videos or images"),
    ],
)
def test_what_cannot_be_is_an_error_in_one_line(
    clip: Callable[..., Any], tmp_path: Path, line: list[str], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    ran = clip(*line)
    assert (ran.returncode, ran.stderr.count("\n")) == (code, 1)
    assert message in ran.stderr and not (tmp_path / "clips").exists()


def test_a_missing_video_is_an_error_with_its_cure(clip: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "videos" / "a.mp4").unlink()
    ran = clip("-o", "clips", "--depth", "1")
    assert (ran.returncode, ran.stderr) == (
        3,
        "avs: 1 of 1 videos are not where g.h5 says (videos/a.mp4): give --videos FOLDER\n",
    )
