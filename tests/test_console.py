"""Notes and bars are for people; stdout is for programs."""

import os
import subprocess
import sys

import pytest

from avs_cli import console

BAR = """
from avs_cli.console import progress
import sys
with progress("extracting", 3) as advance:
    for name in "abc":
        advance(1, name)
print("done", "rich" in sys.modules)
"""


def test_a_note_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("2 shots are missing")
    assert capsys.readouterr() == ("", "avs: 2 shots are missing\n")


def test_progress_is_silent_and_costs_nothing_when_stderr_is_no_terminal() -> None:
    ran = subprocess.run([sys.executable, "-c", BAR], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("done False\n", "")


def test_progress_is_drawn_on_stderr_alone_when_it_is_a_terminal() -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm"}
    ran = subprocess.run([sys.executable, "-c", BAR], stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment)
    os.close(theirs)
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    assert ran.stdout == "done True\n"
    assert "extracting" in drawn


def test_a_piped_table_keeps_every_column_whole_and_numbers_stand_right(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a-run-with-a-very-long-name" * 20
    console.table(["run", "xinfAP"], [[name, "0.1"], ["b", "10.25"]])
    lines = capsys.readouterr().out.splitlines()
    assert name in "\n".join(lines)
    first, second = (next(line for line in lines if number in line) for number in ("0.1", "10.25"))
    assert first.rstrip().index("0.1") + 3 == second.rstrip().index("10.25") + 5
