"""Options from `avs.toml` and the environment, below the command line and above the defaults.

`avs.toml` lies in the working folder. A key at the top gives an option of that name to every command that has one; a
key in a table named for a command is for that command alone and may give its arguments too:

    device = "cpu"
    [extract]
    inputs = ["videos"]
    output = "videos.h5"

In the environment, `AVS_FUSE_QRELS` is for one command and `AVS_QRELS` for all of them. Neither gives an option that
grants trust, and what avs.toml names as an output lies inside the working folder.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from avs_cli.errors import FormatError, SpecError
from avs_cli.outputs import Writes, outside

FILE = "avs.toml"
# Greatest number of a configuration.
LARGEST = 1 << 63
# Options that choose a model.
MODELS = frozenset({"head", "init", "load", "model", "student", "teacher", "weights"})
# Types that a command line can express; TOML also has dates, tables and nested lists.
PLAIN = (bool, float, int, str)


class Parameters(NamedTuple):
    """A command's parameters: the name that users write -> the name in Python.

    The others are names in Python: `many` of those that take a list, `switches` of those that are true or false,
    `outputs` of those that name what is written, `by_hand` of those that only the command line may give.
    """

    options: dict[str, str]
    arguments: dict[str, str]
    many: frozenset[str] = frozenset()
    switches: frozenset[str] = frozenset()
    outputs: Mapping[str, Writes] = MappingProxyType({})
    by_hand: frozenset[str] = frozenset()


def defaults(commands: Mapping[str, Parameters], folder: Path) -> dict[str, dict[str, Any]]:
    """Per command, the values that `avs.toml` in `folder` gives to its parameters, by the parameters' Python names.

    Numbers become texts, as on the command line. The folder may be anybody's: raises FormatError for a file that is not
    TOML, for a key that no command has, for a value that no command line could give, for an option that gives trust,
    and for an output outside the folder.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:  # TOML's errors are ValueErrors too
        raise FormatError(path.name, f"not TOML: {error}") from None
    values: dict[str, dict[str, Any]] = {command: {} for command in commands}
    for key, value in given.items():
        if isinstance(value, dict):
            if key not in commands:
                raise FormatError(path.name, f"[{key}] is not a command of avs")
            both = commands[key].options | commands[key].arguments
            for name, own in value.items():
                if name not in both:
                    raise FormatError(path.name, f"[{key}] has no option or argument {name!r}")
                values[key][both[name]] = own
    for key, value in given.items():
        if not isinstance(value, dict):
            takers = [command for command, parameters in commands.items() if key in parameters.options]
            if not takers:
                raise FormatError(path.name, f"no command has an option {key!r}")
            for command in takers:
                values[command].setdefault(commands[command].options[key], value)
    for command, found in values.items():
        for name in commands[command].many & {name for name, value in found.items() if isinstance(value, PLAIN)}:
            found[name] = [found[name]]
        _check(path, commands[command], found)
        for name, value in found.items():
            found[name] = _as_written(value, name in commands[command].switches)
    return values


def _check(path: Path, parameters: Parameters, found: Mapping[str, Any]) -> None:
    """Reject values that a file in a downloaded folder must not set."""
    names = {python: name for name, python in (parameters.options | parameters.arguments).items()}
    for python, value in found.items():
        name = names[python]
        listed = python in parameters.many and isinstance(value, list)
        for one in value if listed else [value]:
            if not isinstance(one, PLAIN):
                kind = "a list of texts or numbers" if python in parameters.many else "a text, a number, true or false"
                raise FormatError(path.name, f"{name} should be {kind}")
            if isinstance(one, int | float) and not -LARGEST < one < LARGEST:
                raise FormatError(path.name, f"{name} = {one!r:.30} is out of range")
            if isinstance(one, str) and "\0" in one:
                raise FormatError(path.name, f"{name} holds a NUL character")
        if python in parameters.by_hand:
            raise FormatError(path.name, f"{name} is accepted on the command line only")
        if python in parameters.outputs:
            for one in value if listed else [value]:
                if isinstance(one, str) and outside(one, path.parent, parameters.outputs[python]):
                    raise FormatError(
                        path.name,
                        f"{name} = {one!r} is outside the working folder; give such an output on the command line",
                    )


def told(parameters: Parameters, values: Mapping[str, Any]) -> str:
    """The outputs and models that avs.toml sets, for a message; `values` are those from the file."""
    options = {python: f"--{name}" for name, python in parameters.options.items()}
    return ", ".join(
        f"{options.get(python, python)} {' '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for python, value in values.items()
        if python in parameters.outputs or python in MODELS
    )


def _as_written(value: Any, switch: bool) -> Any:
    """A value as text, as on the command line, so that numbers are checked in the same way."""
    if isinstance(value, list):
        return [_as_written(one, switch) for one in value]
    if isinstance(value, bool):
        return value if switch else str(value).lower()
    return value if isinstance(value, str) else str(value)


def check_environment(command: str, parameters: Parameters, environment: Mapping[str, str]) -> None:
    """Raises SpecError when the environment gives an option that only the command line may give."""
    for option, python in parameters.options.items():
        if python in parameters.by_hand:
            for variable in environment_names(command, option):
                if environment.get(variable):
                    raise SpecError(f"{variable}: --{option} is accepted on the command line only; unset the variable")


def environment_names(command: str, option: str) -> list[str]:
    """The environment variables that may give an option: the command's own first, then the shared one."""
    own, shared = (text.upper().replace("-", "_") for text in (f"avs_{command}_{option}", f"avs_{option}"))
    return [own, shared]
