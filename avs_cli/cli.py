"""The command line: finds the command, reads the configuration, runs it, and turns failures into exit codes."""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from avs_cli import __version__, config
from avs_cli.console import note
from avs_cli.errors import AvsError

# In the order of the pipeline and of `avs --help`; each is a module of `commands` with a function of its name.
COMMANDS = (
    "shots",
    "extract",
    "train",
    "distill",
    "search",
    "rerank",
    "fuse",
    "eval",
    "submit",
    "view",
    "info",
    "convert",
)

EPILOG = (
    "Stages read and write feature stores (HDF5) and TREC runs; stdout is data, all else is stderr, '-' is a pipe. "
    "avs.toml in the working folder, or AVS_OPTION in the environment, may give any option. "
    "Exit codes: 0 done, 2 wrong usage, 3 bad input, 4 not installed or not downloaded, 5 done but items are missing."
)

# Where a value comes from that was not written on the command line.
SOURCES = {"DEFAULT_MAP": f"given in {config.FILE}", "ENVIRONMENT": "given in the environment"}


def available() -> list[str]:
    """The commands, in the order of the pipeline."""
    folder = Path(__file__).with_name("commands")
    return [name for name in COMMANDS if (folder / f"{name}.py").is_file()]


def build(names: Sequence[str]) -> Any:
    """The command line with the named commands: one is enough to run it, and is all that is imported then."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, epilog=EPILOG)

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
        """Find shots in large video collections from a sentence."""

    for name in names:
        module = importlib.import_module(f"avs_cli.commands.{name}")
        app.command(name, no_args_is_help=False)(getattr(module, name))
    root = get_command(app)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            if parameter.param_type_name == "option":
                parameter.envvar = config.environment_names(name, long_name(parameter))
                parameter.show_envvar = False
    return root


def long_name(parameter: Any) -> str:
    """What a user calls a parameter: `min-seconds` for `--min-seconds`, an argument's own name."""
    longest: str = max(parameter.opts, key=len)
    return longest.lstrip("-")


def parameters(command: Any) -> config.Parameters:
    """The names of a command's parameters, for the configuration."""
    named = [parameter for parameter in command.params if parameter.name != "help"]
    options = {long_name(p): p.name for p in named if p.param_type_name == "option"}
    arguments = {p.name: p.name for p in named if p.param_type_name == "argument"}
    many = frozenset(p.name for p in named if p.multiple or p.nargs == -1)
    return config.Parameters(options, arguments, many, frozenset(p.name for p in named if getattr(p, "is_flag", False)))


def run(arguments: Sequence[str]) -> None:
    """Run one command line; failures come out as exceptions."""
    everything = available()
    asked = arguments[0] if arguments else ""
    whole = asked not in everything or (Path.cwd() / config.FILE).is_file()
    root = build(everything if whole else [asked])
    given = config.defaults({name: parameters(command) for name, command in root.commands.items()}, Path.cwd())
    # Not `root.main`, which has exit codes of its own for interrupts and closed pipes.
    with root.make_context("avs", list(arguments), default_map=given) as context:
        root.invoke(context)


def main(arguments: Sequence[str] | None = None) -> None:
    """The `avs` program: runs the command line and exits with the code of what happened."""
    sys.exit(exit_code(sys.argv[1:] if arguments is None else arguments))


def exit_code(arguments: Sequence[str]) -> int:
    """Run one command line and say on stderr, in one line, what failed."""
    try:
        run(arguments)
        print(end="", flush=True)
    except AvsError as error:
        return _say(str(error), error.exit_code)
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", 130)
    except BrokenPipeError:
        # The reader of our stdout has left (`avs … | head`); nothing more can be said to it, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None:
            traceback.print_exc()
            return 1
        # A write that fails (a full disk) does not know its file's name.
        return _say(f"{error.filename or 'output'}: {(error.strerror or str(error)).lower()}", 3)
    except Exception as error:
        if not hasattr(error, "format_message"):
            traceback.print_exc()
            return 1
        return _usage(error, arguments)
    return 0


def _usage(error: Any, arguments: Sequence[str]) -> int:
    """A command line that typer could not read; its message in one line of ours."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message() or error.ctx.get_help(), file=sys.stderr)
        return 2
    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    source = context.get_parameter_source(parameter.name) if context and parameter else None
    if source and source.name in SOURCES:
        message += f" ({SOURCES[source.name]})"
    command = arguments[0] if arguments and arguments[0] in available() else ""
    return _say(f"{message[:1].lower()}{message[1:]}; see: avs {command}{' ' * bool(command)}--help", 2)


def _say(message: str, code: int) -> int:
    note(" ".join(message.splitlines()))
    return code
