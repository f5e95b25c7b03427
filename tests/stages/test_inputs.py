"""What stages take: runs under their names, topics of them, and the media that an output could overwrite."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from avs_cli.errors import MismatchError
from avs_cli.stages.inputs import given_runs, media_around, selected
from avs_cli.types import Run

RUN: Run = {"1661": {"a": 1.0}}


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        ("folder/clip.run", ["clip"]),
        (Path("clip.run.gz"), ["clip"]),
        (["a/clip.run", Path("b/clip.run"), "laff.trec"], ["a/clip.run", "b/clip.run", "laff"]),
        (RUN, ["run 1"]),
        ({"1661": {}, "1662": {"a": 1}}, ["run 1"]),
        ([RUN, "clip.run", RUN], ["run 1", "clip", "run 3"]),
        ({"first": "clip.run", "second": RUN}, ["first", "second"]),
        ([], []),
    ],
)
def test_runs_have_the_names_that_are_given_or_those_of_their_files(runs: Any, names: list[str]) -> None:
    assert [run.name for run in given_runs(runs)] == names


def test_topics_of_runs_are_selected_and_none_at_all_is_an_error() -> None:
    runs = [RUN, {"1662": {"b": 2.0}}]
    assert selected(runs) == runs
    assert selected(runs, "661") == [RUN, {}]
    with pytest.raises(MismatchError, match="of which no run has any"):
        selected(runs, "700-702")


def test_media_around_an_output_are_those_of_the_input_folders_that_hold_it(tmp_path: Path) -> None:
    for name in ("in/a.png", "out/b.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    inputs = [str(tmp_path / "in"), str(tmp_path / "out" / "b.png")]
    assert media_around(str(tmp_path / "in" / "a.png"), inputs) == [str(tmp_path / "in" / "a.png")]
    assert media_around(str(tmp_path / "in" / "new.h5"), inputs) == []
    assert media_around(str(tmp_path / "out" / "b.png"), inputs) == []
    assert media_around("-", inputs) == []
