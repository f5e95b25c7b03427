"""Outputs never overwrite inputs: which parameters name outputs and inputs, and whether two are the same file.

An output is marked in its annotation, `Annotated[str, typer.Option(...), WRITES]`. An input is known by its metavar,
which says what kind of thing a parameter names.
"""

import glob
import inspect
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from avs_cli.errors import SpecError


@dataclass(frozen=True)
class Writes:
    """Marks a parameter that names a file or folder to write; `beside` are the endings of what is written with it."""

    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class ByHand:
    """Marks an option that grants trust: it is accepted on the command line only."""


WRITES = Writes()
BY_HAND = ByHand()

# The words of metavars that name something to read, and those that name nothing on disk.
READ = frozenset(
    {"CAPTIONS", "FILE", "FOLDER", "GALLERY", "HEAD", "IN", "INPUT", "PATH", "QRELS", "RUN", "STORE", "TABLE", "VIDEO"}
    | {"PICTURE", "TOPICS", "WITH"}
)
PATTERN = frozenset("*?[")


class Named(NamedTuple):
    """A value on the command line that names a file or folder, and what its parameter is called there."""

    parameter: str
    value: str


def marks(function: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Parameter -> the metadata of its annotation."""
    annotated = inspect.signature(function, eval_str=True).parameters
    return {name: getattr(parameter.annotation, "__metadata__", ()) for name, parameter in annotated.items()}


def mark_of(found: Iterable[Any]) -> Writes | None:
    """The mark of an output, the last of several, if there is one."""
    return next((mark for mark in reversed(tuple(found)) if isinstance(mark, Writes)), None)


def words(metavar: str | None) -> set[str]:
    """`STORE|NAME` or `HEAD|NAME=FILE` or `RUN...`, taken apart."""
    text = metavar or ""
    for character in "|=.,:[]/":
        text = text.replace(character, " ")
    return set(text.split())


def reads(metavar: str | None) -> bool:
    """Whether values of this kind name something to read."""
    return bool(words(metavar) & READ)


def check(written: Iterable[tuple[Named, Writes]], read: Iterable[Named]) -> None:
    """Raises SpecError when an output is also an input, under any name, or two outputs are the same file.

    Outputs of several files may share a folder.
    """
    inputs = {one: named for named in read for path in _existing(named.value) if (one := _identity(path)) is not None}
    outputs: dict[object, Named] = {}
    for named, mark in written:
        if named.value in ("", "-"):
            continue
        path = _whole(named.value)
        for each in (path, *(f"{path}{ending}" for ending in mark.beside)):
            one = _identity(each)
            if one is None:
                continue
            if one in inputs:
                source = inputs[one]
                raise SpecError(
                    f"{named.parameter} would overwrite {each}, which is read as {source.parameter}; "
                    "give it another name"
                )
            if one in outputs and outputs[one] != named and not (each.endswith("/") or os.path.isdir(each)):
                raise SpecError(
                    f"{each} is written by both {outputs[one].parameter} and {named.parameter}; give two files"
                )
            outputs[one] = named


def spare(output: str, read: Iterable[str]) -> None:
    """`check` for one file to write and the files that a folder, a pattern or a table has led to."""
    check([(Named("--output", output), WRITES)], (Named("an input", path) for path in read))


def outside(value: str, folder: Path, mark: Writes) -> bool:
    """Whether an output would be written outside a folder, through a link too."""
    root = folder.resolve()
    for given in {value, _whole(value)}:
        path = folder / given
        if Path(given).is_absolute() or ".." in Path(given).parts:
            return True
        inside = path.iterdir() if path.is_dir() else (Path(f"{path}{ending}") for ending in mark.beside)
        if not all(each.resolve().is_relative_to(root) for each in (path, *inside)):
            return True
    return False


def _whole(value: str) -> str:
    """The file of FILE::FEATURE."""
    return value.partition("::")[0]


def _existing(value: str) -> Iterator[str]:
    """The files and folders that a value may mean: itself, FILE::FEATURE, NAME=FILE, FILE.csv:COLUMN, a pattern."""
    if value in ("", "-"):
        return
    several = (value, _whole(value), value.partition("=")[2], value.rpartition(":")[0])
    found = [one for one in dict.fromkeys(several) if one and "\0" not in one and os.path.lexists(one)]
    yield from found or (glob.iglob(value) if PATTERN & set(value) else ())


def _identity(path: str) -> object:
    """What is equal for two names of one file; None for pipes and devices, which anyone may share."""
    if "\0" in path:
        return None  # no file is called so
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return None
    return status.st_dev, status.st_ino
