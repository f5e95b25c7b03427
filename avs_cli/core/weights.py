"""Weights of networks: the interface to the layer that reads files, and loading into modules."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from avs_cli.errors import FormatError
from avs_cli.types import Source

# Batch normalisation counts batches, which older weights lack and nothing here reads.
_COUNT = "num_batches_tracked"

Remember = Callable[[str, Callable[[], np.ndarray]], np.ndarray]


class NetworkWeights(Protocol):
    """One model's weights: a safetensors file, or a folder of them with its configuration.

    root     the file or the folder, for messages
    sources  the files of the weights, and of the configurations beside them
    header   the metadata of the first file
    keys     the names of all tensors
    shapes   the shape of each tensor
    """

    @property
    def root(self) -> Path: ...
    @property
    def sources(self) -> tuple[Path, ...]: ...
    @property
    def header(self) -> dict[str, str]: ...
    @property
    def keys(self) -> frozenset[str]: ...
    @property
    def shapes(self) -> dict[str, tuple[int, ...]]: ...

    def only(self, name: str) -> "NetworkWeights | None":
        """The weights of one file of the folder; None where there is no folder or no such file."""
        ...

    def text(self, name: str) -> str | None:
        """A text file of the folder; None where there is no folder or no such file."""
        ...

    def json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None where there is no folder or no such file."""
        ...

    def read(self, keep: Callable[[str], bool] = ...) -> dict[str, torch.Tensor]:
        """The tensors with selected names; the others are not read."""
        ...

    def digest(self, remember: Remember) -> str:
        """The SHA-256 of the weights in hex."""
        ...

    def tokenizer(self) -> Any:
        """The folder's tokenizer, as transformers reads it. Raises FormatError where there is none."""
        ...

    def network(self) -> Any:
        """The folder's network, as transformers reads it. Raises FormatError where there is none."""
        ...

    def processor(self) -> Any:
        """What prepares texts, images and videos for the folder's network, as transformers reads it.

        Raises FormatError where there is none.
        """
        ...

    def generator(self, kind: torch.dtype) -> Any:
        """The folder's network from images and text to text, with weights of this type.

        Raises FormatError where there is none.
        """
        ...


class WeightReader(Protocol):
    """The interface of encoders to files, implemented by the module `avs_cli.io.weights`."""

    def locate(self, source: Source, path: str | None, model: str) -> NetworkWeights:
        """The weights at `path`, else the published ones. Raises UnavailableError with the commands that fetch them."""
        ...

    def given(self, path: Path) -> NetworkWeights:
        """The weights at `path`. Raises FormatError for other files than safetensors."""
        ...

    def pickled(self, path: Path) -> dict[str, torch.Tensor]:
        """The tensors of a PyTorch checkpoint, without its other objects."""
        ...

    def digest(self, path: Path, remember: Remember) -> str:
        """The SHA-256 of a file in hex."""
        ...

    def open_clip_tokenizer(self, name: str | Path, **settings: Any) -> Any:
        """The tokenizer of a model that open_clip knows, or of a folder. Raises OSError or ValueError for none."""
        ...

    def is_path(self, name: str) -> bool:
        """Whether a name is also that of a local file or folder, which a library would load instead."""
        ...


@contextmanager
def empty() -> Iterator[None]:
    """A context in which modules are created with parameters without storage, for `fill`; buffers are initialised.

    This avoids the random initialisation of large models and half of the memory; unused towers cost nothing.
    """
    module_class: Any = nn.Module
    register = module_class.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, parameter)

    def unless_empty(initialise: Any) -> Any:
        def fill_in(*arguments: Any, **named: Any) -> Any:
            tensor = arguments[0] if arguments else named["tensor"]
            return tensor if tensor.is_meta else initialise(*arguments, **named)

        return fill_in

    # For random numbers on the meta device torch imports its compiler, which takes longer than importing torch.
    drawing = {name: value for name, value in vars(nn.init).items() if name.endswith("_") and callable(value)}
    module_class.register_parameter = on_meta
    vars(nn.init).update({name: unless_empty(value) for name, value in drawing.items()})
    try:
        yield
    finally:
        module_class.register_parameter = register
        vars(nn.init).update(drawing)


class Misfit(NamedTuple):
    """A tensor that a model and weights for it do not share.

    key    its name
    own    its shape in the model; None where the model has none of this name
    given  its shape in the weights; None where they lack it
    """

    key: str
    own: tuple[int, ...] | None
    given: tuple[int, ...] | None


def shapes_of(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def misfits(own: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> list[Misfit]:
    """What is wrong with weights for a model, by the shapes of both: tensors without a counterpart, then other shapes.

    Empty where `load_state_dict` would take them. Each of the two kinds is sorted by name.
    """
    pairs = [Misfit(key, own.get(key), given.get(key)) for key in sorted(own.keys() | given.keys())]
    wrong = [pair for pair in pairs if pair.own != pair.given]
    return sorted(wrong, key=lambda pair: None not in pair)


def fill(
    module: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path, device: str, only: tuple[str, ...] = ("",)
) -> None:
    """Load weights into a module, as float32 on the device: tensors whose names begin with one of `only`.

    Other tensors, such as classifiers, are ignored. Raises FormatError for a tensor of the module that is missing or
    has another shape.
    """
    own = {key: tensor for key, tensor in module.state_dict().items() if key.startswith(only)}
    taken = {key: tensors[key] for key in own if key in tensors}
    needed = {key: shape for key, shape in shapes_of(own).items() if key in taken or not key.endswith(_COUNT)}
    wrong = misfits(needed, shapes_of(taken))
    if missing := [one.key for one in wrong if one.given is None]:
        raise FormatError(
            path, f"not the weights of this model ({len(missing)} of {len(own)} tensors are missing, as {missing[0]!r})"
        )
    for key, expected, given in wrong:
        shapes = f"{list(given or ())}, not {list(expected or ())}"
        raise FormatError(path, f"not the weights of this model ({key!r} has shape {shapes})")
    module.load_state_dict({key: _placed(value, device) for key, value in taken.items()}, strict=False, assign=True)
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and not buffer.is_meta:
                part._buffers[name] = buffer.to(device)


def _placed(tensor: torch.Tensor, device: str) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor.to(device)
    # Inputs are channels last; kernels in another memory format are several times slower on the CPU.
    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return tensor.to(device, torch.float32).contiguous(memory_format=layout)
