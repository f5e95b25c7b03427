"""The command line: find the command, read the configuration, run it, and map errors to exit codes."""

import atexit
import contextlib
import errno
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from avs_cli import __version__, config, outputs
from avs_cli.console import note
from avs_cli.errors import AvsError

# In the order of the pipeline and of `avs --help`; each is a module of `commands` with a function of its name.
COMMANDS = (
    "index",
    "shots",
    "extract",
    "train",
    "distill",
    "expand",
    "search",
    "rerank",
    "fuse",
    "eval",
    "submit",
    "view",
    "serve",
    "clip",
    "info",
    "convert",
)

EPILOG = (
    "Commands exchange feature stores (HDF5) and TREC runs. Data goes to stdout, messages to stderr; '-' is a pipe. "
    "avs.toml in the working folder and AVS_OPTION in the environment set any option except those that grant trust. "
    "Exit codes: 0 done, 2 usage error, 3 bad input, 4 not installed or not downloaded, 5 done but items are missing."
)

# Commands that resume an interrupted run.
RESUMED = frozenset({"clip", "distill", "expand", "extract", "index", "train"})

# Signals that end the program, and their messages.
ENDING: dict[int, str] = {signal.SIGHUP: "hung up", signal.SIGTERM: "terminated"}
# The standard streams; where one is closed, /dev/null opened so stands in.
STREAMS = (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))

# Sources of values other than the command line.
SOURCES = {"DEFAULT_MAP": f"set in {config.FILE}", "ENVIRONMENT": "set in the environment"}


def build(names: Sequence[str]) -> Any:
    """The command line with the named commands; only these are imported."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def version(asked: bool) -> None:
        if asked:
            print(f"avs {__version__}")
            raise typer.Exit

    @app.callback()
    def avs(
        version: Annotated[
            bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        """Ad-hoc video search: find shots in large video collections with text queries."""

    for name in names:
        module = importlib.import_module(f"avs_cli.commands.{name}")
        app.command(name, no_args_is_help=False)(getattr(module, name))
    root = get_command(app)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        command.marks = outputs.marks(command.callback.__wrapped__)
        for parameter in command.params:
            if parameter.param_type_name == "option":
                by_hand = outputs.BY_HAND in command.marks.get(parameter.name, ())
                parameter.envvar = None if by_hand else config.environment_names(name, long_name(parameter))
                parameter.show_envvar = False
        command.invoke = _checked(name, command, command.invoke)
    return root


def _checked(name: str, command: Any, invoke: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Run a command after checking its parameters from all sources."""

    def run_checked(context: Any) -> Any:
        known = parameters(command)
        config.check_environment(name, known, os.environ)
        sources = {key: context.get_parameter_source(key) for key in context.params}
        from_file = {key for key, source in sources.items() if source and source.name == "DEFAULT_MAP"}
        if told := config.told(known, {key: value for key, value in context.params.items() if key in from_file}):
            note(f"{config.FILE} gives {told}")
        outputs.check(*_files(command, known, context.params))
        return invoke(context)

    return run_checked


def _files(
    command: Any, known: config.Parameters, given: Mapping[str, Any]
) -> tuple[list[tuple[outputs.Named, outputs.Writes]], list[outputs.Named]]:
    """The outputs and inputs that a command line names."""
    written, read = [], []
    for parameter in command.params:
        value = given.get(parameter.name)
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, str):
                named = outputs.Named(_shown(parameter), one)
                if parameter.name in known.outputs:
                    written.append((named, known.outputs[parameter.name]))
                elif outputs.reads(parameter.metavar):
                    read.append(named)
    return written, read


def _shown(parameter: Any) -> str:
    """The name of a parameter in messages: `--video`, `RUN`."""
    if parameter.param_type_name == "option":
        return f"--{long_name(parameter)}"
    return str(parameter.metavar or parameter.name.upper()).rstrip(".")


def long_name(parameter: Any) -> str:
    """The name of a parameter for users: `min-seconds` for `--min-seconds`, the name of an argument."""
    longest: str = max(parameter.opts, key=len)
    return longest.lstrip("-")


