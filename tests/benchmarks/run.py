"""Run the benchmarks and print one table: what was measured, the figure, the goal.

`run.py [NAME...]` runs bench_NAME.py for each name, all of them without one. A benchmark is a script whose `rows()`
yields (what, figure, goal). Each runs in a process of its own, so that none warms or burdens another; one whose peer or
data is not here is skipped with the reason.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = ("what", "figure", "goal")


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def measure(name: str) -> None:
    """Print each row of one benchmark as a JSON line; a last line says why it stopped, when something is missing."""
    path = HERE / f"bench_{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(HERE))
    try:
        spec.loader.exec_module(module)
        for row in module.rows():
            print(json.dumps(row), flush=True)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("avs_cli"):
            raise
        print(json.dumps([name, "skipped", f"needs the package {error.name}"]))
    except FileNotFoundError as error:
        print(json.dumps([name, "skipped", f"needs {Path(str(error.filename or error)).name}"]))


def rows(name: str) -> Iterator[list[str]]:
    """The rows of one benchmark as they come."""
    with subprocess.Popen([sys.executable, __file__, "--one", name], stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout or ():
            yield [str(cell) for cell in json.loads(line)]
    if running.returncode:
        yield [name, "failed", f"exit code {running.returncode}; see above"]


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        measure(arguments[1])
        return 0
    if unknown := set(arguments) - set(names()):
        print(f"unknown benchmark {', '.join(sorted(unknown))}; known: {', '.join(names())}", file=sys.stderr)
        return 2
    found = []
    for name in arguments or names():
        for row in rows(name):
            print(*row, sep="  ", file=sys.stderr, flush=True)
            found.append(row)
    print(table([list(COLUMNS), *found]))
    return int(any(row[1] == "failed" for row in found))


def table(rows: list[list[str]]) -> str:
    """Columns under one another, with a rule below the heads."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
