"""Published PyTorch checkpoints, which are pickles, into safetensors files. Reading one can run any code it holds."""

import hashlib
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from avs_cli.errors import FormatError, UnavailableError
from avs_cli.io.atomic import replacing

# Where trainers keep the weights among optimizer, epoch and configuration.
HOLDERS = ("state_dict", "model_state_dict", "model_state", "model", "module")


def read_pickle(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, whatever its trainer put around them.

    Raises FormatError for what holds none, or differs from the checksum that its name carries (`-1a2b3c4d.pth`);
    UnavailableError for one that needs a package to be read.
    """
    path = Path(path)
    _check_name(path)
    tensors = _tensors(_loaded(path))
    if not tensors:
        raise FormatError(path, "no tensors in this checkpoint")
    return tensors


def write_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Keep the tensors as a safetensors file, under their names."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        # The format holds no two names of one memory.
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        own[name] = tensor.detach().contiguous().clone() if shared else tensor.detach().contiguous()
    with replacing(path) as part:
        save_file(own, part)


def _check_name(path: Path) -> None:
    """torch's and OpenMMLab's servers put the beginning of a file's SHA-256 into its name."""
    promised = re.search(r"-([0-9a-f]{8,64})$", path.stem)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest() if promised else ""
    if promised and not found.startswith(promised[1]):
        raise FormatError(
            path, f"not the published file: its SHA-256 begins with {found[:8]}, its name promises {promised[1]}"
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
        except pickle.UnpicklingError:  # holds more than tensors: the user has said to trust it
            return torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise UnavailableError(f"{path}: needs the package {error.name} to be read; install it and try again") from None
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
        if isinstance(found.get(holder), Mapping | torch.nn.Module):
            return _tensors(found[holder])
    return {str(name): tensor for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}
