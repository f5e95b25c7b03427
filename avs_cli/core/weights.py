"""Published weights: locating and downloading them, reading safetensors files, and filling modules.

Pickles are never read here, since they may execute code; `avs convert --trust-pickle` converts them to safetensors.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from avs_cli.errors import FormatError, UnavailableError

PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar"})
# Keys by which transformers takes a folder's own classes, and those by which it fetches compiled code from a hub.
CODE = frozenset({"auto_map", "trust_remote_code"})
KERNELS = frozenset({"_attn_implementation", "attn_implementation"})
Remember = Callable[[str, Callable[[], np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Source:
    """Where weights are published.

    gigabytes  to download; 0 when nobody has said
    repo       a Hugging Face repository; "" when they are files on a web server
    files      the repository's files that are needed, as patterns
    urls       the files on a web server; all are pickles
    trained    none are published for download: the user trains them
    """

    gigabytes: float
    repo: str = ""
    files: tuple[str, ...] = ("*.json", "*.txt", "*.safetensors")
    urls: tuple[str, ...] = ()
    trained: bool = False

    def commands(self) -> str:
        """The shell commands that put the weights where `locate` finds them."""
        if self.repo:
            return " ".join(["hf download", self.repo, *(f"--include {shlex.quote(name)}" for name in self.files)])
        return " && ".join(
            f"curl -fL --create-dirs -o {_quoted(_shelf(url))} {url} && "
            f"avs convert {_quoted(_shelf(url))} {_quoted(_safe(_shelf(url)))} --trust-pickle"
            for url in self.urls
        )

    def here(self) -> bool:
        """Whether the weights are on this machine."""
        return not self.trained and (not (self.repo or self.urls) or bool(_cached(self, local=True)))


class Files:
    """One model's weights on disk: a safetensors file, or a folder of them with their configuration."""

    def __init__(self, root: Path, tensors: list[Path]):
        self.root, self.tensors = root, tensors

    def json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None where there is no folder or no such file."""
        path = self.root / name
        if not self.root.is_dir() or not path.is_file():
            return None
        value = read_json(path)
        if not isinstance(value, dict):
            raise FormatError(path, "not a JSON object")
        return value

    @cached_property
    def header(self) -> dict[str, str]:
        """What the first file says of itself beside its tensors."""
        with _opened(self.tensors[0]) as file:
            return dict(file.metadata() or {})

    @cached_property
    def keys(self) -> frozenset[str]:
        """The names of all tensors."""
        found: set[str] = set()
        for path in self.tensors:
            with _opened(path) as file:
                found |= set(file.keys())
        return frozenset(found)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        found: dict[str, tuple[int, ...]] = {}
        for path in self.tensors:
            with _opened(path) as file:
                found |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        return found

    def read(self, keep: Callable[[str], bool] = lambda key: True) -> dict[str, torch.Tensor]:
        """The tensors whose names are to be kept; the others are not read from disk."""
        found: dict[str, torch.Tensor] = {}
        for path in self.tensors:
            with _opened(path) as file:
                found |= {key: file.get_tensor(key) for key in file.keys() if keep(key)}  # noqa: SIM118
        return found

    def digest(self, remember: Remember) -> str:
        """The SHA-256 of the weights; of several files, that of the list of theirs."""
        digests = [(path.name, digest(path, remember)) for path in self.tensors]
        if len(digests) == 1:
            return digests[0][1]
        return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in digests).encode()).hexdigest()


def locate(source: Source, path: str | None, model: str) -> Files:
    """The weights on disk: what the user gave, else the published ones, fetched from the hub when it can be reached.

    Raises UnavailableError with the commands that fetch them, FormatError for what holds no safetensors.
    """
    if path is not None:
        return given(Path(path))
    found = _cached(source)
    if not found:
        size = f" ({source.gigabytes:.2g} GB)" if source.gigabytes else ""
        raise UnavailableError(
            f"the weights of {model} are not on this machine{size}; give --weights PATH, or fetch them with: "
            f"{source.commands()}"
        )
    return Files(found[0].parent, found)


@contextmanager
def empty() -> Iterator[None]:
    """Modules made in here have parameters without storage, for `fill`; their buffers are whole.

    It spares a large model's random initialisation and half of the memory, and towers that nobody uses cost nothing.
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

    # To draw numbers for a tensor without storage, torch loads its compiler, which takes longer than torch itself.
    drawing = {name: value for name, value in vars(nn.init).items() if name.endswith("_") and callable(value)}
    module_class.register_parameter = on_meta
    vars(nn.init).update({name: unless_empty(value) for name, value in drawing.items()})
    try:
        yield
    finally:
        module_class.register_parameter = register
        vars(nn.init).update(drawing)


