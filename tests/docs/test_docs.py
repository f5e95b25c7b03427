"""Manual pages, completions and README agree with the commands."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avs_cli import cli, config, docgen
from avs_cli.core.models.heads import heads
from avs_cli.core.models.layers import Input
from avs_cli.core.models.settings import settings_of

README = (docgen.ROOT / "README.md").read_text(encoding="utf-8")
MADE = docgen.pages()
MANUAL = [path for path in MADE if path.startswith("man/")]
# Those of commands.
PAGES = [path for path in MANUAL if path.endswith(".1")]
BASH = shutil.which("bash")


def tool(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"needs {name}")


# Generated files


@pytest.mark.parametrize("path", MADE)
def test_generated_files_are_in_step_with_the_commands(path: str) -> None:
    file = docgen.ROOT / path
    assert file.is_file() and file.read_text(encoding="utf-8") == MADE[path], f"{path} is old: run `make docs`"


def test_no_page_is_left_of_a_command_that_is_gone() -> None:
    assert {f"man/{path.name}" for path in (docgen.ROOT / "man").iterdir()} == set(MANUAL), "run `make docs`"


def test_heads_that_cannot_be_students_are_not_among_them() -> None:
    sizes = [Input("frames", 4, True)], [Input("sent", 4), Input("words", 4, True)]
    slow = [name for name in heads.names() if not heads.load(name)(*sizes, []).one_product]
    assert docgen.LEFT_OUT["distill", "student"] == tuple(slow)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_files_do_not_depend_on_the_process_that_writes_them(seed: str, tmp_path: Path) -> None:
    program = "import json; from avs_cli import docgen; print(json.dumps(docgen.pages()))"
    path = os.pathsep.join([str(docgen.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Sets of strings have another order; terminals are narrow; options are set.
    own = {"PYTHONHASHSEED": seed, "PYTHONPATH": path, "COLUMNS": "40", "AVS_DEVICE": "cuda", "NO_COLOR": "1"}
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=tmp_path, env=os.environ | own, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == MADE


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_the_sections_that_a_reader_looks_for_in_their_order(path: str) -> None:
    order = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "ARGUMENTS", "OPTIONS", "EXIT STATUS"]
    order += ["ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"]
    sections = re.findall(r"^\.SH (.*)$", MADE[path], re.MULTILINE)
    assert sections == [name for name in order if name in sections]
    assert {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"} <= set(sections)
    macros = set(re.findall(r"^[.'](\S*)", MADE[path], re.MULTILINE))
    assert macros <= {"TH", "SH", "TP", "PP", "EX", "EE", "RS", "RE"}


@pytest.mark.parametrize("path", PAGES)
def test_every_option_of_the_help_is_on_the_page(path: str) -> None:
    name = Path(path).stem.removeprefix("avs").removeprefix("-")
    command = cli.build([name]).commands[name] if name else cli.build([])
    for parameter in command.params:
        for spelled in parameter.opts if parameter.param_type_name == "option" else ():
            assert docgen.escape(spelled) in MADE[path]


@pytest.mark.parametrize("path", MANUAL)
def test_manual_pages_pass_a_formatter_without_a_warning(path: str) -> None:
    if shutil.which("mandoc"):
        # Pages carry no date, so that equal commands give equal pages; long lines are one paragraph each.
        ran = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "warning"], input=MADE[path], capture_output=True, text=True
        )
        wrong = [line for line in ran.stdout.splitlines() if "missing date" not in line]
    else:
        groff = [tool("groff"), "-K", "utf8", "-T", "utf8", "-man", "-ww", "-z"]
        wrong = subprocess.run(groff, input=MADE[path], capture_output=True, text=True).stderr.splitlines()
    assert not wrong


def completed(*words: str) -> list[str]:
    """What bash offers for the last word, with no program in reach."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _avs; printf "%s\\n" "${COMPREPLY[@]}"'
    command = [tool("bash"), "--norc", "-c", script, "bash", str(docgen.ROOT / "completions/avs.bash"), *words]
    ran = subprocess.run(command, env={"PATH": "/nonexistent"}, capture_output=True, text=True)
    assert ran.stderr == ""
    return ran.stdout.split()


