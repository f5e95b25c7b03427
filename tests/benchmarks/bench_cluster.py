"""`avs extract` and `avs search` by two Dask workers against this process with two decoding processes, in one run.

The workers run before the clock starts, as those of a cluster do: what is left is loading the model in each of them,
and the tasks with their stores. The bytes are compared too.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"
MODEL = "conse"
ROUNDS = 2


def seconds(folder: Path, *line: object) -> float:
    """The seconds that a command line takes."""
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "avs_cli", *map(str, line)], cwd=folder, check=True, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - begun


def rows() -> Iterator[tuple[str, str, str]]:
    # Not a package: run.py adds the folder to the path.
    from bench_faults import scheduler

    CLIPS.stat()
    with tempfile.TemporaryDirectory(prefix="avs-bench-") as name, scheduler() as (address, _):
        folder = Path(name)
        elsewhere = ("--engine", "dask", "--scheduler", address)
        lines = {
            "extract": (
                "extract",
                *sorted(CLIPS.glob("sam2_*")),
                "--model",
                MODEL,
                "--workers",
                2,
                "--threads",
                1,
                "-o",
            ),
            "search": ("search", "here.extract", "--query", "a person on a bicycle", "--threads", 1, "-o"),
        }
        for command, line in lines.items():
            here, there = float("inf"), float("inf")
            for _ in range(ROUNDS):
                for output in folder.glob(f"*.{command}"):
                    output.unlink()
                here = min(here, seconds(folder, *line, f"here.{command}"))
                there = min(there, seconds(folder, *line, f"there.{command}", *elsewhere))
            same = (folder / f"here.{command}").read_bytes() == (folder / f"there.{command}").read_bytes()
            yield (
                f"cluster: {command}, 6 clips, two Dask workers / this process",
                f"{there:.1f} s / {here:.1f} s, {'equal' if same else 'OTHER'} bytes",
                "equal bytes",
            )


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ", flush=True)