def fill(
    module: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path, device: str, only: tuple[str, ...] = ("",)
) -> None:
    """Give the module its weights, as float32 on the device: those of its tensors whose names begin with one of `only`.

    Tensors that the module lacks are left alone: classifiers, the halves that nobody uses. Raises FormatError when one
    that it has is missing or has another shape.
    """
    own = {key: tensor for key, tensor in module.state_dict().items() if key.startswith(only)}
    missing = [key for key in own if key not in tensors and not key.endswith("num_batches_tracked")]
    if missing:
        raise FormatError(
            path, f"not the weights of this model ({len(missing)} of {len(own)} tensors are missing, as {missing[0]!r})"
        )
    for key in own.keys() & tensors.keys():
        if own[key].shape != tensors[key].shape:
            shapes = f"{list(tensors[key].shape)}, not {list(own[key].shape)}"
            raise FormatError(path, f"not the weights of this model ({key!r} has shape {shapes})")
    taken = {key: tensors[key] for key in own if key in tensors}
    module.load_state_dict({key: _placed(value, device) for key, value in taken.items()}, strict=False, assign=True)
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and not buffer.is_meta:
                part._buffers[name] = buffer.to(device)


def _placed(tensor: torch.Tensor, device: str) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor.to(device)
    # Pictures come channels last; a convolution whose kernel does not is several times slower on the CPU.
    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return tensor.to(device, torch.float32).contiguous(memory_format=layout)


def given(path: Path) -> Files:
    """Weights of the user's: a safetensors file, or a folder of them.

    Raises FormatError for what holds no safetensors, and for a folder whose configuration brings code.
    """
    if path.is_dir():
        _refuse_code(path)
        found = sorted(path.glob("*.safetensors"))
        if not found:
            pickles = sorted(one for one in path.iterdir() if one.suffix in PICKLES)
            raise FormatError(path, f"no .safetensors in this folder{_cure(pickles[0]) if pickles else ''}")
        return Files(path, found)
    path.stat()
    if path.suffix in PICKLES:
        raise FormatError(path, f"a pickle, which may execute code{_cure(path)}")
    with _opened(path):
        return Files(path, [path])


def _refuse_code(folder: Path) -> None:
    """Raises FormatError for a configuration that would have libraries run code of the folder's or of a hub's."""
    for path in sorted(folder.glob("*config*.json")):
        for key, value in _settings(read_json(path)):
            kernel = key in KERNELS and isinstance(value, str) and "/" in value
            if value and (key in CODE or kernel):
                raise FormatError(
                    path, f"brings code of its own ({key}), which avs does not run; use weights without custom code"
                )


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a configuration with its value, at any depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()


def read_json(path: Path) -> Any:
    """What a JSON file holds; FormatError for what is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"not JSON ({error})") from None


def _cure(pickle: Path) -> str:
    return f"; convert it first: avs convert {_quoted(pickle)} {_quoted(_safe(pickle))} --trust-pickle"


def _cached(source: Source, local: bool = False) -> list[Path]:
    """The published files on this machine, fetched from a hub unless `local`; empty where one is missing."""
    if source.urls:
        found = [_safe(_shelf(url)) for url in source.urls]
        return found if all(path.is_file() for path in found) else []
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(source.repo, allow_patterns=list(source.files), local_files_only=local))
    except OSError as error:  # all of the hub's errors are: no network, no such repository, a licence not accepted
        if local or type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled"):
            return []
        said = str(error).strip().splitlines()[0]
        raise UnavailableError(f"{source.repo}: {said}; fetch it with: hf auth login && {source.commands()}") from None
    return sorted(folder.glob("*.safetensors"))


def _shelf(url: str) -> Path:
    """Where a file of a web server is kept: beside those that torch itself downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def _safe(pickle: Path) -> Path:
    return pickle.with_suffix(".safetensors")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise FormatError(path, f"not a safetensors file ({' '.join(str(error).split())})") from None


def digest(path: Path, remember: Remember) -> str:
    """The SHA-256 of a file in hex, computed once for as long as its size and time of change stay."""
    # The hub's cache names a file by its digest.
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return blob.name
    status = blob.stat()
    key = hashlib.sha256(repr((str(blob), status.st_size, status.st_mtime_ns)).encode()).hexdigest()[:16]

    def compute() -> np.ndarray:
        with blob.open("rb") as file:
            return np.frombuffer(hashlib.file_digest(file, "sha256").digest(), np.uint8)

    return remember(f"sha256-{key}", compute).tobytes().hex()
