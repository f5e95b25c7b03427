"""Head files: safetensors with the weights, and a JSON description of the head in the header. They contain no code.

header   __metadata__: {"avs": JSON of {"format": "avs-head", "format_version": 1, "head": …}
tensors  the weights; in a file to resume from, also the state of the training, as "training/…"

`HEAD` below is the schema of "head"; settings of each kind of head are checked in core. All weights are finite.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError, safe_open

from avs_cli.errors import FormatError
from avs_cli.io.bounded_json import parsed

if TYPE_CHECKING:
    import torch

FORMAT = "avs-head"
VERSION = 1
TRAINING = "training/"
# The limit of safetensors.
HEADER_BYTES = 100_000_000

# Schemas: a type; a range of integers; [of all items]; {key: of its value}, "key?" is optional; (of all values,).
NUMBER, COUNT, DIM = float, range(1 << 63), range(1, (1 << 20) + 1)
FEATURE = {"name": str, "dim": DIM, "frames": bool, "provenance?": dict}
ENCODER = {"name": str, "settings": dict, "words": [str], "word_dim": DIM}
COST = {"products?": COUNT, "gates?": COUNT, "stored?": COUNT}
HEAD = {
    "kind": str,
    "settings": dict,
    "videos": [FEATURE],
    "texts": [FEATURE],
    "encoders": [ENCODER],
    "weights?": ((NUMBER,),),
    "teachers?": (COST,),
    "training?": dict,
    "state?": {
        "log": {"rows": [(NUMBER,)], "best": NUMBER, "best_epoch": range(-1, 1 << 63)},
        "schedule": (NUMBER,),
        "scaler": dict,
    },
}
NAMES = {str: "a string", bool: "true or false", dict: "an object"}


class Checkpoint(NamedTuple):
    """Contents of a head file.

    head      the description that rebuilds the head
    weights   its state dict
    training  tensors that only a resumed training needs
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
    """Write a head file atomically; equal contents give equal bytes."""
    from avs_cli.io.tensors import save  # loads torch, which reading a header does not need

    tensors = dict(weights) | {f"{TRAINING}{name}": value for name, value in (training or {}).items()}
    # One key, since safetensors writes several in random order.
    told = {"format": FORMAT, "format_version": VERSION, "head": head}
    header = {"avs": json.dumps(told, sort_keys=True, ensure_ascii=False)}
    save(path, {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, header)


def is_head(path: str | Path) -> bool:
    """Whether a file begins like safetensors: eight bytes of length, then JSON."""
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
    except (SafetensorError, ValueError) as error:
        raise FormatError(path, f"not safetensors ({error})") from None


def load_head(path: str | Path, training: bool = False) -> Checkpoint:
    """Read a head file, on request with the state of the training. Raises FormatError for other files."""
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    try:
        with safe_open(str(path), "pt") as file:
            header = parsed((file.metadata() or {}).get("avs", "{}"), HEADER_BYTES)
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise FormatError(path, "a safetensors file, but not a head of avs")
            if header.get("format_version") != VERSION:
                raise FormatError(
                    path, f"format version {header.get('format_version')}; this version of avs reads {VERSION}"
                )
            head: Any = header.get("head")
            if fault := next(_faults(head, HEAD, "its header"), None):
                raise FormatError(path, f"not a head file ({fault})")
            for feature in (*head["videos"], *head["texts"]):
                feature.setdefault("provenance", {})
            names = file.keys()
            weights = {name: file.get_tensor(name) for name in names if not name.startswith(TRAINING)}
            state = {n.removeprefix(TRAINING): file.get_tensor(n) for n in names if training and n.startswith(TRAINING)}
    except (SafetensorError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise FormatError(path, f"not a head file ({' '.join(str(error).split())})") from None
    for name, value in weights.items():
        if value.is_floating_point() and not is_finite(value):
            raise FormatError(path, f"weight {name!r} is NaN or infinite")
    return Checkpoint(head, weights, state)


def is_finite(tensor: "torch.Tensor") -> bool:
    """Whether all values of a tensor are finite; `torch.isfinite` does not support 8-bit floats."""
    return bool((tensor if tensor.itemsize > 1 else tensor.float()).isfinite().all())


def _faults(value: Any, wanted: Any, where: str) -> Iterator[str]:
    """Descriptions of where a header violates its schema."""
    if isinstance(wanted, range):
        if not isinstance(value, int) or isinstance(value, bool) or value not in wanted:
            yield f"{where} is {value!r:.40}, not a whole number from {wanted.start} to {wanted.stop - 1}"
    elif isinstance(wanted, dict | tuple):
        if not isinstance(value, dict):
            yield f"{where} is {value!r:.40}, not an object"
            return
        known = dict.fromkeys(value, wanted[0]) if isinstance(wanted, tuple) else wanted
        for key, inner in known.items():
            name = key if isinstance(wanted, tuple) else key.removesuffix("?")
            if name in value:
                yield from _faults(value[name], inner, f"{where}: {name}")
            elif name == key:
                yield f"{where} lacks {name!r}"
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            yield f"{where} is {value!r:.40}, not a list"
            return
        for place, one in enumerate(value):
            yield from _faults(one, wanted[0], f"{where} {place + 1}")
    elif wanted is NUMBER:
        if not isinstance(value, int | float) or isinstance(value, bool):
            yield f"{where} is {value!r:.40}, not a number"
    elif not isinstance(value, wanted):
        yield f"{where} is {value!r:.40}, not {NAMES[wanted]}"
