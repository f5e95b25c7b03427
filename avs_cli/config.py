"""Options from `avs.toml` and the environment, below the command line and above the defaults.

`avs.toml` lies in the working folder. A key at the top gives an option of that name to every command that has one; a
key in a table named for a command is for that command alone and may give its arguments too:

    device = "cpu"
    [extract]
    inputs = ["videos"]
    output = "videos.h5"

In the environment, `AVS_FUSE_QRELS` is for one command and `AVS_QRELS` for all of them.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from avs_cli.errors import FormatError

FILE = "avs.toml"


class Parameters(NamedTuple):
    """A command's parameters: the name that users write -> the name in Python; `many` are those that take a list."""

    options: dict[str, str]
    arguments: dict[str, str]
    many: frozenset[str] = frozenset()


def defaults(commands: Mapping[str, Parameters], folder: Path) -> dict[str, dict[str, Any]]:
    """Per command, the values that `avs.toml` in `folder` gives to its parameters, by the parameters' Python names.

    Raises FormatError for a file that is not TOML and for a key that no command has.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
                values[key][both[name]] = own
    for key, value in given.items():
        if not isinstance(value, dict):
            takers = [command for command, parameters in commands.items() if key in parameters.options]
            if not takers:
                raise FormatError(path.name, f"no command has an option {key!r}")
            for command in takers:
                values[command].setdefault(commands[command].options[key], value)
    for command, found in values.items():
        for name in commands[command].many & {name for name, value in found.items() if isinstance(value, str)}:
            found[name] = [found[name]]
    return values


def environment_names(command: str, option: str) -> list[str]:
    """The environment variables that may give an option: the command's own first, then the shared one."""
    own, shared = (text.upper().replace("-", "_") for text in (f"avs_{command}_{option}", f"avs_{option}"))
    return [own, shared]
