"""Shell scripts of the documentation, whose `avs` is the process of the tests."""

import contextlib
import io
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from avs_cli.cli import exit_code

# Hands its words to the process of the tests, which has loaded everything already, and gives back what that answers.
AVS = """#!/bin/sh
cd "$(dirname "$0")"
printf '%s\\n' "$@" > words
echo go > ask
read -r code < answer
cat out
cat told >&2
exit "$code"
"""

Step = tuple[Sequence[str], Mapping[str, str]]
Completed = subprocess.CompletedProcess[str]


def _answer(bin: Path) -> None:
    """Run the commands that `avs` hands over, until it hands over none."""
    while True:
        if (bin / "ask").read_text() != "go\n":
            return
        out, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            code = exit_code((bin / "words").read_text().splitlines())
        (bin / "out").write_text(out.getvalue())
        (bin / "told").write_text(told.getvalue())
        (bin / "answer").write_text(f"{code}\n")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Step]], list[Completed]]:
    """Runs command lines of a shell in order, each with variables of its own, until one fails, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "avs").write_text(AVS)
    (bin / "avs").chmod(0o755)
    for name in ("ask", "answer"):
        os.mkfifo(bin / name)
    environment = os.environ | {"PATH": f"{bin}:{os.environ['PATH']}"}
    ran: list[Completed] = []

    def run_all(steps: Sequence[Step]) -> None:
        for line, own in steps:
            ran.append(subprocess.run(line, cwd=tmp_path, env=environment | own, capture_output=True, text=True))
            if ran[-1].returncode:
                break
        (bin / "ask").write_text("stop\n")

    def run(steps: Sequence[Step]) -> list[Completed]:
        runner = threading.Thread(target=run_all, args=(steps,), daemon=True)
        runner.start()
        _answer(bin)
        runner.join()
        return ran

    return run
