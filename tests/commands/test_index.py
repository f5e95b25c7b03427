"""`avs index` as a newcomer uses it: the line it prints, the commands that take its store, what it refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avs_cli.core import encoders as package

ENCODERS = Path(__file__).resolve().parents[1] / "data" / "encoders"
Here = Callable[..., Any]
MODEL = ("--model", "colour", "--workers", 1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """My Videos/red.mp4 and sub/green.mp4, of a second each, and the tests' own encoders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(ENCODERS)])
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    Path("My Videos/sub").mkdir(parents=True)
    for name, colour in {"red": (200, 0, 0), "sub/green": (0, 200, 0)}.items():
        with av.open(f"My Videos/{name}.mp4", "w") as container:
            stream = container.add_stream("mpeg4", rate=Fraction(4))
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            picture = np.full((48, 64, 3), colour, np.uint8)
            for _ in range(4):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
    return tmp_path


def test_a_folder_becomes_a_store_that_the_other_commands_take(avs_here: Here, folder: Path) -> None:
    done = avs_here("index", "My Videos", *MODEL)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1] == "avs: 2 new; 2 shots in videos.h5"
    size = sum(path.stat().st_size for path in Path("My Videos").rglob("*.mp4"))
    shown = avs_here("info", "videos.h5").stdout
    assert "2 shots from 2 videos" in shown and f"index of 2 videos ({size / 1e6:.1f} MB), shots by content\n" in shown
    facts = json.loads(avs_here("info", "videos.h5", "--json").stdout)[0]["index"]
    assert facts == {"files": 2, "bytes": size, "without_shots": [], "detector": "content", "models": ["colour"]}
    ran = avs_here("search", "videos.h5", "-q", "g", "-o", "g.run")
    assert ran.returncode == 0 and Path("g.run").read_text().split()[2] == "green_1"
    assert avs_here("view", "g.run", "-g", "videos.h5", "-o", "page.html").returncode == 0
    assert "My Videos/sub/green.mp4" in Path("page.html").read_text()


def test_later_calls_need_no_options_and_say_what_they_did(avs_here: Here) -> None:
    avs_here("index", "My Videos", *MODEL)
    os.replace("My Videos/red.mp4", "My Videos/rouge.mp4")
    Path("My Videos/sub/green.mp4").unlink()
    assert avs_here("index", "My Videos").stderr == "avs: 1 moved, 1 gone; 1 shot in videos.h5\n"
    assert avs_here("index", "My Videos").stderr == "avs: nothing changed; 1 shot in videos.h5\n"


def test_an_index_of_which_nothing_changed_loads_no_torch(avs_here: Here, folder: Path) -> None:
    avs_here("index", "My Videos", *MODEL)
    program = "import sys; from avs_cli.cli import exit_code; code = exit_code(['index', 'My Videos']); "
    program += "print(code, *{'torch', 'transformers', 'rich'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder).stdout == "0\n"


def test_a_killed_index_is_resumed_by_the_same_command(avs_here: Here, killed: Callable[..., bool]) -> None:
    line = ["index", "My Videos", *MODEL]
    avs_here(*line, "-o", "whole.h5")
    for called, count in (("avs_cli.io.journal.Journal._add", 3), ("os.replace", 2), ("shutil.rmtree", 1)):
        assert killed(line, called, count, True)
    assert avs_here(*line).returncode == 0
    assert Path("videos.h5").read_bytes() == Path("whole.h5").read_bytes()
    assert {path.name for path in Path().glob("videos.h5*")} == {"videos.h5"}


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (["videos.h5"], 2, "--output would overwrite videos.h5, which is read as FOLDER"),
        (["My Videos", "-o", "My Videos/red.mp4"], 2, "--output would overwrite My Videos/red.mp4"),
        (["nowhere"], 3, "nowhere: no such file or directory"),
        (["empty"], 3, "empty: contains no videos or images"),
        (["My Videos", "-o", "empty"], 3, "empty"),
        (["My Videos", "--weights", "clip.pt"], 2, "of which model? give its --model"),
        (["My Videos", "--shots", "contents", "-o", "new.h5"], 2, "did you mean 'content'?"),
        (["My Videos", "--scheduler", "tcp://h:1"], 2, "--scheduler has no effect without --engine dask"),
    ],
)
def test_what_cannot_be_is_one_line(avs_here: Here, line: list[str], code: int, message: str) -> None:
    Path("empty").mkdir()
    Path("videos.h5").write_bytes(b"")
    done = avs_here("index", *line)
    assert done.returncode == code and message in done.stderr and done.stderr.count("\n") == 1
