"""`avs serve` as a user starts and stops it."""

import http.client
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colours import colour_gallery, use_colours
from dres import serving

from avs_cli.types import Shot

VECTORS = {"red": (1.0, 0.1, 0.0), "green": (0.0, 1.0, 0.1)}


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_colours(monkeypatch)
    return colour_gallery(tmp_path / "g.h5", VECTORS, {id: Shot(id, "film.mp4", 0, 1) for id in VECTORS})


def test_it_prints_its_address_serves_and_stops_at_ctrl_c(
    gallery: Path, forked: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(gallery.parent)
    Path("film.mp4").write_bytes(bytes(30_000_000))
    ours, theirs = os.pipe()
    errors = gallery.parent.with_suffix(".errors")

    def redirect() -> None:
        sys.stdout, sys.stderr = os.fdopen(theirs, "w"), errors.open("w", buffering=1)

    child = forked(["serve", "g.h5", "--port", "0", "--threads", "1"], redirect)
    os.close(theirs)
    with os.fdopen(ours) as printed:
        host, port = printed.readline().strip().removeprefix("http://").removesuffix("/").split(":")
        assert host == "127.0.0.1"
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/")
        page = connection.getresponse().read().decode()
        assert "Find a shot among 2" in page and "marks.qrels" in page
        # A browser that holds a film open, as while it is paused, and a request that never ends.
        connection.request("POST", "/search", json.dumps({"text": "r"}), headers(f"http://{host}:{port}"))
        version = json.loads(connection.getresponse().read())["version"]
        with socket.create_connection((host, int(port))) as film, socket.create_connection((host, int(port))) as half:
            film.sendall(f"GET /video/{version}/0 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert film.recv(12) == b"HTTP/1.1 200"
            half.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode())
            os.kill(child, signal.SIGINT)
            _, status = os.waitpid(child, 0)
        assert (os.waitstatus_to_exitcode(status), printed.read()) == (0, "")
    said = errors.read_text().splitlines()
    assert said[-2:] == ["avs: 2 shots; marks go to marks.qrels; Ctrl-C stops", "avs: stopped"]
    assert sorted(path.name for path in gallery.parent.iterdir()) == ["film.mp4", "g.h5"]


def headers(origin: str) -> dict[str, str]:
    return {"Origin": origin, "Content-Type": "application/json"}


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