def test_bash_offers_commands() -> None:
    assert completed("avs", "") == [*cli.COMMANDS, "--version", "--help"]
    assert completed("avs", "ex") == [name for name in cli.COMMANDS if name.startswith("ex")]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_bash_offers_the_options_of_a_command_and_leaves_files_to_readline(name: str) -> None:
    known = [each for each in docgen.parameters(cli.build([name]).commands[name]) if each.names]
    assert completed("avs", name, "-") == [spelled for option in known for spelled in option.names]
    assert completed("avs", name, "") == []
    for option in known:
        for spelled in option.names:
            if option.words:
                assert completed("avs", name, spelled, "") == option.words
                assert completed("avs", name, spelled, "=", option.words[0][:1])[:1] != []
                assert completed("avs", name, spelled, "=") == option.words
            elif option.value:
                assert completed("avs", name, spelled, "") == completed("avs", name, spelled, "-") == []


@pytest.mark.parametrize("option", [["-m"], ["--measure", "="]], ids=["apart", "joined"])
def test_bash_completes_a_cutoff_which_readline_cuts_off(option: list[str]) -> None:
    assert completed("avs", "eval", *option, "P@") == ["P@10", "P@100"]
    assert completed("avs", "eval", *option, "P", "@") == ["@10", "@100"]
    assert completed("avs", "eval", *option, "nDCG", "@", "2") == ["@20"]
    assert completed("avs", "eval", *option, "P", "@", "7") == []


# The words of measures are their names in papers; see below.
@pytest.mark.parametrize(("name", "option"), [key for key in docgen.REGISTRIES if key != ("eval", "measure")])
def test_names_of_a_registry_are_offered_where_an_option_takes_them(name: str, option: str) -> None:
    parameters = docgen.parameters(cli.build([name]).commands[name])
    (words,) = [each.words for each in parameters if f"--{option}" in each.names]
    assert words == docgen.REGISTRIES[name, option].names()
    for word in words:
        assert docgen.escape(word) in MADE[f"man/avs-{name}.1"]


def test_fuse_offers_the_measures_that_it_can_learn_for_and_no_others() -> None:
    from avs_cli.core.fusion.ltr import OPTIMISED
    from avs_cli.core.fusion.ltr.batched import parsed

    (words,) = [
        each.words for each in docgen.parameters(cli.build(["fuse"]).commands["fuse"]) if "--measure" in each.names
    ]
    assert {re.sub(r"\d+$", "k", word) for word in words} == set(OPTIMISED)
    for word in words:
        parsed(word)
    assert "medr" not in MADE["man/avs-fuse.1"]


def test_measures_are_offered_as_the_field_writes_them_and_each_is_one_that_eval_takes() -> None:
    from avs_cli.core.evaluation.evaluator import measure_named

    parameters = docgen.parameters(cli.build(["eval"]).commands["eval"])
    (words,) = [each.words for each in parameters if "--measure" in each.names]
    assert {"AP", "P@10", "nDCG@20", "R@1000", "xinfAP", "infNDCG", "iP@100", "Judged@10", "ERR@20"} <= set(words)
    assert not {"ip", "meanr", "inum-rel", "infndcg"} & set(words)
    for word in words:
        assert measure_named(word).name == word
    assert "\\fBiP@10\\fR, \\fBiP@100\\fR" in MADE["man/avs-eval.1"]


@pytest.mark.parametrize("path", MANUAL)
def test_a_page_names_no_source_file(path: str) -> None:
    assert not re.search(r"\w+\.py\b", MADE[path])


def test_options_of_one_name_offer_what_their_own_command_takes() -> None:
    assert "borda" in MADE["man/avs-fuse.1"]
    assert "hubness" in MADE["man/avs-rerank.1"]
    assert "borda" not in MADE["man/avs-rerank.1"]


