"""Conversion from Python: each kind of source becomes what `avs convert` makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avs_cli.errors import FormatError, SpecError
from avs_cli.stages.convert import convert, kind_of

Here = Callable[..., Any]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.txt").write_text("661 shot1 0.5 shot2 0.25\n")
    (tmp_path / "captions.csv").write_text("video_id,caption\nv1,a dog\n")
    np.save(tmp_path / "x.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "x.ids.txt").write_text("a\nb\nc\n")
    torch.save({"w": torch.ones(2)}, tmp_path / "net.pth")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "source", "target", "options"),
    [
        ("text", "scores.txt", "scores.run", {"tag": "mine", "topics": "661", "depth": 1}),
        ("text", "captions.csv", "captions.txt", {}),
        ("vectors", "x.npy", "x.h5", {}),
        ("store", "x.h5", "x.out.npy", {}),
        ("store", "x.h5", "bigfile/", {}),
        ("checkpoint", "net.pth", "net.safetensors", {"trust_pickle": True}),
    ],
)
def test_each_kind_of_source_becomes_what_the_command_makes_of_it(
    avs_here: Here, kind: str, source: str, target: str, options: dict[str, Any]
) -> None:
    convert("x.npy", "x.h5") if source == "x.h5" else None
    assert kind_of(source) == kind
    Path("python").mkdir()
    Path("command").mkdir()
    convert(source, f"python/{target}", **options)
    words = [[f"--{name.replace('_', '-')}", *([] if value is True else [value])] for name, value in options.items()]
    assert avs_here("convert", source, f"command/{target}", *(each for word in words for each in word)).returncode == 0
    ours, theirs = (
        {path.relative_to(root): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}
        for root in ("python", "command")
    )
    assert ours == theirs != {}


def test_what_cannot_be_converted_is_refused(folder: Path) -> None:
    with pytest.raises(SpecError, match="a pickle, which may execute code"):
        convert("net.pth", "net.safetensors")
    with pytest.raises(SpecError, match="written as text"):
        convert(Path("scores.txt"), "scores.h5")
    (folder / "prose").write_text("all of it is prose\n")
    with pytest.raises(FormatError, match="not TRECVID XML"):
        convert("prose", "prose.run")
