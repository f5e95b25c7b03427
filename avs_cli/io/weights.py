"""Published weights: locating and downloading them, and reading them from safetensors files and their folders.

Of pickles, which may execute code, only tensors are ever read here; `avs convert --trust-pickle` converts others to
safetensors. This module is what `core.weights.WeightReader` asks for.
"""

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from avs_cli.errors import FormatError
from avs_cli.io.hub import Remember, command, missing, snapshot
from avs_cli.io.hub import digest as digest
from avs_cli.types import Source

PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar"})
# Keys with which transformers would run code from the folder, or download compiled code from a hub.
CODE = frozenset({"auto_map", "trust_remote_code"})
KERNELS = frozenset({"_attn_implementation", "attn_implementation"})


def commands(source: Source) -> str:
    """The shell commands that put published weights where `locate` finds them."""
    if source.repo:
        return command(source)
    return " && ".join(
        f"curl -fL --create-dirs -o {_quoted(_shelf(url))} {url} && "
        f"avs convert {_quoted(_shelf(url))} {_quoted(_safe(_shelf(url)))} --trust-pickle"
        for url in source.urls
    )


def here(source: Source) -> bool:
    """Whether published weights are on this machine."""
    return not source.trained and (not (source.repo or source.urls) or bool(_cached(source, local=True)))


