"""The planning table of the README is what the script prints from its constants and the catalogue of models."""

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
README = BENCHMARKS.parents[1] / "README.md"


@pytest.fixture
def planning(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("planning")


def test_the_table_of_the_readme_is_that_of_the_script(planning: Any) -> None:
    table, readme = planning.table(), README.read_text(encoding="utf-8")
    heads = table.partition("\n")[0]
    if heads not in readme:
        pytest.skip("the README has no planning table")
    assert table in readme, "run tests/benchmarks/planning.py"


def test_sizes_and_hours_follow_from_their_numbers(planning: Any) -> None:
    rows = {row.what: row for row in planning.rows()}
    # 512 dimensions of 2 bytes, and an id of 20.
    assert rows["store of clip:vit-b32, 512 × float16"].cells == ("1 GB", "10 GB", "100 GB")
    # A million shots of 7 frames of 4.4 GMACs, at 40 GMACs per second.
    assert rows["`avs extract`: clip:vit-b32, 1 core"].cells[0] == planning.time(1e6 * 7 * 4.4 / 40)
    assert [planning.time(seconds) for seconds in (86400 * 100, 5400, 90, 3)] == ["2,400 h", "1.5 h", "1.5 min", "3 s"]
    for row in rows.values():
        assert len(row.cells) == 3 and any(word in row.source for word in ("measured here", "model card", "data sheet"))
