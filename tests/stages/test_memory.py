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
# Imports what takes seconds, and does each job on its folder in a fork, whose peak begins at what that takes.
PROGRAM = """
import os, sys, torch._dynamo, avs_cli.stages.search, avs_cli.stages.train, bench_memory
bench_memory.BATCHES = 20
for job, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    if not os.fork():
        open("/proc/self/clear_refs", "w").write("5")
        print(bench_memory.measured(job, folder), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def growth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Bytes for each further caption of a training, and for each further shot of a search."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        bench: Any = importlib.import_module("bench_memory")
    jobs = []
    for job, build, counts in (("train", bench.captions, CAPTIONS), ("search", bench.gallery, SHOTS)):
        for count in counts:
            folder = tmp_path_factory.mktemp(f"{job}{count}-")
            build(folder, count)
            jobs += [job, str(folder)]
    line = [sys.executable, "-c", PROGRAM, *jobs]
    ran = subprocess.run(line, cwd=BENCHMARKS, stdout=subprocess.PIPE, text=True, check=True)
    few, many, small, large = (1024 * int(peak) for peak in ran.stdout.split())
    return {
        "train": (many - few) / (CAPTIONS[1] - CAPTIONS[0]),
        "search": (large - small) / (SHOTS[1] - SHOTS[0]),
    }


def test_training_takes_little_memory_for_a_caption_with_three_features(growth: dict[str, float]) -> None:
    """240 bytes now; in dicts and lists of texts, a caption took a kilobyte."""
    assert growth["train"] < 500


def test_a_search_takes_little_memory_for_a_shot(growth: dict[str, float]) -> None:
    """The id and its digest; a shot's vector has 128 bytes, and the ids as texts in a dict 219.

    Blocks in memory at the moment of the peak are noise of up to 100 bytes a shot.
    """
    assert growth["search"] < 200
