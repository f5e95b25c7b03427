"""The bytes that every command writes are those that were pinned: what only moves code changes no output."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]


def ran(*arguments: object) -> dict[str, Any]:
    """What the script prints, of this checkout's avs_cli."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AVS_")}
    environment["PYTHONPATH"] = str(CHECKOUT)
    command = [sys.executable, str(HERE / "outputs.py"), *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_every_command_writes_the_bytes_that_were_pinned(shared_data: Callable[[str], Path]) -> None:
    data = shared_data("clips").parent
    pinned = json.loads((HERE / "digests.json").read_text())
    here = ran("--machine")
    if here != pinned["machine"]:
        other = [f"{name} {value}, not {pinned['machine'].get(name)}" for name, value in here.items()]
        pytest.skip(f"digests are of another machine: {'; '.join(other)}; pin them here before a move")
    found = ran(data)["outputs"]
    for line, files in pinned["outputs"].items():
        assert found[line] == files, f"other bytes from: avs {line}"
    assert found.keys() == pinned["outputs"].keys()
