"""Notes and bars are for people; stdout is for programs."""

import json
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


HOSTILE = "\x1b[31mred\x9b2J\r\n\u202etxt.exe"
SHOWN = "\\x1b[31mred\\x9b2J\\r\\n\\u202etxt.exe"


def test_what_a_terminal_would_obey_is_shown_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    console.note(HOSTILE)
    console.answer([HOSTILE, "größe 日本 \udcff"])
    console.table([HOSTILE], [[HOSTILE]], title=HOSTILE)
    out, err = capsys.readouterr()
    assert err == f"avs: {SHOWN}\n"
    assert out.splitlines()[:2] == [SHOWN, "größe 日本 \\udcff"]
    assert out.count(SHOWN) == 4 and not set("\x1b\x9b\r\u202e") & set(out)


def test_square_brackets_and_colons_in_a_table_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["[bold]run"], [["[/red]a.run"], [":dog:"]], title="[link=x]")
    out = capsys.readouterr().out
    assert all(text in out for text in ("[bold]run", "[/red]a.run", ":dog:", "[link=x]"))


def test_escaped_json_is_the_same_value() -> None:
    text = json.dumps({HOSTILE: ["größe"]}, indent=1, ensure_ascii=False)
    shown = console.visible_json(text)
    assert json.loads(shown) == {HOSTILE: ["größe"]} and "größe" in shown
    assert not set("\x1b\x9b\u202e") & set(shown)
