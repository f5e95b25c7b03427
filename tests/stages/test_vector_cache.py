"""Vectors that are computed once: what a killed computation has finished is not computed again."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from avs_cli.stages import vector_cache
from avs_cli.stages.team import Team
from avs_cli.stages.vector_cache import cached_vectors, key_of


def test_an_interrupted_computation_resumes_after_its_last_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_cache, "PART", 2)
    ids, computed, team = [f"i{k}" for k in range(7)], [], Team("cpu")

    def compute(which: np.ndarray, last: int = 7) -> dict[str, torch.Tensor]:
        if which[-1] >= last:
            raise KeyboardInterrupt
        computed.append(which.tolist())
        return {"x": torch.from_numpy(which)[:, None].float(), "pair": torch.from_numpy(which)[:, None].expand(-1, 2)}

    with contextlib.ExitStack() as stack:
        with pytest.raises(KeyboardInterrupt):
            cached_vectors(stack, team, tmp_path / "k.h5", ids, lambda which: compute(which, 5))
        before = len(computed)
        cached = cached_vectors(stack, team, tmp_path / "k.h5", ids, compute)
        assert computed == [[0], [0, 1], [2, 3], [0], [4, 5], [6]]
        assert before == 3
        assert cached.take(np.array([6, 2]))["pair"].tolist() == [[6, 6], [2, 2]]
        assert cached_vectors(stack, team, tmp_path / "k.h5", ids, compute).shapes == {"x": (1,), "pair": (2,)}
        assert len(computed) == 6


def test_a_key_depends_on_all_values_and_not_on_the_order_of_names() -> None:
    assert key_of({"a": 1, "b": [2, 3]}) == key_of({"b": [2, 3], "a": 1})
    assert len({key_of({"a": 1}), key_of({"a": 2}), key_of({"b": 1}), key_of([1])}) == 4
