"""Registries: each module of a package is an entry, named by its file and imported on demand.

An entry is selected by a spec: `name`, `name:variant` or `name:key=value,key=value`; `_` in names of files is `-`. Keys
are keyword parameters of the function of the entry, and their annotations are the types.
"""

import functools
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from avs_cli.errors import SpecError, UnknownName


@dataclass(frozen=True)
class Registry:
    """The modules of `package` as entries, each with a function named `entry`.

    Modules in `SHARED` of the package are not entries; `RENAMED` maps former names of entries to their names, for error
    messages.
    """

    kind: str
    package: str
    entry: str

    def names(self) -> list[str]:
        """The sorted names of all entries; `video_llama.py` is `video-llama`. Imports no entry."""
        package = importlib.import_module(self.package)
        shared = getattr(package, "SHARED", ())
        found = (module.name for module in pkgutil.iter_modules(package.__path__))
        return sorted(name.replace("_", "-") for name in found if not name.startswith("_") and name not in shared)

    def knows(self, spec: str) -> bool:
        """Whether a spec names an entry. Imports no entry."""
        return spec.partition(":")[0].replace("_", "-") in self.names()

    def load(self, spec: str) -> Callable[..., Any]:
        """The function of an entry, with the parameters of the spec bound.

        Raises UnknownName for an unknown name, SpecError for an unknown parameter or an invalid value.
        """
        function: Callable[..., Any] = getattr(self.module(spec), self.entry)
        name, _, rest = spec.partition(":")
        bound = _parameters(self.kind, spec, name.replace("_", "-"), rest, function)
        return functools.partial(function, **bound) if bound else function

    def of(self, spec: str) -> "Registry":
        """The registry that has the entry; see `RegistryPair`."""
        return self

    def module(self, spec: str) -> types.ModuleType:
        """The module of an entry."""
        name = spec.partition(":")[0].replace("_", "-")
        if renamed := getattr(importlib.import_module(self.package), "RENAMED", {}).get(name):
            raise SpecError(f"{self.kind} {name!r} is now called {renamed!r}")
        if name not in self.names():
            raise UnknownName(self.kind, name, self.names())
        return importlib.import_module(f"{self.package}.{name.replace('-', '_')}")


@dataclass(frozen=True)
class RegistryPair:
    """Two registries, whose entries have different names, as one; a spec of neither is looked for in the first."""

    first: Registry
    second: Registry

    @property
    def entry(self) -> str:
        """The function of all entries."""
        return self.first.entry

    def names(self) -> list[str]:
        """The sorted names of all entries. Imports no entry."""
        return sorted([*self.first.names(), *self.second.names()])

    def of(self, spec: str) -> Registry:
        """The registry that has the entry."""
        return self.second if self.second.knows(spec) else self.first

    def load(self, spec: str) -> Callable[..., Any]:
        """As that of `Registry`."""
        return self.of(spec).load(spec)


def _parameters(kind: str, spec: str, name: str, rest: str, function: Callable[..., Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(function)
    known = {
        parameter.name: hints.get(parameter.name, str)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    }
    bound: dict[str, Any] = {}
    for position, piece in enumerate(filter(None, rest.split(","))):
        key, equals, text = piece.partition("=")
        if not equals:
            if position or not known:
                raise SpecError(f"{kind} {spec!r}: write {name}:key=value; keys: {', '.join(known) or 'none'}")
            key, text = next(iter(known)), piece
        if key not in known:
            raise SpecError(f"{kind} {name!r} has no parameter {key!r}; it has: {', '.join(known) or 'none'}")
        bound[key] = _value(f"{kind} {spec!r}: {key}", text, known[key])
    return bound


def _value(where: str, text: str, hint: Any) -> Any:
    """`text` converted to the annotated type; for a union, to the first member that accepts it."""
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        for choice in choices:
            if text == str(choice):
                return choice
        raise SpecError(f"{where}: {text!r} is not one of {', '.join(map(str, choices))}")
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = typing.get_args(hint)
        if text == "none" and type(None) in members:
            return None
        hint = next(member for member in members if member is not type(None))
        return _value(where, text, hint)
    if hint is bool:
        if text not in ("true", "false"):
            raise SpecError(f"{where}: {text!r} is not true or false")
        return text == "true"
    try:
        return hint(text)
    except (TypeError, ValueError):
        raise SpecError(f"{where}: {text!r} is not {'an' if hint is int else 'a'} {hint.__name__}") from None
