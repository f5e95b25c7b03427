"""`make bench`: every row is shown and kept, one that got worse is marked, and what is missing is a reason."""

import ast
import importlib.metadata
import importlib.util
import inspect
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from results import Row, Section, cells, read, remarked, written

RUN = Path(__file__).with_name("benchmarks") / "run.py"
BENCHMARKS = sorted(RUN.parent.glob("bench_*.py"))


def run(folder: Path, *arguments: object, **scripts: str) -> "subprocess.CompletedProcess[str]":
    for file in (RUN, RUN.with_name("results.py")):
        shutil.copy(file, folder)
    for name, body in scripts.items():
        (folder / f"bench_{name}.py").write_text(f"from results import Row\ndef rows():\n    {body}\n")
    return subprocess.run([sys.executable, folder / "run.py", *arguments], capture_output=True, text=True)


def test_rows_of_all_benchmarks_stand_in_one_table(tmp_path: Path) -> None:
    ran = run(
        tmp_path, search="yield 'exact search', '1.3×', '≥ 1×'", fuse="yield Row('rrf', 2, 's', 'ranx', 9, '≥ 4')"
    )
    assert ran.returncode == 0
    assert ran.stdout.splitlines() == [
        "what          ours  peer       ratio  goal",
        "------------------------------------------",
        "rrf           2 s   ranx: 9 s  4.5×   ≥ 4×",
        "exact search  1.3×                    ≥ 1×",
    ]


def test_names_choose(tmp_path: Path) -> None:
    ran = run(tmp_path, "fuse", search="yield 'a', '1', ''", fuse="yield 'b', '2', ''")
    assert [line.split() for line in ran.stdout.splitlines()[2:]] == [["b", "2"]]
    ran = run(tmp_path, "fues")
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", "unknown benchmark fues; known: fuse, search\n")


def test_what_is_not_of_speed_runs_when_asked_for(tmp_path: Path) -> None:
    scripts = {"fuse": "yield 'b', '2', ''", "faults": "yield 'c', '3', ''"}
    assert [line[0] for line in run(tmp_path, **scripts).stdout.splitlines()[2:]] == ["b"]
    assert [line[0] for line in run(tmp_path, "all", **scripts).stdout.splitlines()[2:]] == ["c", "b"]


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


def test_the_results_keep_what_was_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    first = {"fuse": "yield Row('rrf', 2, 's', 'ranx', 9, '≥ 4')", "eval": "yield Row('ap', 1, 's')"}
    assert run(tmp_path, "--results", file, heads="yield 'heads', '7', ''", **first).returncode == 0
    before = read(file.read_text())
    # ranx is gone, one breaks, and the third is slower.
    then = {"fuse": "yield 'rrf', 'skipped', 'needs the package ranx'", "eval": "yield 1 / 0"}
    assert run(tmp_path, "--results", file, heads="yield 'heads', '8', ''", **then).returncode == 1
    after = read(file.read_text())
    assert (after["fuse"], after["eval"]) == (before["fuse"], before["eval"])
    assert after["heads"].rows == [["heads", "8", "", "", "", "", "", ""]]
    assert date.fromisoformat(after["heads"].measured.partition(",")[0])
    assert f"torch {importlib.metadata.version('torch')}" in after["heads"].measured
    assert str(tmp_path) not in file.read_text() and platform.node() not in file.read_text()


def test_a_row_worse_by_a_fifth_than_the_committed_results_is_marked_until_they_are_committed(tmp_path: Path) -> None:
    file, git = tmp_path / "RESULTS.md", ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    run(tmp_path, "--results", file, fuse="yield Row('rrf', 1, 's', 'ranx', 9, '≥ 4')")
    for command in (["init", "--quiet"], ["add", "RESULTS.md"], ["commit", "--quiet", "-m", "Results"]):
        subprocess.run([*git, *command], check=True)
    for _ in range(2):
        ran = run(tmp_path, "--results", file, fuse="yield Row('rrf', 1.5, 's', 'ranx', 9, '≥ 4')")
        assert ran.stderr.splitlines()[-1] == "rrf: 50 % worse than 9×"
        assert read(file.read_text())["fuse"].rows[0][-1] == "**50 % worse** than 9×"


