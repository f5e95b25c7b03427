"""Distillation from clips as a Python function."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from avs_cli.commands import distill as command
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.head_file import load_head
from avs_cli.stages import distill_clips

Avs = Callable[..., Any]
Hearing = Callable[[], Any]
CONFIG: dict[str, Any] = {
    "embed_dim": 64, "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 64, "patch_size": 16},
    "text_cfg": {"width": 64, "heads": 1, "layers": 1, "context_length": 16, "vocab_size": 49408},
}  # fmt: skip
COLOURS = ("red", "green", "blue")
TINY: dict[str, Any] = {
    "weights": "clip", "frames": 2, "words": 8, "epochs": 1, "batch_size": 4, "workers": 1, "device": "cpu",
    "threads": 1,
}  # fmt: skip
LINE = [part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three films of two seconds with two captions each, and a tiny CLIP model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    Path("clip").mkdir()
    save_file(open_clip.CLIP(**CONFIG).state_dict(), "clip/open_clip_model.safetensors")
    Path("clip/open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    draw, captions = np.random.default_rng(0), []
    for number, colour in enumerate(COLOURS):
        with av.open(f"{colour}.mp4", "w") as container:
            stream = container.add_stream("mpeg4", rate=2)
            stream.width = stream.height = 32
            for _ in range(4):
                picture = draw.integers(0, 80, (32, 32, 3), np.uint8) + np.uint8(150) * (np.arange(3) == number)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")))
            container.mux(stream.encode())
        captions += [f"{colour}#enc#{k} {text} {colour}\n" for k, text in enumerate(("it is", "all is"))]
    Path("c.txt").write_text("".join(captions))
    return [f"{colour}.mp4" for colour in COLOURS]


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
    for name, parameter in ours.items():
        default = theirs[{"teachers": "teacher"}.get(name, name)].default if name != "report" else None
        if default not in (None, "", []) and parameter.default is not inspect.Parameter.empty:
            assert parameter.default == default, name


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
