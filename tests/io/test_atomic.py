"""A file that exists is whole."""

import gzip
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from avs_cli.io.atomic import replacing, writing

SLOW_WRITER = """
import sys, time
from avs_cli.io.atomic import writing
with writing(sys.argv[1]) as out:
    out.write("half"); out.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


def test_text_is_there_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    with writing(tmp_path / "a.run") as out:
        out.write("é\n")
        assert not (tmp_path / "a.run").exists()
    assert (tmp_path / "a.run").read_bytes() == "é\n".encode()
    assert os.listdir(tmp_path) == ["a.run"]


def test_an_error_in_the_block_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text("old")
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "a.run") as out:
        out.write(str(1 / 0))
    assert (tmp_path / "a.run").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.run"]


def test_a_process_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text("old")
    running = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, tmp_path / "a.run"], stdout=subprocess.PIPE, text=True
    )
    assert running.stdout and running.stdout.readline() == "ready\n"
    running.kill()
    assert running.wait() == -signal.SIGKILL
    running.stdout.close()
    assert (tmp_path / "a.run").read_text() == "old"


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_there(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", SLOW_WRITER, tmp_path / name], stdout=subprocess.PIPE, text=True)
        for name in ("dead.run", "alive.run")
    ]
    for writer in writers:
        assert writer.stdout and writer.stdout.readline() == "ready\n"
    dead, alive = writers
    dead.kill()
    dead.wait()
    (of_dead,) = tmp_path.glob(".dead.run.*.part")
    (of_alive,) = tmp_path.glob(".alive.run.*.part")
    # The same process of another machine, and names that are not ours.
    elsewhere = of_dead.with_name(of_dead.name.replace(of_dead.name.split(".")[3].split("-")[0], "0" * 8))
    others = [elsewhere, tmp_path / ".notes.part", tmp_path / ".a.x7.part"]
    for path in others:
        path.write_text("kept")
    next_one = "import sys; from avs_cli.io.atomic import writing\nwith writing(sys.argv[1]) as out: out.write('whole')"
    subprocess.run([sys.executable, "-c", next_one, tmp_path / "next.run"], check=True)
    assert {*tmp_path.iterdir()} == {of_alive, *others, tmp_path / "next.run"}
    alive.kill()
    for writer in writers:
        writer.wait()
        assert writer.stdout
        writer.stdout.close()


def test_equal_text_gives_equal_gzip_bytes_under_any_name(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        with writing(tmp_path / name) as out:
            out.write("topic\n")
    packed = (tmp_path / "a.gz").read_bytes()
    assert packed == (tmp_path / "b.gz").read_bytes()
    assert packed[4:8] == b"\0\0\0\0"  # RFC 1952: no time stamp
    assert gzip.decompress(packed) == b"topic\n"


def test_a_hyphen_is_stdout(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with writing("-") as out:
        out.write("data\n")
    assert capsys.readouterr().out == "data\n"
    assert os.listdir(tmp_path) == []


def test_outputs_have_the_rights_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "store.h5") as part:
            part.write_bytes(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "store.h5").stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_that_is_replaced_keeps_its_rights(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a.run").write_text("old")
    (tmp_path / "a.run").chmod(mode)
    with writing(tmp_path / "a.run") as out:
        out.write("new")
    assert stat.S_IMODE((tmp_path / "a.run").stat().st_mode) == mode
    assert (tmp_path / "a.run").read_text() == "new"


def test_an_array_that_does_not_fit_names_its_file(tmp_path: Path) -> None:
    """numpy's own message says how many numbers were written, and neither why nor where."""
    program = (
        "import resource, numpy; from avs_cli.io.atomic import replacing\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (999, 999))\n"
        "with replacing('a.npy') as part, part.open('wb') as out: numpy.save(out, numpy.ones(9999))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert "No space left on device: 'a.npy'" in ran.stderr
    assert os.listdir(tmp_path) == []


def test_folders_on_the_way_to_an_output_are_made(tmp_path: Path) -> None:
    with writing(tmp_path / "2023" / "runs" / "a.run") as out:
        out.write("new")
    assert (tmp_path / "2023" / "runs" / "a.run").read_text() == "new"


def test_a_file_on_the_way_to_an_output_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError) as caught, writing(tmp_path / "runs" / "a.run"):
        pass
    assert caught.value.filename == str(tmp_path / "runs" / "a.run")


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught, writing(tmp_path):
        pass
    assert caught.value.filename == str(tmp_path)


def test_a_link_keeps_pointing_at_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "latest.run").symlink_to("a.run")
    with writing(tmp_path / "latest.run") as out:
        out.write("new")
    assert (tmp_path / "latest.run").is_symlink()
    assert (tmp_path / "a.run").read_text() == "new"


def test_a_named_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True)
    with writing(tmp_path / "pipe") as out:
        out.write("data\n")
    assert reader.communicate(timeout=60)[0] == "data\n"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
