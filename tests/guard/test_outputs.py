"""The bytes that every command writes are those that were pinned: what only moves code changes no output."""

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, as a module, in an empty folder and without settings of the user's."""
    for name in [name for name in os.environ if name.startswith("AVS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("outputs", HERE / "outputs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_writes_the_bytes_that_were_pinned(outputs: Any, shared_data: Callable[[str], Path]) -> None:
    data = shared_data("clips").parent
    pinned = json.loads((HERE / "digests.json").read_text())
    here = outputs.machine()
    if here != pinned["machine"]:
        other = [f"{name} {value}, not {pinned['machine'].get(name)}" for name, value in here.items()]
        pytest.skip(f"digests are of another machine: {'; '.join(other)}; pin them here before a move")
    found = outputs.digests(data)
    for line, files in pinned["outputs"].items():
        assert found[line] == files, f"other bytes from: avs {line}"
    assert found.keys() == pinned["outputs"].keys()
