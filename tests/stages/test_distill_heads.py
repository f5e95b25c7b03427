"""Distillation on stored features as a Python function."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avs_cli.commands import distill as command
from avs_cli.errors import SpecError
from avs_cli.io.head_file import load_head
from avs_cli.stages import distill_heads, train

Avs = Callable[..., Any]
Hearing = Callable[[], Any]
DEVICE: dict[str, Any] = {"device": "cpu", "threads": 1}
TINY: dict[str, Any] = {"student": "afa:dim=8,frames=2", "batch_size": 8, "epochs": 2, **DEVICE}
CAPTIONS, VIDEOS, TEXTS = ["a.txt"], ["a-frames.h5", "v-frames.h5"], ["a-text.h5", "v-text.h5"]
LINE = [
    "distill", "--captions", "a.txt", "--student", "afa:dim=8,frames=2", "--batch-size", 8, "--epochs", 2,
    "--device", "cpu", "--threads", 1, "--video", VIDEOS[0], "--video", VIDEOS[1], "--text", TEXTS[0], "--text",
    TEXTS[1],
]  # fmt: skip


@pytest.fixture
def teacher(data: Path) -> str:
    """A trained head over the features that every video has once."""
    train.train(CAPTIONS, ["a-clip.h5"], ["a-text.h5"], output="t.safetensors", head="w2vvpp:dim=8", epochs=1, **DEVICE)
    return "t.safetensors"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], {}),
        (["--optimizer", "bertadam", "--learning-rate", "1"], {"optimizer": "bertadam", "learning_rate": 1}),
        (["--loss-weights", "1,2,3", "--coarse", "ce"], {"loss_weights": (1, 2, 3), "coarse": "ce"}),
    ],
)
def test_the_function_writes_the_bytes_of_the_command(
    avs_here: Avs, data: Path, teacher: str, options: list[str], settings: dict[str, Any]
) -> None:
    taught = ["--teacher", teacher, "--teacher-video", "a-clip.h5", "--teacher-video", "v-clip.h5"]
    ran = avs_here(*LINE, *taught, "--validate", "v.txt", *options, "-o", "command.safetensors")
    assert ran.returncode == 0, ran.stderr
    distill_heads.distill(
        CAPTIONS, VIDEOS, TEXTS, output="function.safetensors", teachers=[teacher], validate=["v.txt"],
        teacher_videos=["a-clip.h5", "v-clip.h5"], **TINY, **settings,
    )  # fmt: skip
    assert Path("function.safetensors").read_bytes() == Path("command.safetensors").read_bytes()


def test_without_teachers_too(avs_here: Avs, data: Path) -> None:
    assert avs_here(*LINE, "-o", "command.safetensors").returncode == 0
    trained = distill_heads.distill(Path("a.txt"), VIDEOS, TEXTS, output=Path("function.safetensors"), **TINY)
    assert Path("function.safetensors").read_bytes() == Path("command.safetensors").read_bytes()
    assert (trained.best, trained.best_epoch, len(trained.rows)) == (None, 2, 2)
    assert not Path("function.safetensors.kept").exists()


def test_the_defaults_are_those_of_the_command() -> None:
    ours, theirs = (inspect.signature(function).parameters for function in (distill_heads.distill, command.distill))
    renamed = {"videos": "video", "texts": "text", "teachers": "teacher"}
    renamed |= {"teacher_videos": "teacher_video", "teacher_texts": "teacher_text"}
    compared = 0
    for name, parameter in ours.items():
        default = theirs[renamed.get(name, name)].default if name not in ("report", "engine") else None
        if default not in (None, "") and parameter.default is not inspect.Parameter.empty:
            assert parameter.default == default, name
            compared += 1
    assert compared > 10


def test_what_it_returns_is_what_it_has_written(data: Path, teacher: str, hearing: Hearing) -> None:
    heard = hearing()
    trained = distill_heads.distill(
        CAPTIONS, VIDEOS, TEXTS, output="s.safetensors", teachers=[teacher], validate=["v.txt"], metric="R@5",
        teacher_videos=["a-clip.h5", "v-clip.h5"], cache="vectors", report=heard, **TINY,
    )  # fmt: skip
    assert (trained.path, trained.metric) == ("s.safetensors", "R@5")
    assert [*trained.rows[0]][:6] == ["epoch", "loss", "R@1", "R@5", "R@10", "SumR"]
    assert trained.best == max(row["R@5"] for row in trained.rows) or trained.best_epoch == 0
    assert [video["name"] for video in load_head("s.safetensors").head["videos"]] == ["frames"]
    # The vectors of the teacher: forty captions, twenty videos.
    assert len([*Path("vectors").iterdir()]) == 2
    assert sorted(count for label, count in heard.advanced.items() if label != "training") == [20, 40]
    assert heard.advanced == heard.totals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"student": "xclip"}, "a student is a head with one vector per shot"),
        ({"word_vectors": "w.txt"}, "word_vectors have no effect without a text encoder"),
        ({"loss_weights": (1.0, 1.0, 1.0)}, "loss_weights have no effect without teachers"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(data: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        distill_heads.distill(CAPTIONS, VIDEOS, TEXTS, output="s.safetensors", **{**TINY, **settings})
    assert not Path("s.safetensors").exists()
