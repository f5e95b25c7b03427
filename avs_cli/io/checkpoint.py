"""Head files: safetensors with the weights and, in the header, the JSON that rebuilds the head. Nothing in one can run.

header   __metadata__: {"avs": JSON of {"format": "avs-head", "format_version": 1, "head": …}
tensors  the weights under their names; in a file to resume from, the state of training under "training/…"
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError, safe_open

from avs_cli.errors import FormatError
from avs_cli.io.tensors import save

if TYPE_CHECKING:
    import torch

FORMAT = "avs-head"
VERSION = 1
TRAINING = "training/"


class Checkpoint(NamedTuple):
    """What a head file holds.

    head      the description that rebuilds the head
    weights   its state
    training  arrays that only a resumed training needs
    """

    head: dict[str, Any]
    weights: "dict[str, torch.Tensor]"
    training: "dict[str, torch.Tensor]"


def save_head(
    path: str | Path,
    head: Mapping[str, Any],
    weights: "Mapping[str, torch.Tensor]",
    training: "Mapping[str, torch.Tensor] | None" = None,
) -> None:
    """Write a head file, whole or not at all; equal contents give equal bytes."""

    tensors = dict(weights) | {f"{TRAINING}{name}": value for name, value in (training or {}).items()}
    # One key, since safetensors writes several in an order that changes from run to run.
    told = {"format": FORMAT, "format_version": VERSION, "head": head}
    header = {"avs": json.dumps(told, sort_keys=True, ensure_ascii=False)}
    save(path, {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, header)


def is_head(path: str | Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then JSON."""
    with Path(path).open("rb") as file:
        return file.read(9)[8:] == b"{"


def written_here(path: str | Path) -> bool:
    """Whether a safetensors file has the header of a head file."""
    try:
        with safe_open(str(path), "pt") as file:
            return "avs" in (file.metadata() or {})
    except SafetensorError as error:
        raise FormatError(path, f"not safetensors ({error})") from None


def tensor_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file. Raises FormatError for another file."""
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    try:
        with safe_open(str(path), "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FormatError(path, f"not safetensors ({error})") from None


def load_head(path: str | Path, training: bool = False) -> Checkpoint:
    """Read a head file, with the state of training if it is wanted; raises FormatError for what is none."""
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {}).get("avs", "{}"))
            if header.get("format") != FORMAT:
                raise FormatError(path, "safetensors, but not a head of avs")
            if header.get("format_version") != VERSION:
                raise FormatError(path, f"format version {header.get('format_version')}; this avs reads {VERSION}")
            names = file.keys()
            weights = {name: file.get_tensor(name) for name in names if not name.startswith(TRAINING)}
            state = {n.removeprefix(TRAINING): file.get_tensor(n) for n in names if training and n.startswith(TRAINING)}
            return Checkpoint(header["head"], weights, state)
    except (SafetensorError, KeyError, ValueError) as error:
        raise FormatError(path, f"not a head file ({error})") from None
