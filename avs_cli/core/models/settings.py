"""Settings of registry entries in files: all are written, and those that are read are validated."""

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from avs_cli.core.registry import Registry
from avs_cli.errors import MismatchError

# Limits of settings that determine memory or time independently of the weights.
LARGEST = {"layers": 256, "frames": 4096, "words": 4096, "max_frames": 4096}
LARGEST_NUMBER = 1 << 20


def settings_for(what: str, kind: str, registry: Registry, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a registry entry, with defaults.

    Raises MismatchError for an unknown entry or setting, and for an invalid value.
    """
    if kind not in registry.names():
        raise MismatchError(f"unknown {what} {kind!r}; this version of avs has {', '.join(registry.names())}")
    build = registry.load(kind)
    return settings_of(build) | checked_settings(f"the {what} {kind!r}", given, build)


def checked_settings(who: str, given: Mapping[str, Any], build: Callable[..., Any]) -> dict[str, Any]:
    """The settings. Raises MismatchError for an unknown one, and for an invalid value."""
    hints, known = typing.get_type_hints(build), inspect.signature(build).parameters
    for name, value in given.items():
        if name not in known or name not in hints:
            raise MismatchError(f"{who} has no setting {name!r}")
        if not _fits(value, hints[name], LARGEST.get(name, LARGEST_NUMBER)):
            raise MismatchError(f"{who} cannot have {name} {value!r:.40}")
    return dict(given)


def _fits(value: Any, hint: Any, most: int) -> bool:
    """Whether a JSON value has an annotated type, and a number is in range."""
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_fits(value, member, most) for member in typing.get_args(hint))
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, typing.get_origin(hint) or hint)


def settings_of(build: Any) -> dict[str, Any]:
    """Every keyword parameter of a registry entry, bound or default."""
    bound = chosen_in(build)
    function = build.func if isinstance(build, partial) else build
    return {
        parameter.name: bound.get(parameter.name, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    }


def chosen_in(build: Any) -> dict[str, Any]:
    """The parameters of a registry entry that are bound by its spec."""
    return dict(build.keywords) if isinstance(build, partial) else {}
