"""Sequences from Python: runs in, runs out, equal to looking at every sequence."""

from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from pytest import approx
from stores import store

from avs_cli.errors import MismatchError, SpecError
from avs_cli.reporting import Reporter
from avs_cli.stages.sequences import in_sequences, sequence
from avs_cli.stages.topic_texts import TopicStep
from avs_cli.types import Run, Shot


class Notes(Reporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str) -> None:
        self.messages.append(message)


class Described:
    """What an open gallery knows of its shots."""

    def __init__(self, shots: Sequence[Shot]) -> None:
        self.shots = {shot.id: shot for shot in shots}

    def some_shots(self, ids: Sequence[str]) -> dict[str, Shot]:
        return {id: self.shots[id] for id in ids}


SHOTS = [Shot("a1", "a.mp4", 0, 5), Shot("a2", "a.mp4", 5, 9), Shot("a3", "a.mp4", 20, 30), Shot("b1", "b.mp4", 6, 7)]


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    return store(tmp_path / "g.h5", "tiny", {shot.id: [1, 0] for shot in SHOTS}, shots=SHOTS)


def test_the_first_shots_are_ranked_with_the_best_that_follows_within_the_time(gallery: Path) -> None:
    dogs: Run = {"1": {"a1": 0.5, "a2": 0.25, "b1": 0.75}, "2": {"a2": 1.0}}
    cats: Run = {"1": {"a2": 0.125, "a3": 0.5, "b1": 1.0}, "2": {"a1": 1.0}}
    notes = Notes()
    assert sequence(dogs, cats, gallery, 11, notes) == {"1": {"a2": 0.75, "a1": 0.625}, "2": {}}
    assert notes.messages == ["no shot is followed by what is to follow within 11 s, for topic 2"]
    assert sequence(dogs, cats, gallery, 15, Notes())["1"] == {"a1": 1.0, "a2": 0.75}
    assert sequence(dogs, cats, [gallery], 0, Notes())["1"] == {"a1": 0.625}


@pytest.mark.parametrize("seed", range(30))
def test_a_sequence_of_three_is_the_best_of_all(seed: int) -> None:
    draw = np.random.default_rng(seed)
    shots = [
        Shot(f"s{k}", f"v{draw.integers(2)}", float(start), float(start + draw.integers(1, 4)))
        for k, start in enumerate(draw.integers(0, 20, 12))
    ]
    run = {topic: {one.id: float(draw.random()) for one in shots if draw.random() < 0.8} for topic in "123"}
    within = float(draw.integers(0, 6))
    best: dict[str, float] = {}
    for three in product(shots, repeat=3):
        if all(b.video == a.video and a.start < b.start <= a.end + within for a, b in pairwise(three)) and all(
            shot.id in scores for shot, scores in zip(three, run.values(), strict=True)
        ):
            score = sum(scores[shot.id] for shot, scores in zip(three, run.values(), strict=True))
            best[three[0].id] = max(score, best.get(three[0].id, -1.0))
    asked = {"1": [TopicStep(None, {}, within)] * 3}
    assert in_sequences(run, asked, Described(shots), 12, Notes())["1"] == approx(best)


def test_what_a_sequence_lacks_is_named(gallery: Path, tmp_path: Path) -> None:
    notes, bare = Notes(), store(tmp_path / "bare.h5", "tiny", {"a1": [1, 0], "z": [1, 0]})
    assert sequence({"1": {"a1": 1.0}}, {"1": {"a2": 1.0, "z": 2.0}}, gallery, 1, notes) == {"1": {"a1": 2.0}}
    assert notes.messages == ["1 of 3 shots have no time in the gallery and are left out: z"]
    with pytest.raises(MismatchError, match="no times of these shots in the gallery, which a sequence needs: a1, z"):
        sequence({"1": {"a1": 1.0}}, {"1": {"z": 1.0}}, bare)
    with pytest.raises(MismatchError, match="nothing is to follow for 1 of 1 topics: 1"):
        sequence({"1": {"a1": 1.0}}, {"2": {"a1": 1.0}}, gallery)
    with pytest.raises(SpecError, match="expected 0 or more"):
        sequence({"1": {"a1": 1.0}}, {"1": {"a1": 1.0}}, gallery, -1)
