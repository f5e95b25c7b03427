"""What CONTRIBUTING.md promises: paths that exist, and an example that works from the command line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from avs_cli.io.text.trec import read_run

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# The program, with one more folder of fusion methods.
PROGRAM = (
    "import sys, avs_cli.core.fusion.methods as package; package.__path__.append(sys.argv.pop(1)); "
    "from avs_cli.cli import main; main()"
)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:avs_cli|tests)/[\w/.]+)`", TEXT))))
def test_a_path_that_is_named_exists(path: str) -> None:
    assert (CHECKOUT / path).exists()


@pytest.mark.parametrize("pattern", re.findall(r"\| `(core/[\w/]+)/NAME\.py`", TEXT))
def test_a_place_for_entries_is_a_registry(pattern: str) -> None:
    assert "Registry(" in (CHECKOUT / "avs_cli" / pattern / "__init__.py").read_text() or pattern.endswith(
        ("measures", "shots")
    )


def test_the_example_is_a_fusion_method_as_it_stands(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    path, _, code = block.removeprefix("# ").partition("\n")
    assert path == "avs_cli/core/fusion/methods/median_rank.py"
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / Path(path).name).write_text(code)
    for name, order in {"a": "xyz", "b": "xzy", "c": "yx"}.items():
        rows = (f"1 Q0 {shot} {rank} {-rank} {name}\n" for rank, shot in enumerate(order, start=1))
        (tmp_path / f"{name}.trec").write_text("".join(rows))
    line = ["fuse", "a.trec", "b.trec", "c.trec", "--method", "median-rank:offset=1", "-o", "fused.trec"]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "methods"), *line]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    # Ranks of x: 1, 1, 2; of y: 2, 3, 1; of z: 3, 2 and none.
    assert read_run(str(tmp_path / "fused.trec")) == {"1": {"x": 1 / 2, "y": 1 / 3, "z": 1 / 4}}
