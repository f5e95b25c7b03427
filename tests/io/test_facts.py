"""Facts on encoders are recalled as they were kept, until a file of theirs changes."""

from pathlib import Path

import pytest

from avs_cli.io.facts import keep, recall
from avs_cli.types import Facts, FittedPixels, Pixels, ProcessorSampling, Sampling


@pytest.mark.parametrize(
    ("pixels", "sampling"),
    [
        (Pixels(224, 256, crops=10), Sampling(clip=16, interval=2)),
        (FittedPixels(864, None, multiple=32, least=9, most=99), ProcessorSampling(fps=1.0, count=8, clip=8)),
        (None, Sampling()),
    ],
)
def test_facts_are_recalled_with_their_classes(
    pixels: Pixels | None, sampling: Sampling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    weights = tmp_path / "weights"
    weights.write_bytes(b"1")
    facts = Facts(3, pixels, sampling, "mean", {"model": "a"})
    keep({"spec": "a"}, facts, [weights])
    found = recall({"spec": "a"})
    assert found == facts
    assert found is not None
    assert (type(found.pixels), type(found.sampling)) == (type(pixels), type(sampling))
    assert recall({"spec": "b"}) is None
    weights.write_bytes(b"22")
    assert recall({"spec": "a"}) is None
