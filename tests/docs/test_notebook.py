"""The README's notebook session runs as it stands there, on small data: a fuser, a head, a search."""

import contextlib
import io
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import store

from avs_cli.io.text.trec import write_run

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SESSION = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
NOUNS = ("man riding a horse", "dogs in the snow", "child on a beach", "red car", "boat at sea", "cat asleep")
SHOTS = [f"shot{number:05d}_1" for number in range(1, 41)]


def lay(folder: Path) -> None:
    """Photos of six kinds, a caption each; shots; judged runs of two years."""
    draw, pick = np.random.default_rng(0), random.Random(0)
    kinds = {feature: draw.normal(size=(len(NOUNS), 8)) for feature in ("clip", "ircsn")}

    def noisy(path: str, feature: str, ids: list[str]) -> None:
        rows = {id: kinds[feature][k % len(NOUNS)] + draw.normal(size=8) / 4 for k, id in enumerate(ids)}
        store(folder / path, feature, rows, {"model": feature}, dtype="float32")

    photos = [f"photo{number}" for number in range(72)]
    lines = [f"{photo}#enc#0 a {NOUNS[k % len(NOUNS)]}\n" for k, photo in enumerate(photos)]
    (folder / "train.txt").write_text("".join(lines[:54]))
    (folder / "val.txt").write_text("".join(lines[54:]))
    for feature in kinds:
        noisy(f"{feature}.h5", feature, photos)
        noisy(f"v3c-{feature}.h5", feature, SHOTS)
    for year, topics in (("2022", range(1701, 1707)), ("2023", range(1731, 1733))):
        (folder / year).mkdir()
        rows = []
        for topic in topics:
            rows += [
                f"{topic} 0 {shot} {1 + k % 2} {int(k % len(NOUNS) == topic % 2)}\n" for k, shot in enumerate(SHOTS)
            ]
        (folder / f"tv{year[2:]}.qrels").write_text("".join(rows))
        for name, skill in (("clip", 0.8), ("blip", 0.3)):
            run = {
                str(topic): {s: skill * (k % len(NOUNS) == topic % 2) + pick.random() for k, s in enumerate(SHOTS)}
                for topic in topics
            }
            write_run(str(folder / year / f"{name}.run"), run, name, 1000)


def test_the_notebook_session_of_the_readme_runs_as_it_stands(
    avs: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = SESSION
    assert len(session.splitlines()) < 25
    monkeypatch.chdir(tmp_path)
    lay(tmp_path)
    (tmp_path / "all.txt").write_text((tmp_path / "train.txt").read_text() + (tmp_path / "val.txt").read_text())
    ran = avs("extract", "--text", "all.txt", "--model", "minilm", "-o", "sentences.h5")
    assert ran.returncode == 0, ran.stderr
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(session, names)
    assert names["fused"].keys() == {"1731", "1732"} == names["runs"]["laff"].keys()
    assert all(len(scores) == len(SHOTS) for scores in names["runs"]["laff"].values())
    assert (tmp_path / "laff.safetensors").exists() and names["trained"].best > 0
    assert names["results"].means.keys() == {"laff", "fused"}
    first, *others = printed.getvalue().splitlines()
    assert first == f"mir {names['trained'].best}"
    assert {line.split()[0] for line in others} == {"laff", "fused"} and all("xinfAP" in line for line in others)
