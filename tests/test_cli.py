"""What the program promises to shells: exit codes, one line per failure, data alone on stdout."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from avs_cli import __version__, cli, errors

Avs = Callable[..., "subprocess.CompletedProcess[str]"]

# The program with one command more, whose body is given.
PROGRAM = """
import sys, types, time, os
from avs_cli import cli, errors
def probe(count: int = 1):
    {body}
sys.modules["avs_cli.commands.probe"] = types.SimpleNamespace(probe=probe)
cli.COMMANDS = ("probe",)
cli.main(["probe", *sys.argv[1:]])
"""


# A signal that arrives just before a sleep begins is handled when it ends: programs sleep briefly, many times.
def program(body: str, *arguments: str, **settings: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM.format(body=body), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    return subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def ended(avs_here: Avs, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """What becomes of a command, `probe`, whose body is this statement: (exit code, stdout, stderr)."""

    def run(body: str, *arguments: str) -> tuple[int, str, str]:
        def probe(count: int = 1) -> None:
            exec(body, {"errors": errors})

        monkeypatch.setitem(sys.modules, "avs_cli.commands.probe", types.SimpleNamespace(probe=probe))
        monkeypatch.setattr(cli, "COMMANDS", ("probe",))
        return avs_here("probe", *arguments)

    return run


Ended = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        ("errors.AvsError('no good')", 1, "avs: no good"),
        (
            "errors.UnknownName('model', 'clpi', ['blip2', 'clip'])",
            2,
            "avs: unknown model 'clpi'; did you mean 'clip'?",
        ),
        ("errors.SpecError('rrf:k=x: not a number')", 2, "avs: rrf:k=x: not a number"),
        ("errors.FormatError('a.run', 'five columns', 3)", 3, "avs: a.run:3: five columns"),
        ("errors.MismatchError('dims differ')", 3, "avs: dims differ"),
        ("errors.UnavailableError('needs x: pip install x')", 4, "avs: needs x: pip install x"),
        ("errors.IncompleteError('2 of 9 are missing')", 5, "avs: 2 of 9 are missing"),
        ("errors.AvsError('two\\nlines')", 1, "avs: two lines"),
        ("FileNotFoundError(2, 'No such file or directory', 'a.run')", 3, "avs: a.run: no such file or directory"),
        ("PermissionError(13, 'Permission denied', 'a.run')", 3, "avs: a.run: permission denied"),
        ("OSError(28, 'No space left on device')", 3, "avs: output: no space left on device"),
        ("KeyboardInterrupt", 130, "avs: interrupted"),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_its_exit_code(ended: Ended, raised: str, code: int, line: str) -> None:
    assert ended(f"raise {raised}") == (code, "", line + "\n")


@pytest.mark.parametrize("raised", ["ZeroDivisionError('x')", "EOFError('x')", "OSError('x')", "AssertionError('x')"])
def test_a_bug_keeps_its_traceback_and_exits_1(ended: Ended, raised: str) -> None:
    code, out, told = ended(f"raise {raised}")
    assert (code, out) == (1, "")
    assert told.startswith("Traceback") and told.rstrip().endswith(raised.replace("('x')", ": x"))


def test_the_program_ends_when_its_threads_have_and_what_is_to_be_done_at_exit_is_done() -> None:
    late = "import atexit, threading; atexit.register(print, 'exit'); "
    late += "threading.Thread(target=lambda: (time.sleep(.05), print('late'))).start()"
    with program(late) as running:
        assert running.communicate() == ("late\nexit\n", "")
    assert running.returncode == 0


def test_a_command_that_returns_exits_0(ended: Ended) -> None:
    assert ended("print('data')") == (0, "data\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--nosuch"], "avs: no such option: --nosuch; see: avs probe --help"),
        (["--count", "x"], "avs: invalid value for '--count'"),
        (["--count"], "avs: option '--count' requires an argument; see: avs probe --help"),
        (["more"], "avs: got unexpected extra argument"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_points_to_the_help(ended: Ended, arguments: list[str], line: str) -> None:
    code, out, told = ended("pass", *arguments)
    assert (code, out, told.count("\n")) == (2, "", 1)
    assert told.startswith(line) and told.endswith("; see: avs probe --help\n")


def test_an_unknown_command_exits_2(avs_here: Avs) -> None:
    ran = avs_here("serach")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("avs: no such command 'serach'") and ran.stderr.count("\n") == 1


def test_without_arguments_the_help_goes_to_stderr_and_the_exit_is_2(avs_apart: Avs) -> None:
    ran = avs_apart()
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("Usage: avs ")


def test_asked_for_help_and_version_are_data(avs_apart: Avs) -> None:
    assert avs_apart("--version").stdout == f"avs {__version__}\n"
    ran = avs_apart("--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: avs ")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_tells_its_use_and_refuses_an_option_it_lacks(avs_here: Avs, name: str) -> None:
    ran = avs_here(name, "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"Usage: avs {name} ")
    ran = avs_here(name, "--no-such-option")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith(f"; see: avs {name} --help\n") and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    command = cli.build([name]).commands[name]
    assert not [each.name for each in command.params if not each.help]


def test_commands_are_listed_in_the_order_of_the_pipeline(avs_here: Avs) -> None:
    listed = [
        line.split()[0]
        for line in avs_here("--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    ]
    assert listed == [*cli.COMMANDS]


def test_every_command_module_is_a_command() -> None:
    modules = {path.stem for path in Path(cli.__file__).with_name("commands").glob("[a-z]*.py")}
    assert modules <= set(cli.COMMANDS)


@pytest.mark.parametrize("count", [1, 100_000], ids=["within the buffer", "beyond the buffer"])
def test_a_reader_that_leaves_ends_the_program_quietly(count: int) -> None:
    running = program(f"time.sleep(0.3); print('topic\\n' * {count})")
    assert running.stdout and running.stderr
    running.stdout.close()
    assert (running.stderr.read(), running.wait(60)) == ("", 0)


@pytest.mark.parametrize(
    "line",
    [
        ["eval", "qrels", "a.run", "-q"],
        ["eval", "qrels", "a.run", "b.run"],
        ["eval", "qrels", "a.run", "-q", "--json"],
        ["fuse", "a.run", "b.run", "--ltr", "--qrels", "qrels", "--folds", "2", "--report", "-", "-o", "fused.run"],
        ["extract", "--list-models"],
        ["info", "a.run"],
        ["eval", "--help"],
    ],
    ids=" ".join,
)
def test_a_reader_of_a_table_that_leaves_ends_the_program_quietly(
    tmp_path: Path, line: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    topics = range(101, 105)
    (tmp_path / "qrels").write_text("".join(f"{t} 0 {shot} 1 {int(shot == 'a')}\n" for t in topics for shot in "ab"))
    for name, order in (("a", "ab"), ("b", "ba")):
        rows = (f"{topic} Q0 {shot} 1 {-place} t\n" for topic in topics for place, shot in enumerate(order))
        (tmp_path / f"{name}.run").write_text("".join(rows))
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as left, contextlib.redirect_stdout(left):
        assert cli.exit_code(line) == 0
    assert [row for row in capfd.readouterr().err.splitlines() if not row.startswith("avs: ")] == []


def test_a_full_disk_behind_stdout_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        running = program("print('data')", stdout=full)
        assert running.communicate(timeout=60)[1] == "avs: output: no space left on device\n"
        assert running.returncode == 3


CLOSED = "avs: stdout: bad file descriptor\n"


@pytest.mark.parametrize(
    ("shell", "code", "told"),
    [
        ("avs --version >&-", 3, CLOSED),
        ("avs fuse --help >&-", 3, CLOSED),
        ("avs eval a.qrels a.run 2>/dev/null >&-", 3, ""),
        ("avs fuse a.run b.run >&-", 3, CLOSED),
        ("avs fuse a.run b.run -o out >&-", 0, ""),
        ("avs fuse a.run b.run -o out >&- 2>&- <&-", 0, ""),
        ("avs eval a.qrels a.run >/dev/null 2>&-", 0, ""),
        ("avs eval a.qrels none.run 2>&-", 3, ""),
        ("avs fuse a.run - <&-", 3, "avs: stdin: bad file descriptor\n"),
        ("avs info - <&-", 3, "avs: stdin"),
        ("avs eval a.qrels a.run --json 2>/dev/null <&-", 0, ""),
        ("avs eval a.qrels a.run 2>/dev/null >/dev/full", 3, ""),
        ("avs nosuch >&-", 2, "avs: no such command"),
    ],
)
def test_closed_standard_streams_are_no_bug(shell: str, code: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.qrels").write_text("1 0 a 1\n")
    for name in ("a.run", "b.run"):
        (tmp_path / name).write_text("1 Q0 a 1 0.5 r\n")
    script = f'avs() {{ "{sys.executable}" -m avs_cli "$@"; }}; {shell}'
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (ran.returncode, ran.stderr.count("\n")) == (code, int(bool(told)))
    assert ran.stderr.startswith(told)
    if "out" in shell.split():
        assert (tmp_path / "out").read_text().startswith("1 Q0 a 1 0.032786885")  # 2 / 61


def test_a_file_that_is_opened_never_becomes_a_closed_stream() -> None:
    """What a library writes to descriptor 2 would else go into the first output."""
    program = "import os, sys; from avs_cli import cli; cli.run = lambda _: print(os.open('x', 65), file=sys.stdout)"
    ran = subprocess.run(
        ["bash", "-c", f'cd "$(mktemp -d)"; "{sys.executable}" -c "{program}; cli.main([])" 2>&- <&-'],
        capture_output=True,
        text=True,
    )
    assert int(ran.stdout) > 2


@pytest.mark.parametrize(
    ("line", "file", "limit"),
    [
        (["fuse", "a.run", "b.run", "-o", "out.run"], "out.run", 4096),
        (["fuse", "a.run", "b.run", "-o", "out.run.gz"], "out.run.gz", 4096),
        (["eval", "a.qrels", "a.run", "b.run", "--plot", "out.svg"], "out.svg", 4096),
        # HDF5 would crash at the end of the process, from values, ids or its own tables that it could not write.
        *((["convert", "big", "out.h5"], "out.h5", limit) for limit in (500, 4096, 9000, 12288, 16384)),
        (["train", "captions", "--video", "v.h5", "--text", "bow", "-o", "out.safetensors"], "out.safetensors", 4096),
    ],
)
def test_a_disk_that_takes_no_more_is_told_with_the_files_name(
    avs_apart: Avs, avs_here: Avs, line: list[str], file: str, limit: int, tmp_path: Path
) -> None:
    import numpy as np

    from avs_cli.io.bigfile import write_bigfile
    from avs_cli.io.store.writer import Item, StoreWriter
    from avs_cli.types import Block

    rows = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    ids = [f"video{n}" for n in range(40)]
    write_bigfile(tmp_path / "big", 64, [Block(ids, rows)])
    with StoreWriter(tmp_path / "v.h5", "clip", 64, {"model": "clip"}, "float32") as writer:
        writer.add([Item(None, id, row) for id, row in zip(ids, rows, strict=True)])
        writer.finish(ids)
    (tmp_path / "captions").write_text("".join(f"{id}#enc#0 a dog number {id}\n" for id in ids))
    (tmp_path / "a.qrels").write_text("1 0 a 1\n2 0 a 1\n")
    for name in ("a.run", "b.run"):
        shots = (f"{topic} Q0 {name[0]}{rng} {rng} {1 / rng!r} r\n" for topic in (1, 2) for rng in range(1, 900))
        (tmp_path / name).write_text("".join(shots))
    before = set(os.listdir(tmp_path))

    before_it, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def small(limit: int = limit) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))  # Python ignores SIGXFSZ: writes fail with EFBIG

    if line[0] == "convert":
        ran = avs_apart(*line, preexec_fn=small)
    else:
        small()
        try:
            ran = avs_here(*line)
        finally:
            small(before_it)
    assert ran.returncode == 3, ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    assert last.startswith(f"avs: {file}") and last.endswith(": file too large")
    assert set(os.listdir(tmp_path)) - before <= {"out.h5.parts"}


def test_interrupted_from_the_keyboard_exits_130_with_one_line() -> None:
    running = program("print('ready', flush=True); [time.sleep(0.05) for _ in range(1200)]")
    assert running.stdout and running.stderr
    assert running.stdout.readline() == "ready\n"
    started = time.monotonic()
    running.send_signal(signal.SIGINT)
    assert (running.wait(60), running.stderr.read()) == (130, "avs: interrupted\n")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "avs: interrupted\n"),
        (signal.SIGTERM, 143, "avs: terminated\n"),
        (signal.SIGHUP, 129, "avs: hung up\n"),
    ],
)
def test_a_signal_to_end_leaves_no_litter(number: int, code: int, line: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    body = "from avs_cli.io.atomic import writing\n    with writing('out') as out: out.write('half'); out.flush(); "
    running = program(body + "print('ready', flush=True); [time.sleep(0.05) for _ in range(1200)]", cwd=tmp_path)
    assert running.stdout and running.stderr
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    assert (running.wait(60), running.stderr.read()) == (code, line)
    assert (os.listdir(tmp_path), (tmp_path / "out").read_text()) == (["out"], "old")


def test_a_second_signal_does_not_interrupt_the_tidying_up(tmp_path: Path) -> None:
    body = "try: print('ready', flush=True); [time.sleep(0.05) for _ in range(1200)]"
    body += "\n    finally: time.sleep(0.5); open('tidied', 'w').close()"
    running = program(body, cwd=tmp_path)
    assert running.stdout and running.stdout.readline() == "ready\n"
    running.terminate()
    time.sleep(0.1)
    running.terminate()
    assert (running.wait(60), os.listdir(tmp_path)) == (143, ["tidied"])


def test_a_hang_up_that_nohup_ignores_stays_ignored() -> None:
    started = "print('ready', flush=True); time.sleep(0.5); print('done')"
    running = program(started, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert running.stdout and running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGHUP)
    assert (running.stdout.read(), running.wait(60)) == ("done\n", 0)


def test_processes_that_share_the_work_die_quietly_with_the_first(tmp_path: Path) -> None:
    body = (
        "from avs_cli.io.forks import forked\n"
        "    forked(lambda n: (os.write(1, b'ready\\n'), [time.sleep(0.05) for _ in range(1200)]), [1, 2, 3], 3)"
    )
    running = program(body, start_new_session=True)
    assert running.stdout and running.stderr
    assert [running.stdout.readline() for _ in range(3)] == ["ready\n"] * 3
    os.killpg(running.pid, signal.SIGTERM)
    assert (running.wait(60), running.stderr.read()) == (143, "avs: terminated\n")


@pytest.mark.parametrize("name", sorted(cli.RESUMED & set(cli.COMMANDS)))
def test_an_interrupted_command_that_keeps_its_work_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupt)
    assert cli.exit_code([name]) == 130
    assert capsys.readouterr().err == "avs: interrupted; the same command resumes\n"


@pytest.mark.parametrize("line", [["-h"], *([name, "-h"] for name in cli.COMMANDS)], ids=" ".join)
def test_h_is_help(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.exit_code(line) == 0
    short = capsys.readouterr().out
    assert cli.exit_code([*line[:-1], "--help"]) == 0
    assert (short, short[:10]) == (capsys.readouterr().out, "Usage: avs")


def test_exit_codes_are_those_of_the_manual() -> None:
    from avs_cli.docgen import EXIT_CODES

    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert {each.exit_code for each in classes} | {0, 129, 130, 143} == set(EXIT_CODES)  # type: ignore[attr-defined]
