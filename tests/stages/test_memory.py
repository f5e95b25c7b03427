"""Memory does not grow with what stays on disk: peaks of processes, for a tenth of the data and for all of it."""

import importlib
from pathlib import Path
from typing import Any

import pytest

SMALL, LARGE = 20_000, 160_000
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark of memory, which builds the stores and measures."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("bench_memory")


def growth(bench: Any, job: str, tmp_path: Path, build: str) -> float:
    """Bytes for each further caption or shot."""
    peaks = []
    for count in (SMALL, LARGE):
        folder = tmp_path / str(count)
        folder.mkdir()
        getattr(bench, build)(folder, count)
        peaks.append(bench.peak(job, folder))
    return float((peaks[1] - peaks[0]) * 2**20 / (LARGE - SMALL))


def test_training_takes_little_memory_for_a_caption_with_three_features(bench: Any, tmp_path: Path) -> None:
    """240 bytes now; in dicts and lists of texts, a caption took a kilobyte."""
    assert growth(bench, "train", tmp_path, "captions") < 500


def test_a_search_takes_little_memory_for_a_shot(bench: Any, tmp_path: Path) -> None:
    """The id and its digest; a shot's vector has 128 bytes."""
    assert growth(bench, "search", tmp_path, "shots") < 100
