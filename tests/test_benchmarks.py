"""The collector behind `make bench`: every row is shown, what is missing is a reason and not a failure."""

import ast
import importlib.util
import inspect
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

RUN = Path(__file__).with_name("benchmarks") / "run.py"
BENCHMARKS = sorted(RUN.parent.glob("bench_*.py"))


def run(folder: Path, *names: str, **scripts: str) -> "subprocess.CompletedProcess[str]":
    shutil.copy(RUN, folder)
    for name, body in scripts.items():
        (folder / f"bench_{name}.py").write_text(f"def rows():\n    {body}\n")
    return subprocess.run([sys.executable, folder / "run.py", *names], capture_output=True, text=True)


def test_rows_of_all_benchmarks_stand_in_one_table(tmp_path: Path) -> None:
    ran = run(tmp_path, search="yield 'exact search', '1.3×', '≥ 1×'", fuse="yield 'rrf', '2 s', ''")
    assert ran.returncode == 0
    assert ran.stdout.splitlines() == [
        "what          figure  goal",
        "--------------------------",
        "rrf           2 s",
        "exact search  1.3×    ≥ 1×",
    ]


def test_names_choose(tmp_path: Path) -> None:
    ran = run(tmp_path, "fuse", search="yield 'a', '1', ''", fuse="yield 'b', '2', ''")
    assert [line.split() for line in ran.stdout.splitlines()[2:]] == [["b", "2"]]
    ran = run(tmp_path, "fues")
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", "unknown benchmark fues; known: fuse, search\n")


@pytest.mark.parametrize(
    ("body", "reason"),
    [("import nosuchpeer", "needs the package nosuchpeer"), ("open('/nowhere/flickr8k')", "needs flickr8k")],
)
def test_what_is_not_here_skips_and_keeps_the_rows_before_it(tmp_path: Path, body: str, reason: str) -> None:
    ran = run(tmp_path, peer=f"yield 'ours', '1', ''; {body}")
    assert ran.returncode == 0
    assert [line.split(maxsplit=2) for line in ran.stdout.splitlines()[2:]] == [
        ["ours", "1"],
        ["peer", "skipped", reason],
    ]


def test_a_benchmark_that_breaks_fails_the_run_and_not_the_others(tmp_path: Path) -> None:
    ran = run(tmp_path, broken="yield 1 / 0", good="yield 'a', '1', ''")
    assert ran.returncode == 1
    assert "ZeroDivisionError" in ran.stderr
    assert [line.split()[:2] for line in ran.stdout.splitlines()[2:]] == [["broken", "failed"], ["a", "1"]]


def test_a_peer_that_is_not_installed_is_a_row_and_the_others_go_on() -> None:
    absent, there = loaded("eval").others({"nosuchpeer": "import nosuchpeer", "json": "import json"}, [], 1.0)
    assert absent[1:] == ("skipped", "needs the package nosuchpeer")
    assert there[1] != "skipped"


def test_fusing_is_timed_without_its_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = loaded("fuse")
    monkeypatch.setattr(fuse, "REPEATS", 1)
    monkeypatch.setattr(fuse, "TRIES", 1)
    for name, order in (("a", "ab"), ("b", "ba")):
        (tmp_path / name).write_text("".join(f"{t} Q0 {s} 1 {-n} x\n" for t in range(10) for n, s in enumerate(order)))
    rows = list(fuse.timed([str(tmp_path / "a"), str(tmp_path / "b")], "nosuchpeer"))
    assert ("RRF, nosuchpeer", "skipped", "needs the package nosuchpeer") in rows
    assert len(rows) == 3


def loaded(name: str) -> ModuleType:
    """A benchmark's module."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", RUN.with_name(f"bench_{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names_of_ours(path: Path) -> Iterator[tuple[str, str]]:
    """Every import of ours in a script, also inside functions, as module and name ("" for the module itself)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avs_cli"):
            yield from ((str(node.module), name.name) for name in node.names)
        elif isinstance(node, ast.Import):
            yield from ((name.name, "") for name in node.names if name.name.startswith("avs_cli"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_benchmark_has_rows_and_imports_what_there_is(path: Path) -> None:
    assert inspect.isgeneratorfunction(loaded(path.stem.removeprefix("bench_")).rows)
    for module, name in names_of_ours(path):
        there = importlib.import_module(module)
        assert not name or hasattr(there, name) or importlib.util.find_spec(f"{module}.{name}"), f"{module}.{name}"


def test_there_are_benchmarks() -> None:
    assert len(BENCHMARKS) > 5
