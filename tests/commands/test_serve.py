"""`avs serve` as a user starts and stops it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colours import ENCODERS, colour_gallery, use_colours
from dres import serving

from avs_cli.types import Shot

VECTORS = {"red": (1.0, 0.1, 0.0), "green": (0.0, 1.0, 0.1)}


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_colours(monkeypatch)
    return colour_gallery(tmp_path / "g.h5", VECTORS, {id: Shot(id, "film.mp4", 0, 1) for id in VECTORS})


def test_it_prints_its_address_serves_and_stops_at_ctrl_c(gallery: Path) -> None:
    program = (
        "from avs_cli.core import encoders; import sys; from avs_cli.cli import main\n"
        f"encoders.__path__ = [*encoders.__path__, {str(ENCODERS)!r}]; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "serve", "g.h5", "--port", "0", "--threads", "1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AVS_")}
    with subprocess.Popen(
        command, cwd=gallery.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as ran:
        assert ran.stdout is not None
        address = ran.stdout.readline().strip()
        host, port = address.removeprefix("http://").removesuffix("/").split(":")
        assert host == "127.0.0.1"
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/", headers={"Connection": "close"})
        page = connection.getresponse().read().decode()
        assert "Find a shot among 2" in page and "marks.qrels" in page
        begun = time.monotonic()
        ran.send_signal(signal.SIGINT)
        _, errors = ran.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert (ran.returncode, errors.splitlines()[-1]) == (0, "avs: stopped")
    assert "2 shots; marks go to marks.qrels; Ctrl-C stops" in errors and "Traceback" not in errors
    assert [path.name for path in gallery.parent.iterdir()] == ["g.h5"]


def test_a_port_in_use_and_a_foreign_address_are_one_line(gallery: Path, avs_here: Callable[..., Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = avs_here("serve", gallery, "--port", port)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert (
        ran.stderr.splitlines()[-1]
        == f"avs: port {port}: in use by another program; give another --port, or 0 for a free one"
    )
    ran = avs_here("serve", gallery, "--host", "192.0.2.1", "--port", 0)
    assert ran.stderr.splitlines()[-1] == "avs: port 0: 192.0.2.1 is no address of this machine; give another --host"
    ran = avs_here("serve", gallery, "--host", "no such host")
    assert "--host no such host: no such address" in ran.stderr


def test_marks_of_another_server_are_not_overwritten(gallery: Path, avs_here: Callable[..., Any]) -> None:
    ran = avs_here("serve", gallery, "--qrels", gallery)
    assert (ran.returncode, "would overwrite" in ran.stderr) == (2, True)
    (gallery.parent / "marks.qrels").write_text("no qrels\n")
    ran = avs_here("serve", gallery)
    assert (ran.returncode, ran.stderr.count("\n")) == (3, 1)


def test_a_contest_needs_a_user_and_a_server(
    gallery: Path, avs_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVS_DRES_PASSWORD", "secret")
    with serving() as contest:
        for options, code, message in (
            (["--dres", contest.url], 2, f"avs: --dres {contest.url}: as which user? give --dres-user NAME"),
            (["--dres-user", "team"], 2, "avs: --dres-user has no effect without --dres"),
            (
                ["--dres", contest.url, "--dres-user", "team"],
                1,
                f"avs: {contest.url}: does not accept user 'team' with this password",
            ),
        ):
            ran = avs_here("serve", gallery, *options)
            assert (ran.returncode, ran.stderr.splitlines()[-1]) == (code, message)
        assert "secret" not in ran.stderr


@pytest.mark.parametrize("option", ['dres = "http://127.0.0.1:9"', 'host = "0.0.0.0"'])
def test_a_folder_from_elsewhere_opens_no_network(option: str, gallery: Path, avs_here: Callable[..., Any]) -> None:
    (gallery.parent / "avs.toml").write_text(f"[serve]\n{option}\n")
    ran = avs_here("serve", gallery)
    assert (ran.returncode, "is accepted on the command line only" in ran.stderr) == (3, True)
