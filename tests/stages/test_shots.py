"""Shots from Python: the table is the one that `avs shots` writes."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avs_cli.errors import SpecError, UnknownName
from avs_cli.stages.shots import detect, from_tables, write_shots
from avs_cli.types import Shot

Here = Callable[..., Any]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """videos/v.mp4, three seconds of one colour, and broken.mp4."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    with av.open("videos/v.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(4))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), "rgb24")))
        container.mux(stream.encode())
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    return tmp_path


def test_shots_and_failures_are_those_of_the_command(avs_here: Here) -> None:
    found = detect("videos", "fixed:seconds=1", workers=1)
    assert [(shot.id, shot.start, shot.end) for shot in found.shots] == [("v_1", 0, 1), ("v_2", 1, 2), ("v_3", 2, 3)]
    assert len(found.failures) == 1 and "broken.mp4" in found.failures[0]
    write_shots("python.tsv", found.shots)
    done = avs_here("shots", "videos", "--detector", "fixed:seconds=1", "--workers", 1, "-o", "command.tsv")
    assert done.returncode == 5 and found.failures[0] in done.stderr
    assert Path("python.tsv").read_bytes() == Path("command.tsv").read_bytes()


def test_tables_of_a_collection_are_joined_with_its_videos() -> None:
    Path("v.tsv").write_text("startframe\tstarttime\tendframe\tendtime\n0\t0.0\t8\t2.0\n8\t2.0\t12\t3.0\n")
    assert [shot.end for shot in from_tables("v.tsv").shots] == [2.0, 3.0]
    shots, failures = from_tables("v.tsv", [Path("videos")])
    assert shots[0] == Shot(shots[0].id, "videos/v.mp4", 0.0, 2.0) and failures == []


def test_videos_that_a_table_lacks_are_named(hearing: Callable[[], Any]) -> None:
    Path("v.tsv").write_text("startframe\tstarttime\tendframe\tendtime\n0\t0.0\t8\t2.0\n")
    report = hearing()
    from_tables("v.tsv", "videos", report)
    assert report.notes == ["v.tsv lacks 1 of 2 videos, which are left out: videos/broken.mp4"]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnknownName):
        detect("videos", "contents")
    with pytest.raises(SpecError, match="no videos given"):
        detect([])
