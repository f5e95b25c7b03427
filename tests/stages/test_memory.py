"""Memory does not grow with what stays on disk: peaks of processes, for a tenth of the data and for all of it."""

import importlib
from pathlib import Path
from typing import Any

import pytest

CAPTIONS = 20_000, 160_000
# Of fewer shots, not all blocks that may be in memory at a time exist.
SHOTS = 150_000, 900_000
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark of memory, which builds the stores and measures."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("bench_memory")


def growth(bench: Any, job: str, folder: Path, kind: str, counts: tuple[int, int]) -> float:
    """Bytes for each further caption or shot."""
    peaks = []
    for count in counts:
        data = folder / str(count)
        data.mkdir()
        getattr(bench, kind)(data, count)
        peaks.append(bench.peak(job, data))
    return float((peaks[1] - peaks[0]) * 2**20 / (counts[1] - counts[0]))


def test_training_takes_little_memory_for_a_caption_with_three_features(bench: Any, tmp_path: Path) -> None:
    """240 bytes now; in dicts and lists of texts, a caption took a kilobyte."""
    assert growth(bench, "train", tmp_path, "captions", CAPTIONS) < 500


def test_a_search_takes_little_memory_for_a_shot(bench: Any, tmp_path: Path) -> None:
    """The id and its digest; a shot's vector has 128 bytes, and the ids as texts in a dict 219.

    Blocks in memory at the moment of the peak are noise of up to 100 bytes a shot.
    """
    assert growth(bench, "search", tmp_path, "shots", SHOTS) < 200