def parameters(command: Any) -> config.Parameters:
    """The names of a command's parameters, for the configuration."""
    named = [parameter for parameter in command.params if parameter.name != "help"]
    options = {long_name(p): p.name for p in named if p.param_type_name == "option"}
    arguments = {p.name: p.name for p in named if p.param_type_name == "argument"}
    marked = {name: found for name, found in command.marks.items() if found}
    return config.Parameters(
        options,
        arguments,
        many=frozenset(p.name for p in named if p.multiple or p.nargs == -1),
        switches=frozenset(p.name for p in named if getattr(p, "is_flag", False)),
        outputs={name: mark for name, found in marked.items() if (mark := outputs.mark_of(found)) is not None},
        by_hand=frozenset(name for name, found in marked.items() if outputs.BY_HAND in found),
    )


def run(arguments: Sequence[str]) -> None:
    """Run one command line; raises on errors."""
    asked = arguments[0] if arguments else ""
    whole = asked not in COMMANDS or (Path.cwd() / config.FILE).is_file()
    root = build(COMMANDS if whole else [asked])
    given = config.defaults({name: parameters(command) for name, command in root.commands.items()}, Path.cwd())
    # Not `root.main`, which has exit codes of its own for interrupts and closed pipes.
    with root.make_context("avs", list(arguments), default_map=given) as context:
        root.invoke(context)


class Ended(KeyboardInterrupt):
    """A signal that ends the program like Ctrl-C, so that partial outputs are removed."""

    def __init__(self, number: int):
        self.number = number


def main(arguments: Sequence[str] | None = None) -> None:
    """The `avs` program: run the command line and exit with its code."""
    _open_streams()
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _end)
    code = exit_code(sys.argv[1:] if arguments is None else arguments)
    if sys.getprofile() or sys.gettrace():  # which have something to write
        sys.exit(code)
    _leave(code)


def _leave(code: int) -> None:
    """Exit without the interpreter's finalisation, which frees every object: a tenth of the time of `avs eval`.

    Nor may a thread of torch.distributed free a tensor at that moment: it asks for the interpreter's lock, which it
    never gets again, and the process aborts (seen once in some hundred runs) after all its work is done.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _end(number: int, frame: object) -> None:
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)  # further signals must not interrupt the removal of partial outputs
    raise Ended(number)


def _open_streams() -> None:
    """Replace closed standard streams, whose numbers the next opened file would take."""
    for number, (name, mode, access) in enumerate(STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # os.open takes the lowest free number: this one. Reads and writes fail as if it were closed.
            os.set_inheritable(os.open(os.devnull, access), True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def exit_code(arguments: Sequence[str]) -> int:
    """Run one command line; errors are one line on stderr."""
    code = 0
    try:
        try:
            run(arguments)
        except typer.Exit as stop:
            code = stop.exit_code
        print(end="", flush=True)
    except AvsError as error:
        return _say(str(error), error.exit_code)
    except Ended as signalled:
        return _say(ENDING[signalled.number] + _cure(arguments), 128 + signalled.number)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted" + _cure(arguments), 130)
    except BrokenPipeError:
        _leave_stdout()  # its reader has left: avs … | head
        return 0
    except OSError as error:
        if error.errno is None:
            traceback.print_exc()
            return 1
        if error.filename is None:
            _leave_stdout()
        # A failed write may lack the name of its file.
        where = error.filename or ("stdout" if error.errno == errno.EBADF else "output")
        return _say(f"{where}: {(error.strerror or str(error)).lower()}", 3)
    except Exception as error:
        if not hasattr(error, "format_message"):
            traceback.print_exc()
            return 1
        return _usage(error, arguments)
    return code


def _leave_stdout() -> None:
    """Discard further output to stdout, including what is buffered when Python exits."""
    with contextlib.suppress(OSError):  # no file of the system, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: Any, arguments: Sequence[str]) -> int:
    """Print a usage error of typer as one line."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message() or error.ctx.get_help(), file=sys.stderr)
        return 2
    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    source = context.get_parameter_source(parameter.name) if context and parameter else None
    if source and source.name in SOURCES:
        message += f" ({SOURCES[source.name]})"
    command = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    return _say(f"{message[:1].lower()}{message[1:]}; see: avs {command}{' ' * bool(command)}--help", 2)


def _cure(arguments: Sequence[str]) -> str:
    return "; the same command resumes" if arguments and arguments[0] in RESUMED else ""


def _say(message: str, code: int) -> int:
    note(" ".join(message.splitlines()))
    return code
