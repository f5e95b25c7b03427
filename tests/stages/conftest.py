"""Tiny collections, and a reporter that keeps what stages report."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from stores import store

from avs_cli.reporting import Advance, Reporter

THINGS = ("dog", "cat", "car", "boat")


class Kept(Reporter):
    """Notes in their order, and per label of a progress its total and how far it came."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.totals: dict[str, float | None] = {}
        self.advanced: dict[str, float] = {}

    def note(self, message: str) -> None:
        self.notes.append(message)

    def note_each(self, messages: Iterable[str]) -> None:
        self.notes.extend(messages)

    @contextmanager
    def progress(self, label: str, total: float | None) -> Iterator[Advance]:
        self.totals[label] = total

        def advance(steps: float = 1, what: str = "") -> None:
            self.advanced[label] = self.advanced.get(label, 0) + steps

        yield advance


@pytest.fixture
def hearing() -> Callable[[], Kept]:
    """Makes reporters that keep what they are given."""
    return Kept


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder of two collections, a of 20 videos and v of 8, each of which shows one thing and has two captions.

    Of each there are the stores a-clip.h5, a-frames.h5 (two frames per video) and a-text.h5, and a.txt.
    """
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for name, videos in (("a", 20), ("v", 8)):
        seen, framed, read, lines = {}, {}, {}, []
        for number in range(videos):
            video, thing = f"{name}{number}", int(draw.integers(len(THINGS)))
            truth = np.eye(len(THINGS))[thing]
            seen[video] = truth + draw.normal(0, 0.2, len(THINGS))
            framed[video] = truth + draw.normal(0, 0.2, (2, len(THINGS)))
            for k in range(2):
                read[f"{video}#enc#{k}"] = truth + draw.normal(0, 0.2, len(THINGS))
                lines.append(f"{video}#enc#{k} a {THINGS[thing]}\n")
        store(tmp_path / f"{name}-clip.h5", "clip", seen)
        store(tmp_path / f"{name}-frames.h5", "frames", framed, frames=True)
        store(tmp_path / f"{name}-text.h5", "sent", read)
        (tmp_path / f"{name}.txt").write_text("".join(lines))
    return tmp_path
