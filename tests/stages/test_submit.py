"""Submissions from Python: the files are those that `avs submit` writes."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.text.trec import read_run
from avs_cli.stages.submit import check, submit

Here = Callable[..., Any]
RUN = "1731 Q0 shot00001_1 1 2 t\n1731 Q0 shot00001_2 2 1 t\n1732 Q0 shot00002_1 1 5 t\n"
NAME = "F_M_C_D_TEAM.23_1.xml"
LINE = ("submit", "my.run", "--topics", "topics", "--pid", "TEAM", "--training", "D", "--year", 2023, "--elapsed", 3)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.run").write_text(RUN)
    (tmp_path / "topics").write_text("731 a dog\n732 a cat\n")
    return tmp_path


def test_a_run_or_its_path_becomes_the_file_of_the_command(avs_here: Here) -> None:
    given: dict[str, Any] = {"topics": "topics", "pid": "TEAM", "training": "D", "year": 2023, "elapsed": [3]}
    assert submit("my.run", "python/", **given) == f"python/{NAME}"
    assert submit(read_run("my.run"), Path("value.xml"), **given) == "value.xml"
    assert avs_here(*LINE, "-o", "command/").returncode == 0
    for path in (f"python/{NAME}", "value.xml"):
        assert Path(path).read_bytes() == Path("command", NAME).read_bytes()
    check([f"python/{NAME}"], topics="731-732", year=2023)


def test_a_trec_run_is_the_commands(avs_here: Here) -> None:
    Path("out").write_text("shot00001_1\n")
    written = submit("my.run", "python.run", topics="topics", format="trec", exclude="out", dropped="dropped.tsv")
    line = ("submit", "my.run", "--topics", "topics", "--format", "trec", "--exclude", "out", "-o", "command.run")
    assert avs_here(*line).returncode == 0
    assert Path(written).read_bytes() == Path("command.run").read_bytes()
    assert "shot00001_1\texcluded" in Path("dropped.tsv").read_text()


def test_each_reason_to_reject_a_run_is_a_note_and_nothing_is_written(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "avs_cli"),
        pytest.raises(MismatchError, match="the run: 3 reasons for NIST to reject it; nothing was written"),
    ):
        submit({"731": {"shot00001_1": 1.0}}, topics="topics", training="D", pid="TEAM", year=2023, priority=11)
    assert len(caplog.messages) == 3 and all(message.startswith("the run: ") for message in caplog.messages)
    assert not list(folder.glob("*.xml"))
    with pytest.raises(SpecError, match="against the topics of its task"):
        submit("my.run", topics="")
    with pytest.raises(MismatchError, match=r"my\.run: 1 reason for NIST to reject it"):
        check("my.run", topics="731-733")