@pytest.mark.parametrize(("name", "option", "spec"), [("train", "head", "laff"), ("extract", "model", "lite")])
def test_the_page_tells_what_an_entry_can_be_given(name: str, option: str, spec: str) -> None:
    told = settings_of(docgen.REGISTRIES[name, option].load(spec))
    for key, value in told.items():
        written = str(value).lower() if isinstance(value, bool) else value
        assert docgen.escape(f"{key}={written}") in MADE[f"man/avs-{name}.1"]
    assert "et al.\n" not in "".join(MADE.values())


def test_fish_offers_commands_and_options() -> None:
    script = f"source {docgen.ROOT}/completions/avs.fish; complete -C 'avs '; complete -C 'avs {cli.COMMANDS[0]} --'"
    ran = subprocess.run([tool("fish"), "--no-config", "-c", script], capture_output=True, text=True)
    assert ran.stderr == ""
    offered = [line.split("\t")[0] for line in ran.stdout.splitlines()]
    assert set(cli.COMMANDS) <= set(offered)
    options = docgen.parameters(cli.build(cli.COMMANDS).commands[cli.COMMANDS[0]])
    assert {name for each in options for name in each.names if name.startswith("--")} <= set(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_scripts(shell: str) -> None:
    path = {"bash": "avs.bash", "zsh": "_avs", "fish": "avs.fish"}[shell]
    ran = subprocess.run([tool(shell), "-n", docgen.ROOT / "completions" / path], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("--fps 2", "\\-\\-fps 2"),
        ("a\\b", "a\\eb"),
        (".gz is read", "\\&.gz is read"),
        ("one\n'two'", "one\n\\&'two'"),
    ],
)
def test_plain_text_stays_plain_in_roff(text: str, roff: str) -> None:
    assert docgen.escape(text) == roff


def readme_lines(readme: str) -> list[str]:
    """The avs lines in README.md's shell blocks, continued lines joined; lines with shell variables are left out."""
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    shown = (" ".join(line.removeprefix("$ ").split()) for line in lines)
    return list(dict.fromkeys(line for line in shown if line.startswith("avs ") and "$" not in line))


def test_lines_of_the_readme_are_joined_and_each_is_checked_once() -> None:
    session = "$ avs fuse a.run b.run \\\n    -o c.run\noutput\n$ ls\n$ avs eval q c.run\n"
    readme = f"avs is prose\n```console\n{session}```\n```sh\n# why\navs eval q c.run\navs info q\n```\n"
    assert readme_lines(readme) == ["avs fuse a.run b.run -o c.run", "avs eval q c.run", "avs info q"]


# Makefile