class WeightFiles:
    """One model's weights on disk: a safetensors file, or a folder of them with their configuration."""

    def __init__(self, root: Path, tensors: list[Path]):
        self.root, self.tensors = root, tensors

    @property
    def sources(self) -> tuple[Path, ...]:
        """The weight files and their configurations."""
        return (*self.tensors, *(sorted(self.root.glob("*.json")) if self.root.is_dir() else ()))

    def only(self, name: str) -> "WeightFiles | None":
        """The weights of one file of the folder; None where there is no folder or no such file."""
        path = self.root / name
        return WeightFiles(self.root, [path]) if path.is_file() else None

    def text(self, name: str) -> str | None:
        """A text file of the folder; None where there is no folder or no such file. Raises FormatError for no UTF-8."""
        path = self.root / name
        if not self.root.is_dir() or not path.is_file():
            return None
        try:
            return path.read_text(encoding="utf-8")
        except ValueError:
            raise FormatError(path, "not UTF-8") from None

    def json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None where there is no folder or no such file."""
        path = self.root / name
        if not self.root.is_dir() or not path.is_file():
            return None
        value = _read_json(path)
        if not isinstance(value, dict):
            raise FormatError(path, "not a JSON object")
        return value

    @cached_property
    def header(self) -> dict[str, str]:
        """The metadata of the first file."""
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
        """The tensors with selected names; the others are not read from disk."""
        found: dict[str, torch.Tensor] = {}
        for path in self.tensors:
            with _opened(path) as file:
                found |= {key: file.get_tensor(key) for key in file.keys() if keep(key)}  # noqa: SIM118
        return found

    def digest(self, remember: Remember) -> str:
        """The SHA-256 of the weights; of several files, that of the list of their digests."""
        digests = [(path.name, digest(path, remember)) for path in self.tensors]
        if len(digests) == 1:
            return digests[0][1]
        return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in digests).encode()).hexdigest()

    def tokenizer(self) -> Any:
        """The tokenizer of the folder; its code is never run. Raises FormatError if transformers cannot load it."""
        from transformers import AutoTokenizer

        return self._by_transformers(AutoTokenizer, "tokenizer")

    def network(self) -> Any:
        """The network of the folder, in float32; its code is never executed.

        Raises FormatError if transformers cannot load it.
        """
        from transformers import AutoModel

        return self._network(AutoModel, torch.float32).eval()

    def processor(self) -> Any:
        """What prepares texts, images and videos for the network of the folder; its code is never run.

        Raises FormatError if transformers cannot load it.
        """
        from transformers import AutoProcessor

        return self._by_transformers(AutoProcessor, "processor")

    def generator(self, kind: torch.dtype) -> Any:
        """The network of the folder from images and text to text, with weights of this type; its code is never run.

        Raises FormatError if transformers cannot load it, or would fill in tensors that are missing.
        """
        from transformers import AutoModelForImageTextToText

        network, found = self._network(AutoModelForImageTextToText, kind, output_loading_info=True)
        if lacking := sorted(found["missing_keys"]):
            raise FormatError(self.root, f"{len(lacking)} tensors are missing, as {lacking[0]!r}")
        return network.eval()

    def _network(self, reader: Any, kind: torch.dtype, **settings: Any) -> Any:
        from transformers.utils import logging

        logging.disable_progress_bar()
        return self._by_transformers(reader, "network", dtype=kind, use_safetensors=True, **settings)

    def language_model(self, device: str) -> Any:
        """The causal language model of the folder, on a device; its code is never executed.

        In float32 on the CPU, and in the type of its weights on a GPU. Raises FormatError if transformers cannot load
        it.
        """
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        dtype = torch.float32 if device == "cpu" else "auto"
        found = self._by_transformers(AutoModelForCausalLM, "language model", dtype=dtype, use_safetensors=True)
        return found.eval().to(device)

    def _by_transformers(self, reader: Any, what: str, **settings: Any) -> Any:
        try:
            # The folder is local; transformers would still ask a hub about it.
            return reader.from_pretrained(self.root, local_files_only=True, trust_remote_code=False, **settings)
        except (AttributeError, ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split(". ")[0].split())
            raise FormatError(self.root, f"no {what} that transformers can read ({reason})") from None


def locate(source: Source, path: str | None, model: str) -> WeightFiles:
    """The weights on disk: those of the user, else the published ones, downloaded if the hub can be reached.

    Raises UnavailableError with the commands that download them, FormatError for files other than safetensors.
    """
    if path is not None:
        return given(Path(path))
    found = _cached(source)
    if not found:
        raise missing(source, model, commands(source))
    return WeightFiles(found[0].parent, found)


def given(path: Path) -> WeightFiles:
    """Local weights: a safetensors file, or a folder with such files.

    Raises FormatError for other files, and for a folder whose configuration refers to code.
    """
    if path.is_dir():
        _refuse_code(path)
        found = sorted(path.glob("*.safetensors"))
        if not found:
            pickles = sorted(one for one in path.iterdir() if one.suffix in PICKLES)
            raise FormatError(path, f"no .safetensors in this folder{_cure(pickles[0]) if pickles else ''}")
        return WeightFiles(path, found)
    path.stat()
    if path.suffix in PICKLES:
        raise FormatError(path, f"a pickle, which may execute code{_cure(path)}")
    with _opened(path):
        return WeightFiles(path, [path])


def pickled(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a PyTorch checkpoint, without its other objects. Raises FormatError for other files."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # damaged pickles raise all kinds of errors
        reason = (str(error).splitlines() or [""])[0]
        raise FormatError(path, f"not tensors that torch saved ({reason})") from None
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise FormatError(path, "not tensors by their names")
    return found


def open_clip_tokenizer(name: str | Path, **settings: Any) -> Any:
    """The tokenizer of a model that open_clip knows, or of a folder. Raises OSError or ValueError for none.

    settings  of the tokenizer; tokenizers of transformers are downloaded from the hub if needed
    """
    import open_clip

    return open_clip.get_tokenizer(f"local-dir:{name}" if isinstance(name, Path) else name, **settings)


def is_path(name: str) -> bool:
    """Whether a name is also that of a local file or folder, which a library would load instead."""
    return Path(name).exists()


def _refuse_code(folder: Path) -> None:
    """Raises FormatError for a configuration with which libraries would execute code of the folder or of a hub."""
    for path in sorted(folder.glob("*config*.json")):
        for key, value in _settings(_read_json(path)):
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


def _read_json(path: Path) -> Any:
    """The content of a JSON file. Raises FormatError for invalid JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"not JSON ({error})") from None


def _cure(pickle: Path) -> str:
    return f"; convert it first: avs convert {_quoted(pickle)} {_quoted(_safe(pickle))} --trust-pickle"


def _cached(source: Source, local: bool = False) -> list[Path]:
    """The published files on disk, downloaded from a hub unless `local`; empty if one is missing."""
    if source.urls:
        found = [_safe(_shelf(url)) for url in source.urls]
        return found if all(path.is_file() for path in found) else []
    place = snapshot(source, local)
    return sorted(place.glob("*.safetensors")) if place else []


def _shelf(url: str) -> Path:
    """The cache path of a file from a web server: the folder of torch.hub."""
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
