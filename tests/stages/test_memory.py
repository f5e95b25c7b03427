"""Memory does not grow with what stays on disk: peaks of processes, for a part of the data and for all of it."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CAPTIONS = 5_000, 45_000
# Of fewer shots, not all blocks that may be in memory at a time exist.
SHOTS = 150_000, 900_000
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
# Imports what takes seconds, and does the job on each folder in a fork, whose peak begins at what that takes.
PROGRAM = """
import os, sys, torch._dynamo, avs_cli.stages.search, avs_cli.stages.train, bench_memory
bench_memory.BATCHES = 20
for folder in sys.argv[2:]:
    if not os.fork():
        open("/proc/self/clear_refs", "w").write("5")
        print(bench_memory.measured(sys.argv[1], folder), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark of memory, which builds the stores and measures."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("bench_memory")


def growth(bench: Any, job: str, folder: Path, kind: str, counts: tuple[int, int]) -> float:
    """Bytes for each further caption or shot."""
    for count in counts:
        (folder / str(count)).mkdir()
        getattr(bench, kind)(folder / str(count), count)
    line = [sys.executable, "-c", PROGRAM, job, *(str(folder / str(count)) for count in counts)]
    ran = subprocess.run(line, cwd=BENCHMARKS, stdout=subprocess.PIPE, text=True, check=True)
    small, large = map(int, ran.stdout.split())
    return (large - small) * 1024 / (counts[1] - counts[0])


def test_training_takes_little_memory_for_a_caption_with_three_features(bench: Any, tmp_path: Path) -> None:
    """240 bytes now; in dicts and lists of texts, a caption took a kilobyte."""
    assert growth(bench, "train", tmp_path, "captions", CAPTIONS) < 500


def test_a_search_takes_little_memory_for_a_shot(bench: Any, tmp_path: Path) -> None:
    """The id and its digest; a shot's vector has 128 bytes, and the ids as texts in a dict 219.

    Blocks in memory at the moment of the peak are noise of up to 100 bytes a shot.
    """
    assert growth(bench, "search", tmp_path, "shots", SHOTS) < 200
