"""No command writes over what it reads, nor two outputs into one file; that is so for every command there is."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avs_cli import cli, outputs

Run = Callable[..., Any]
ROOT = cli.build(cli.COMMANDS)
# Metavars whose values are no files.
WORDS = {"A", "ALGORITHM", "C", "D", "E", "F", "I", "K", "KEY", "M", "METHOD", "N", "NAME", "OURS", "P", "R", "SPEC"}
WORDS |= {"TEAM", "TEXT", "THEIRS", "V", "VALUE", "by-year", "MINUTES", "OUT", "ADDRESS", "URL", "WHICH"}
WORDS |= {"FEATURE", "GB", "MODEL", "PICTURE", "RANGE", "SECONDS", "SHOT", "WIDTH"}


def pairs() -> Iterator[Any]:
    """(command, output, input) for every output and input of every command."""
    for name, command in ROOT.commands.items():
        written = cli.parameters(command).outputs
        read = [one for one in command.params if outputs.reads(one.metavar) and one.name not in written]
        for output in (one for one in command.params if one.name in written):
            yield from (pytest.param(name, output, one, id=f"{name}-{output.name}-{one.name}") for one in read)


def line(name: str, values: dict[str, str]) -> list[str]:
    """A command line that gives these parameters, and something to the others that the command needs."""
    command = ROOT.commands[name]
    words: list[str] = []
    for parameter in command.params:
        value = values.get(parameter.name, "needed" if parameter.required else None)
        if value is not None:
            option = parameter.param_type_name == "option"
            words += [f"--{cli.long_name(parameter)}={value}"] if option else [value]
    return [name, *words]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "kept").write_bytes(b"an input")
    return tmp_path / "kept"


@pytest.mark.parametrize(("name", "output", "read"), list(pairs()))
def test_an_output_that_is_an_input_is_refused_before_anything_is_written(
    avs_here: Run, kept: Path, name: str, output: Any, read: Any
) -> None:
    ran = avs_here(*line(name, {output.name: "kept", read.name: "kept"}))
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "would overwrite kept" in ran.stderr
    assert (kept.read_bytes(), os.listdir(kept.parent)) == (b"an input", ["kept"])


@pytest.mark.parametrize("make", [os.link, os.symlink])
@pytest.mark.parametrize("written", ["kept", "other"])
def test_a_link_is_the_file_that_it_leads_to(
    avs_here: Run, kept: Path, make: Callable[[Path, Path], None], written: str
) -> None:
    make(kept, kept.with_name("other"))
    read = {"kept": "other", "other": "kept"}[written]
    ran = avs_here("eval", read, "a.run", "--plot", f"./{written}")
    assert ran.returncode == 2
    assert f"--plot would overwrite ./{written}, which is read as [QRELS] RUN" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "kept::clip", "-q", "a dog", "-o", "kept"], "which is read as GALLERY"),
        (["train", "c", "--video", "v.h5", "-o", "k", "--text", "k.csv"], "--output would overwrite k.csv"),
        (["train", "k.csv", "--video", "v.h5", "-o", "k"], "--output would overwrite k.csv"),
        (["distill", "c", "--captions", "c", "--teacher", "xclip=kept", "-o", "kept"], "which is read as --teacher"),
        (["fuse", "ke*", "-o", "kept"], "which is read as RUN"),
        (["rerank", "kept", "b.run", "--method", "neighbours", "-o", "."], "would overwrite kept"),
    ],
)
def test_an_input_is_known_within_its_spec_its_pattern_and_its_folder(
    avs_here: Run, kept: Path, arguments: list[str], message: str
) -> None:
    kept.with_name("k.csv").write_text("caption,video\n")
    ran = avs_here(*arguments)
    assert (ran.returncode, kept.read_bytes()) == (2, b"an input")
    assert message in ran.stderr


@pytest.mark.parametrize("command", [["shots"], ["extract"], ["distill", "--captions=c", "--teacher=xclip=x"]])
def test_a_video_in_an_input_folder_is_an_input(avs_here: Run, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"a video")
    ran = avs_here(*command, "videos", "-o", "videos/a.mp4")
    assert (ran.returncode, (tmp_path / "videos" / "a.mp4").read_bytes()) == (2, b"a video")
    assert "would overwrite videos/a.mp4" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["fuse", "a", "b", "--ltr", "--qrels", "q", "--save", "x", "-o", "./x"],
        ["fuse", "a", "b", "--ltr", "--qrels", "q", "--report", "x", "--save", "x"],
        ["search", "g.h5", "--head", "h", "--topics", "t", "--explain", "x", "-o", "x"],
        ["distill", "c", "--captions", "c", "--teacher", "xclip=w", "--cache", "x", "-o", "x"],
    ],
)
def test_two_outputs_of_one_name_are_refused(avs_here: Run, tmp_path: Path, arguments: list[str]) -> None:
    ran = avs_here(*arguments)
    assert (ran.returncode, os.listdir(tmp_path)) == (2, [])
    assert "is written by both" in ran.stderr


def test_pipes_and_devices_may_be_input_and_output_at_once(avs_here: Run, kept: Path) -> None:
    kept.write_text("1 Q0 a 1 0.5 r\n")
    kept.with_name("b").write_text("1 Q0 a 1 0.5 r\n")
    assert avs_here("fuse", "kept", "b", "-o", "/dev/null").returncode == 0
    ran = avs_here("fuse", "kept", "/dev/null", "-o", "/dev/null")
    assert "would overwrite" not in ran.stderr


def test_an_output_may_be_called_what_another_option_says(avs_here: Run, kept: Path) -> None:
    """The run's tag is no file, though a file of an earlier run has that name."""
    for name in ("a.run", "b.run"):
        kept.with_name(name).write_text("1 Q0 a 1 0.5 r\n")
    assert avs_here("fuse", "a.run", "b.run", "--tag", "kept", "-o", "kept").returncode == 0


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_metavar_says_whether_its_values_are_files(name: str) -> None:
    """A new kind of value is told apart here: in `outputs.READ` when it names what is read, else in WORDS."""
    for parameter in ROOT.commands[name].params:
        unknown = outputs.words(parameter.metavar) - outputs.READ - WORDS
        assert not unknown, f"{parameter.name}: {unknown}"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_output_is_marked(name: str) -> None:
    command = ROOT.commands[name]
    called = {
        "cache",
        "confidence",
        "dropped",
        "explain",
        "marks",
        "output",
        "plot",
        "report",
        "save",
        "target",
        "tensorboard",
        "times",
        "verdicts",
    }
    assert {one.name for one in command.params} & called == set(cli.parameters(command).outputs)
