"""Options from `avs.toml` and the environment, below the command line and above the defaults.

`avs.toml` lies in the working folder. A key at the top gives an option of that name to every command that has one; a
key in a table named for a command is for that command alone and may give its arguments too:

    device = "cpu"
    [extract]
    inputs = ["videos"]
    output = "videos.h5"

In the environment, `AVS_FUSE_QRELS` is for one command and `AVS_QRELS` for all of them.
"""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from avs_cli.errors import FormatError

FILE = "avs.toml"
LARGEST = 1 << 63


class Parameters(NamedTuple):
    """A command's parameters: the name that users write -> the name in Python.

    many      those that take a list
    switches  those that are true or false
    """

    options: dict[str, str]
    arguments: dict[str, str]
    many: frozenset[str] = frozenset()
    switches: frozenset[str] = frozenset()


def defaults(commands: Mapping[str, Parameters], folder: Path) -> dict[str, dict[str, Any]]:
    """Per command, the values that `avs.toml` in `folder` gives to its parameters, by the parameters' Python names.

    Numbers become texts, as on the command line. Raises FormatError for a file that is not TOML, for a key that no
    command has, and for a value that no command line could give.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # all of TOML's errors are; a number of 5,000 digits too
        raise FormatError(path.name, f"not TOML: {error}") from None
    values: dict[str, dict[str, Any]] = {command: {} for command in commands}
    for key, value in given.items():
        if isinstance(value, dict):
            if key not in commands:
                raise FormatError(path.name, f"[{key}] is no command of avs")
            both = commands[key].options | commands[key].arguments
            for name, own in value.items():
                if name not in both:
                    raise FormatError(path.name, f"[{key}] has no option or argument {name!r}")
                values[key][both[name]] = _plain(own, both[name], commands[key], f"[{key}] {name}")
    for key, value in given.items():
        if not isinstance(value, dict):
            takers = [command for command, parameters in commands.items() if key in parameters.options]
            if not takers:
                raise FormatError(path.name, f"no command has an option {key!r}")
            for command in takers:
                option = commands[command].options[key]
                values[command].setdefault(option, _plain(value, option, commands[command], key))
    return values


def _plain(value: Any, name: str, of: Parameters, where: str) -> Any:
    """A value as a command line gives it: a text, or true or false for a switch; lists for what takes many."""
    if name in of.many:
        return [_text(one, where) for one in (value if isinstance(value, list) else [value])]
    return value if name in of.switches and isinstance(value, bool) else _text(value, where)


def _text(value: Any, where: str) -> str:
    if isinstance(value, str) and "\0" not in value:
        return value
    if isinstance(value, int) and abs(value) < LARGEST:
        return str(value).lower() if isinstance(value, bool) else repr(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    raise FormatError(
        FILE, f"{where} can be a text, a number, true or false{', and no list' * isinstance(value, list)}"
    )


def environment_names(command: str, option: str) -> list[str]:
    """The environment variables that may give an option: the command's own first, then the shared one."""
    own, shared = (text.upper().replace("-", "_") for text in (f"avs_{command}_{option}", f"avs_{option}"))
    return [own, shared]