ROWS = [
    # Less is better of times, and of ratios that are to be at most something.
    (Row("a", 2.0, "s", "p", 4.0, "≤ 0.9"), ["a", "2 s", "p: 4 s", "0.5×", "≤ 0.9×", "", ""]),
    (Row("a", 2.0, "s", "p", 4.0, "≥ 8"), ["a", "2 s", "p: 4 s", "2×", "≥ 8×", "", ""]),
    (Row("a", 2.0, "s", "p", 4.0), ["a", "2 s", "p: 4 s", "2×", "", "", ""]),
    # More is better of rates.
    (
        Row("a", 1234.0, "frames/s", "p", 2468.0, "≥ 0.9"),
        ["a", "1,234 frames/s", "p: 2,468 frames/s", "0.5×", "≥ 0.9×"],
    ),
    (Row("a", 50.0, "frames/s", "p", 100.0, "≤ 3"), ["a", "50 frames/s", "p: 100 frames/s", "2×", "≤ 3×", "", ""]),
    # The bound is 100 %, of either.
    (Row("a", 4.0, "ms", bound=3.0, limit="reading"), ["a", "4 ms", "", "", "", "reading: 3 ms", "75 %"]),
    (Row("a", 3.0, "GB/s", bound=4.0, limit="bus"), ["a", "3 GB/s", "", "", "", "bus: 4 GB/s", "75 %"]),
    (("a", "1.3 and 2", "< 3"), ["a", "1.3 and 2", "", "", "< 3", "", ""]),
]


@pytest.mark.parametrize(("row", "texts"), ROWS)
def test_a_row_shows_ours_the_peer_and_the_bound(row: Row | tuple[str, str, str], texts: list[str]) -> None:
    assert cells(row)[: len(texts)] == texts
    section = {"b": Section("2026-11-28", [[*cells(row), ""]])}
    assert read(written(section)) == section


@pytest.mark.parametrize(
    ("old", "new", "remark"),
    [
        (Row("a", 1.0, "s", "p", 1.0, "≤ 2"), Row("a", 1.19, "s", "p", 1.0, "≤ 2"), ""),
        (Row("a", 1.0, "s", "p", 1.0, "≤ 2"), Row("a", 1.2, "s", "p", 1.0, "≤ 2"), "**20 % worse** than 1×"),
        # A slower machine: the peer is slower too.
        (Row("a", 1.0, "s", "p", 1.0, "≤ 2"), Row("a", 3.0, "s", "p", 3.0, "≤ 2"), ""),
        (Row("a", 1.0, "s", "p", 6.0, "≥ 4"), Row("a", 1.25, "s", "p", 6.0, "≥ 4"), "**25 % worse** than 6×"),
        (Row("a", 1.0, "s", "p", 6.0, "≥ 4"), Row("a", 0.5, "s", "p", 6.0, "≥ 4"), ""),
        (Row("a", 9.0, "f/s", "p", 3.0), Row("a", 6.0, "f/s", "p", 3.0), "**50 % worse** than 3×"),
        (
            Row("a", 1.0, "s", "p", 6.0, "≥ 4"),
            Row("a", 2.0, "s", "p", 6.0, "≥ 4"),
            "misses the goal; **100 % worse** than 6×",
        ),
        # By the share of the bound where there is no peer.
        (Row("a", 1.0, "s", bound=0.9), Row("a", 1.5, "s", bound=0.9), "**50 % worse** than 90 %"),
        # Another peer, a goal of the other kind, and words are not compared.
        (Row("a", 1.0, "s", "p", 6.0), Row("a", 1.0, "s", "q", 1.0), ""),
        (Row("a", 1.0, "s", "p", 6.0), Row("a", 1.0, "s", "p", 6.0, "≤ 1"), ""),
        (("a", "1 s", ""), ("a", "9 s", ""), ""),
    ],
)
def test_a_row_is_marked_that_got_worse_by_a_fifth(
    old: Row | tuple[str, str, str], new: Row | tuple[str, str, str], remark: str
) -> None:
    before = Section("then", [[*cells(old), ""]])
    assert [row[-1] for row in remarked([cells(new)], before)] == [remark]
    assert [row[-1] for row in remarked([cells(new)], None)] == [remark.partition(";")[0] * remark.startswith("misses")]


def test_a_peer_that_is_not_installed_is_a_row_and_the_others_go_on() -> None:
    absent, there = loaded("eval").others("eval", {"nosuchpeer": "import nosuchpeer", "json": "import json"}, [], 1.0)
    assert absent[1:] == ("skipped", "needs the package nosuchpeer")
    assert there.peer.startswith("json")


def test_fusing_is_timed_without_its_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = loaded("fuse")
    monkeypatch.setattr(fuse, "REPEATS", 1)
    monkeypatch.setattr(fuse, "TRIES", 1)
    for name, order in (("a", "ab"), ("b", "ba")):
        (tmp_path / name).write_text("".join(f"{t} Q0 {s} 1 {-n} x\n" for t in range(10) for n, s in enumerate(order)))
    rows = list(fuse.timed([str(tmp_path / "a"), str(tmp_path / "b")], "nosuchpeer"))
    assert ("RRF of 2 files, whole process", "skipped", "needs the package nosuchpeer") in rows
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
