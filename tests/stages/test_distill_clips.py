"""Distillation from clips as a Python function."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avs_cli.commands import distill as command
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.head_file import load_head
from avs_cli.stages import distill_clips

Avs = Callable[..., Any]
Hearing = Callable[[], Any]
TINY: dict[str, Any] = {
    "weights": "clip", "frames": 2, "words": 8, "epochs": 1, "batch_size": 4, "workers": 1, "device": "cpu",
    "threads": 1,
}  # fmt: skip
LINE = [part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", value)]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--validate", "c.txt"], {"validate": ["c.txt"]}),
        (["--student", "xclip", "--tower-rate", 0], {"student": "xclip", "tower_rate": 0}),
        (["--cache-frames", "jpeg", "--optimizer", "adamw"], {"cache_frames": "jpeg", "optimizer": "adamw"}),
    ],
)
def test_the_function_writes_the_bytes_of_the_command(
    avs_here: Avs, films: list[str], options: list[object], settings: dict[str, Any]
) -> None:
    ran = avs_here("distill", *films, "--captions", "c.txt", *LINE, *options, "-o", "command.safetensors")
    assert ran.returncode == 0, ran.stderr
    distill_clips.distill(films, ["c.txt"], output="function.safetensors", **TINY, **settings)
    assert Path("function.safetensors").read_bytes() == Path("command.safetensors").read_bytes()


def test_a_teacher_that_it_has_trained_teaches_a_student(avs_here: Avs, films: list[str]) -> None:
    distill_clips.distill(films, ["c.txt"], output="t.safetensors", student="xclip", **TINY)
    line = ["distill", *films, "--captions", "c.txt", *LINE, "--teacher", "xclip=t.safetensors"]
    assert avs_here(*line, "-o", "command.safetensors").returncode == 0
    distill_clips.distill(
        [*map(Path, films)],
        Path("c.txt"),
        output=Path("function.safetensors"),
        teachers=["xclip=t.safetensors"],
        **TINY,
    )
    assert Path("function.safetensors").read_bytes() == Path("command.safetensors").read_bytes()
    head = load_head("function.safetensors").head
    assert (head["settings"]["aggregate"], [*head["teachers"]]) == ("attention", ["t"])
    with pytest.raises(MismatchError, match="was trained with --frames 2 --words 8"):
        distill_clips.distill(
            films, ["c.txt"], output="s.safetensors", teachers=["xclip=t.safetensors"], **{**TINY, "words": 9}
        )


def test_videos_that_cannot_be_read_are_returned(films: list[str], hearing: Hearing) -> None:
    Path("bad.mp4").write_bytes(b"no video" * 100)
    with Path("c.txt").open("a") as captions:
        captions.write("bad#enc#0 nothing\n")
    heard = hearing()
    trained = distill_clips.distill([*films, "bad.mp4"], ["c.txt"], output="s.safetensors", report=heard, **TINY)
    assert (trained.unreadable, trained.path, trained.best_epoch) == (("bad",), "s.safetensors", 1)
    assert "c.txt: 1 of 7 captions skipped: no video" in heard.notes
    assert any("bad.mp4" in note for note in heard.notes)
    assert heard.advanced["decoding"] == heard.totals["decoding"] == 3
    assert Path("s.safetensors").exists()


def test_the_defaults_are_those_of_the_command() -> None:
    ours, theirs = (inspect.signature(function).parameters for function in (distill_clips.distill, command.distill))
    compared = 0
    for name, parameter in ours.items():
        default = theirs[{"teachers": "teacher"}.get(name, name)].default if name not in ("report", "engine") else None
        if default not in (None, "", []) and parameter.default is not inspect.Parameter.empty:
            assert parameter.default == default, name
            compared += 1
    assert compared > 15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"student": "xclip", "teachers": ["xclip=t.st"]}, "xclip is a teacher, which learns from the captions only"),
        ({"student": "minilm"}, "give clip, open-clip:NAME/TAG"),
        ({"teachers": ["t.st"]}, "a teacher is NAME=FILE"),
        ({"words": 17}, "at most 16"),
        ({"cache_limit": 0.0}, "more than --cache-limit allows"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(films: list[str], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        distill_clips.distill(films, ["c.txt"], output="s.safetensors", **{**TINY, **settings})
    assert not Path("s.safetensors").exists()
