"""Where an option's value comes from: command line, environment, avs.toml, default, in this order."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import typer

from avs_cli import cli, config
from avs_cli.errors import FormatError
from avs_cli.outputs import BY_HAND, WRITES

COMMANDS = {
    "probe": config.Parameters(
        {"count": "count", "min-seconds": "min_seconds"}, {"inputs": "inputs"}, frozenset({"inputs"})
    ),
    "other": config.Parameters({"count": "number"}, {}),
}
Result = tuple[int, dict[str, Any]]
Avs = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """A command that tells what it was given; called with a command line, the text of avs.toml and variables."""

    def call(line: str, toml: str = "", **variables: str) -> Result:
        got: dict[str, Any] = {}

        def probe(
            inputs: Annotated[list[str], typer.Argument(metavar="INPUT")],
            count: int = 1,
            min_seconds: float = 0.5,
            fast: Annotated[bool, typer.Option("--fast")] = False,
            output: Annotated[str, typer.Option("--output", "-o"), WRITES] = "",
            model: str = "",
            trust: Annotated[bool, typer.Option("--trust"), BY_HAND] = False,
        ) -> None:
            got.update(inputs=inputs, count=count, min_seconds=min_seconds, fast=fast)
            got.update({"output": output} if output else {}, **({"trust": trust} if trust else {}))

        monkeypatch.setitem(sys.modules, "avs_cli.commands.probe", SimpleNamespace(probe=probe))  # type: ignore[arg-type]
        monkeypatch.setattr(cli, "COMMANDS", ("probe",))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "avs.toml").write_text(toml)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return cli.exit_code(["probe", *line.split()]), got

    return call


def test_flag_wins_over_environment_over_file_over_default(probe: Callable[..., Result]) -> None:
    toml = "count = 2"
    assert probe("a")[1]["count"] == 1
    assert probe("a", toml)[1]["count"] == 2
    assert probe("a", toml, AVS_COUNT="3")[1]["count"] == 3
    assert probe("a --count 4", toml, AVS_COUNT="3")[1]["count"] == 4


def test_a_commands_own_variable_and_table_win_over_the_shared_ones(probe: Callable[..., Result]) -> None:
    assert probe("a", "count = 2\n[probe]\ncount = 5")[1]["count"] == 5
    assert probe("a", AVS_COUNT="3", AVS_PROBE_COUNT="6")[1]["count"] == 6


def test_names_are_written_as_on_the_command_line(probe: Callable[..., Result]) -> None:
    assert probe("a", "min-seconds = 2")[1]["min_seconds"] == 2.0
    assert probe("a", AVS_MIN_SECONDS="0.25")[1]["min_seconds"] == 0.25
    assert probe("a", "fast = true")[1]["fast"] is True


@pytest.mark.parametrize(("written", "got"), [('["x", "y"]', ["x", "y"]), ('"videos"', ["videos"])])
def test_the_file_gives_arguments_too(probe: Callable[..., Result], written: str, got: list[str]) -> None:
    assert probe("", f"[probe]\ninputs = {written}") == (
        0,
        {"inputs": got, "count": 1, "min_seconds": 0.5, "fast": False},
    )


def test_arguments_on_the_command_line_replace_those_of_the_file(probe: Callable[..., Result]) -> None:
    assert probe("z", '[probe]\ninputs = ["x", "y"]')[1]["inputs"] == ["z"]


def test_a_wrong_value_says_that_the_file_or_the_environment_gave_it(
    probe: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe("a", 'count = "many"')[0] == 2
    assert "'--count'" in (told := capsys.readouterr().err) and "set in avs.toml" in told
    assert probe("a", AVS_COUNT="many")[0] == 2
    assert "set in the environment" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("cuont = 2", "avs.toml: no command has an option 'cuont'"),
        ("inputs = ['a']", "avs.toml: no command has an option 'inputs'"),
        ("[probe]\ncuont = 2", "avs.toml: [probe] has no option or argument 'cuont'"),
        ("[prob]\ncount = 2", "avs.toml: [prob] is not a command of avs"),
        ("min_seconds = 2", "avs.toml: no command has an option 'min_seconds'"),
    ],
)
def test_a_key_that_means_nothing_is_an_error(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "avs.toml").write_text(toml)
    with pytest.raises(FormatError) as caught:
        config.defaults(COMMANDS, tmp_path)
    assert str(caught.value) == message


def test_a_shared_key_reaches_every_command_that_has_the_option_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "avs.toml").write_text("count = 2\n[probe]\nmin-seconds = 1")
    assert config.defaults(COMMANDS, tmp_path) == {
        "probe": {"min_seconds": "1", "count": "2"},
        "other": {"number": "2"},
    }


@pytest.mark.parametrize("data", [b"count = '\xff'", b"count =", b"count = 2\ncount = 3"])
def test_a_file_that_is_not_toml_is_told_apart(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "avs.toml").write_bytes(data)
    with pytest.raises(FormatError, match=r"^avs\.toml: not TOML"):
        config.defaults(COMMANDS, tmp_path)


def test_no_file_gives_nothing(tmp_path: Path) -> None:
    assert config.defaults(COMMANDS, tmp_path) == {}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("count = inf", "count = inf is out of range"),
        ("count = 2.5", "'--count'"),
        ("count = 1979-05-27", "count should be a text, a number, true or false"),
        ("count = [1]", "count should be a text, a number, true or false"),
        ("count.x = 1", "not a command of avs"),
        ("[probe]\ncount.x = 1", "count should be a text, a number, true or false"),
        ("[probe]\ninputs = [[1]]", "inputs should be a list of texts or numbers"),
        ("[probe]\ninputs = 1979-05-27", "inputs should be a list of texts or numbers"),
        ('output = "a\\u0000"', "output holds a NUL character"),
        ("fast = 3", "'--fast'"),
        ("count = " + "9" * 10_000, "not TOML"),
        ("count = " + "[" * 100_000, "not TOML"),
    ],
)
def test_a_value_of_another_kind_is_told_in_one_line(
    probe: Callable[..., Result], capsys: pytest.CaptureFixture[str], toml: str, message: str
) -> None:
    code, got = probe("a" if "inputs" not in toml else "", toml)
    told = capsys.readouterr().err
    assert (code in (2, 3), got, told.count("\n")) == (True, {}, 1)
    assert message in told and "avs.toml" in told


def test_a_number_is_a_name_where_a_list_of_names_is_wanted(probe: Callable[..., Result]) -> None:
    assert probe("", "[probe]\ninputs = [731, 1.5]")[1]["inputs"] == ["731", "1.5"]
    assert probe("", "[probe]\ninputs = 731")[1]["inputs"] == ["731"]


# What a folder that somebody else made may decide


@pytest.mark.parametrize("toml", ["trust = true", "[probe]\ntrust = true", "trust = false"])
def test_trust_is_not_taken_from_the_file(
    probe: Callable[..., Result], capsys: pytest.CaptureFixture[str], toml: str
) -> None:
    assert probe("a", toml) == (3, {})
    assert capsys.readouterr().err == "avs: avs.toml: trust is accepted on the command line only\n"
    assert probe("a --trust")[1]["trust"] is True


@pytest.mark.parametrize("variable", ["AVS_TRUST", "AVS_PROBE_TRUST"])
def test_trust_is_not_taken_from_the_environment(
    probe: Callable[..., Result], capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    assert probe("a", **{variable: "1"}) == (2, {})
    told = f"avs: {variable}: --trust is accepted on the command line only; unset the variable\n"
    assert capsys.readouterr().err == told
    assert probe("a --trust", **{variable: "1"}) == (2, {})


@pytest.mark.parametrize("toml", ["trust-pickle = true", "[convert]\ntrust-pickle = true"])
def test_a_pickle_is_not_read_because_a_folder_or_a_variable_says_so(avs: Avs, tmp_path: Path, toml: str) -> None:
    class Marks:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "mark"), "w"))

    (tmp_path / "x.pth").write_bytes(pickle.dumps(Marks()))
    line = ["convert", "x.pth", "y.safetensors"]
    assert avs(*line, env={"AVS_TRUST_PICKLE": "1"}).returncode == 2
    (tmp_path / "avs.toml").write_text(toml)
    ran = avs(*line)
    assert (ran.returncode, ran.stderr.count("\n")) == (3, 1)
    assert "trust-pickle is accepted on the command line only" in ran.stderr
    assert not (tmp_path / "mark").exists()
    # Trusted by hand it is executed: what the test would see, it does see.
    (tmp_path / "avs.toml").unlink()
    avs(*line, "--trust-pickle")
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("output", ["../x", "/tmp/x", "a/../../x", "link/x", "link", "a::/../../x", "link::x"])
@pytest.mark.parametrize("table", ["", "[probe]\n"])
def test_the_file_names_no_output_outside_its_folder(
    probe: Callable[..., Result], capsys: pytest.CaptureFixture[str], tmp_path: Path, output: str, table: str
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path.parent)
    assert probe("a", f'{table}output = "{output}"') == (3, {})
    told = capsys.readouterr().err
    assert told.startswith(f"avs: avs.toml: output = '{output}' is outside the working folder")


def test_an_output_outside_is_the_command_lines_to_give(probe: Callable[..., Result]) -> None:
    assert probe("a -o ../x")[1]["output"] == "../x"
    assert probe("a", AVS_OUTPUT="../x")[1]["output"] == "../x"


def test_what_is_written_beside_an_output_leads_out_no_more_than_the_output(avs: Avs, tmp_path: Path) -> None:
    (tmp_path / "head.csv").symlink_to(tmp_path.parent / "victim")
    (tmp_path / "avs.toml").write_text('[train]\noutput = "head"\n')
    ran = avs("train", "captions", "--video", "v.h5")
    assert (ran.returncode, "output = 'head' is outside" in ran.stderr) == (3, True)


def test_the_file_says_itself_when_it_decides_an_output_or_a_model(
    probe: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe("a", 'count = 2\noutput = "out/x"\n[probe]\nmodel = "clip"')[1]["output"] == "out/x"
    assert capsys.readouterr().err == "avs: avs.toml gives --output out/x, --model clip\n"
    assert probe("a -o y --model z", 'count = 2\noutput = "x"\nmodel = "clip"')[1]["output"] == "y"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("[1]", 3),
        ("{}", 3),
        ("{a = 1}", 3),
        ("1979-05-27", 3),
        ("07:32:00", 3),
        ("nan", 3),
        ("-inf", 3),
        ("99999999999999999999999", 3),
        ("9" * 5000, 3),
        ("[" * 5000, 3),
        ('"\\u0000"', 3),
        ("1.5", 2),
        ("true", 2),
        ('""', 2),
    ],
)
@pytest.mark.parametrize("table", ["", "[probe]\n"])
def test_a_value_that_no_command_line_could_give_is_one_line(
    probe: Callable[..., Result], capsys: pytest.CaptureFixture[str], table: str, value: str, code: int
) -> None:
    assert probe("a", f"{table}count = {value}") == (code, {})
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("value", ["[[1]]", "[{}]", '["a", [1979-05-27]]'])
def test_a_list_holds_texts_and_numbers_alone(probe: Callable[..., Result], value: str) -> None:
    assert probe("", f"[probe]\ninputs = {value}")[0] == 3


@pytest.mark.parametrize("value", ["7", "2.5", '"perhaps"'])
def test_a_switch_is_true_or_false(probe: Callable[..., Result], value: str) -> None:
    assert probe("a", f"fast = {value}")[0] == 2
