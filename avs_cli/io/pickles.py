"""Conversion of PyTorch checkpoints, which are pickles, to safetensors. Reading one may execute code."""

import hashlib
import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from avs_cli.errors import FormatError
from avs_cli.io.tensors import save

# Keys under which training scripts store the weights, beside optimizer, epoch and configuration.
HOLDERS = ("state_dict", "model_state_dict", "model_state", "model", "module")


# Nesting levels of a configuration that are read.
DEPTH = 6


class Record:
    """Stand-in for an object of a class that is not installed: its attributes, without methods."""

    def __init__(self, *arguments: object, **named: object):
        self.__dict__.update(named)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, key: object, value: object) -> None:
        self.__dict__[str(key)] = value

    def append(self, value: object) -> None:
        """Ignore an item of a list subclass."""

    def extend(self, values: object) -> None:
        """Ignore items of a list subclass."""


class _Unpickler(pickle.Unpickler):
    """Loads objects of classes that are not installed, such as those of training scripts, as records."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name, (Record,), {})


class _Lenient:
    """The interface of a pickle module that torch needs."""

    Unpickler = _Unpickler
    load = staticmethod(lambda file, **_: _Unpickler(file).load())


class Pickled(NamedTuple):
    """Contents of a checkpoint.

    tensors  by name; those in lists are prefixed with 0., 1., …
    beside   other entries: numbers, strings, lists, and objects as mappings, with the name of their class under
             "class"
    """

    tensors: dict[str, torch.Tensor]
    beside: dict[str, Any]


def read_pickle(path: str | Path) -> Pickled:
    """The tensors of a checkpoint by name, and its other entries.

    Raises FormatError for a file without tensors, and for one that differs from the checksum in its name
    (`-1a2b3c4d.pth`).
    """
    path = Path(path)
    _check_name(path)
    found = _loaded(path)
    tensors = _tensors(found)
    if not tensors:
        raise FormatError(path, "contains no tensors")
    beside = found.items() if isinstance(found, Mapping) else ()
    return Pickled(tensors, {str(key): _plain(value, DEPTH) for key, value in beside if key not in HOLDERS})


def write_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors to a safetensors file."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        # The format does not support tensors that share memory.
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        own[name] = tensor.detach().contiguous().clone() if shared else tensor.detach().contiguous()
    save(path, own)


def _check_name(path: Path) -> None:
    """Check a file against the start of its SHA-256 in its name, as torch and OpenMMLab publish it."""
    promised = re.search(r"-([0-9a-f]{8,64})$", path.stem)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest() if promised else ""
    if promised and not found.startswith(promised[1]):
        raise FormatError(
            path, f"not the published file: its SHA-256 begins with {found[:8]}, its name says {promised[1]}"
        )


def _loaded(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                scripted = any(name.endswith("/constants.pkl") for name in archive.namelist())
            if scripted:
                return torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # has more than tensors: the user has given --trust-pickle
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_Lenient)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        said = " ".join(str(error).split(".")[0].split())
        raise FormatError(path, f"not a PyTorch checkpoint ({said or 'it ends early'})") from None


def _tensors(found: Any) -> dict[str, torch.Tensor]:
    if isinstance(found, torch.nn.Module):
        found = found.state_dict()
    if not isinstance(found, Mapping):
        return {}
    for holder in HOLDERS:
        held = found.get(holder)
        if isinstance(held, Mapping | torch.nn.Module):
            return _tensors(held)
        if isinstance(held, list):
            return {f"{i}.{name}": tensor for i, one in enumerate(held) for name, tensor in _tensors(one).items()}
    return {str(name): tensor for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}


def _plain(value: Any, depth: int) -> Any:
    """A value with objects as mappings, and with None for tensors and for levels below `depth`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if not depth or isinstance(value, torch.Tensor):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, depth - 1) for one in value]
    if isinstance(value, Record | Namespace):
        return {"class": type(value).__name__} | {key: _plain(one, depth - 1) for key, one in vars(value).items()}
    return None
