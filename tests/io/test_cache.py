"""Where arrays are kept between runs, and what happens when they cannot be."""

import sys
from pathlib import Path

import numpy as np
import pytest

from avs_cli.io.cache import folder, remembered


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders for caches")
def test_the_cache_is_where_linux_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AVS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert folder() == tmp_path / ".cache" / "avs"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert folder() == tmp_path / ".cache" / "avs"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert folder() == tmp_path / "elsewhere" / "avs"
    assert list(tmp_path.iterdir()) == []  # asking makes nothing


def test_a_folder_of_ones_own_is_the_cache_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "mine"))
    assert folder() == tmp_path / "mine"


def test_an_array_is_computed_once_and_again_when_its_file_is_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AVS_CACHE", str(tmp_path))
    computed = []

    def compute() -> np.ndarray:
        computed.append(1)
        return np.arange(3)

    assert remembered("three", compute).tolist() == remembered("three", compute).tolist() == [0, 1, 2]
    assert len(computed) == 1
    (tmp_path / "three.npy").write_bytes(b"\x93NUMPY")
    assert remembered("three", compute).tolist() == [0, 1, 2]
    assert len(computed) == 2


def test_a_cache_that_cannot_be_written_is_no_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "file" / "below"))
    assert remembered("three", lambda: np.arange(3)).tolist() == [0, 1, 2]