def test_make_help_lists_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (docgen.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    ran = subprocess.run([tool("make"), "help"], cwd=docgen.ROOT, capture_output=True, text=True, check=True)
    assert targets and set(re.findall(r"make (\w+)", ran.stdout)) | {"help"} == set(targets[1].split())


def test_make_without_a_python_that_is_new_enough_says_what_to_do(tmp_path: Path) -> None:
    command = [tool("make"), "PYTHON=", f"VENV={tmp_path / 'venv'}", "types"]
    ran = subprocess.run(command, cwd=docgen.ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert (
        ran.stderr.startswith("avs needs Python 3.11 or newer and found none")
        and "PYTHON=/path/to/python" in ran.stderr
    )
    assert not (tmp_path / "venv").exists()


# README


def calls(line: str) -> Iterator[list[str]]:
    """The avs commands in a shell line, without what the shell keeps for itself."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;()"):
            if words[:1] == ["avs"]:
                yield words[1:]
            words = []
        elif set(word) <= set("<>"):
            skip = True
        elif skip:
            skip = False
        elif word not in ("do", "then", "done"):
            words.append(word)


def test_the_words_of_a_shell_line_are_told_from_the_shells_own() -> None:
    line = "avs search g.h5 --query 'a dog; or a cat' | avs eval q - > out.txt  # both"
    assert list(calls(line)) == [["search", "g.h5", "--query", "a dog; or a cat"], ["eval", "q", "-"]]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What the README's own avs.toml gives."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "avs.toml").write_text("\n".join(re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)))
    root = cli.build(cli.COMMANDS)
    return config.defaults({name: cli.parameters(command) for name, command in root.commands.items()}, folder)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"avs {name}\b", README), f"README.md does not mention `avs {name}`"


# What the text says of the settings, in the paragraph after them.
SETTLED = re.findall(r"^```toml\n.*?^```\n\n(.*?)\n\n", README, re.MULTILINE | re.DOTALL)


# The examples of each command, by its name.
SHOWN = {name: docgen.examples(cli.build([name]).commands[name].help) for name in cli.COMMANDS}


@pytest.mark.parametrize("name", SHOWN)
def test_a_command_shows_two_to_four_examples_of_itself_in_its_help_and_on_its_page(name: str) -> None:
    command = cli.build([name]).commands[name]
    with command.make_context(f"avs {name}", [], resilient_parsing=True) as context:
        shown = [line.strip() for line in command.get_help(context).splitlines()]
    page = MADE[f"man/avs-{name}.1"].partition(".SH EXAMPLES")
    assert 2 <= len(SHOWN[name]) <= 4
    for line in SHOWN[name]:
        assert line.startswith(f"avs {name} ")
        assert line in shown
        assert docgen.escape(line) in page[2] and docgen.escape(line) not in page[0]


@pytest.mark.parametrize(
    "line",
    [*readme_lines(README), *re.findall(r"`(avs \w+ [^`]*)`", "".join(SETTLED)), *itertools.chain(*SHOWN.values())],
)
def test_a_line_of_the_readme_or_of_the_help_is_one_that_the_program_takes(
    line: str, settings: dict[str, dict[str, object]]
) -> None:
    called = [call for call in calls(line) if call]
    assert called
    for name, *arguments in called:
        if name.startswith("-"):
            assert name in ("--help", "--version")
            continue
        command = cli.build([name]).commands[name]
        with command.make_context(f"avs {name}", arguments, default_map=settings.get(name)) as context:
            for parameter in command.params:
                registry = docgen.REGISTRIES.get((name, cli.long_name(parameter)))
                given = context.params.get(parameter.name)
                for spec in (given if isinstance(given, list | tuple) else [given]) if registry and given else ():
                    assert (
                        not registry
                        or spec.partition(":")[0] in registry.names()
                        or cli.long_name(parameter) == "measure"
                    )


def test_the_readmes_first_session_runs_as_it_stands(
    shared_data: Callable[[str], Path], shell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = re.findall(r"<!-- runs -->\s*^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert sessions, "README.md marks no session to run"
    clips = shared_data("clips")
    (tmp_path / "videos").mkdir()
    for name in ("skv_bigbuckbunny.mp4", "mpy_example3.mp4", "intel_asl_eat.mkv"):
        shutil.copy(clips / name, tmp_path / "videos")
    lines = [line[2:] for text in sessions for line in text.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
    monkeypatch.setenv("AVS_EXTRACT_BATCH_SIZE", "8")  # a batch is always filled up, and these shots have few frames
    assert len(lines) > 2
    ran = shell([([tool("bash"), "-euo", "pipefail", "-c", line], {}) for line in lines])
    assert ran[-1].returncode == 0, f"$ {lines[len(ran) - 1]}\n{ran[-1].stderr}"
    assert len(ran) == len(lines)


def test_the_installed_program_starts() -> None:
    ran = subprocess.run([Path(sys.executable).with_name("avs"), "--version"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout[:4]) == (0, "avs ")


@pytest.mark.parametrize(("name", "option"), [("extract", "model"), ("fuse", "method"), ("shots", "detector")])
def test_the_help_of_an_option_names_every_entry_of_its_registry(name: str, option: str) -> None:
    (given,) = [each for each in cli.build([name]).commands[name].params if each.name == option]
    words = re.findall(r"[\w-]+", given.help)  # type: ignore[attr-defined]
    assert set(docgen.REGISTRIES[name, option].names()) <= set(words)
