"""One process at a time writes a file: refused at once, free after a kill, no lock file left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avs_cli.errors import AvsError
from avs_cli.io.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from avs_cli.io.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""

# Takes the lock over and over; a second holder at the same time would meet the first one's `inside`.
CONTENDER = """
import os, sys
from pathlib import Path
from avs_cli.errors import AvsError
from avs_cli.io.lock import locked
path, taken = Path(sys.argv[1]), 0
inside = path.with_name("inside")
while taken < 200:
    try:
        with locked(path):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            inside.unlink()
            taken += 1
    except AvsError:
        pass
"""


def test_a_lock_is_refused_at_once_while_another_process_lives_and_free_when_it_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.h5"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert os.listdir(path.parent) == ["a.h5.lock"]
        begun = time.monotonic()
        with pytest.raises(AvsError) as refused, locked(path):
            pass
        assert time.monotonic() - begun < 5
        assert str(refused.value) == f"{path}: in use by another avs process; wait, or write to another file"
        holder.send_signal(signal.SIGKILL)
    assert os.listdir(path.parent) == ["a.h5.lock"]
    with locked(path):
        assert os.listdir(path.parent) == ["a.h5.lock"]
    assert os.listdir(path.parent) == []


def test_a_failure_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a.h5"):
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == []


def test_no_two_processes_hold_a_lock_whose_file_comes_and_goes(tmp_path: Path) -> None:
    line = [sys.executable, "-c", CONTENDER, str(tmp_path / "a.h5")]
    contenders = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [(running.communicate(timeout=120)[1], running.returncode) for running in contenders] == [("", 0)] * 4
    assert os.listdir(tmp_path) == []
