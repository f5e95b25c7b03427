"""Files of models: those of a repository of the Hugging Face hub or of a folder, and digests; needs no torch."""

import hashlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np

from avs_cli.errors import FormatError, UnavailableError
from avs_cli.types import Source

Remember = Callable[[str, Callable[[], np.ndarray]], np.ndarray]


def command(source: Source) -> str:
    """The shell command that downloads the files of a repository to where `snapshot` finds them."""
    return " ".join(["hf download", source.repo, *(f"--include {shlex.quote(name)}" for name in source.files)])


def snapshot(source: Source, local: bool = False) -> Path | None:
    """The folder of the files of a repository, downloaded unless `local`; None if the hub cannot be reached.

    Raises UnavailableError for what the hub refuses.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(source.repo, allow_patterns=list(source.files), local_files_only=local))
    except HFValidationError:
        raise UnavailableError(
            f"{source.repo}: no such folder, and not a repository of the hub such as OWNER/NAME"
        ) from None
    except OSError as error:  # base class of the hub's errors: no network, no such repository, a licence not accepted
        if local or type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled"):
            return None
        reason = str(error).strip().splitlines()[0]
        raise UnavailableError(f"{source.repo}: {reason}; fetch it with: hf auth login && {command(source)}") from None


def folder(source: Source, path: str | None, model: str) -> dict[str, Path]:
    """The files of a model by their names: those in the folder `path`, else the published ones, downloaded if needed.

    Raises UnavailableError with the command that downloads them, FormatError for a path that is no folder.
    """
    place = Path(path) if path is not None else snapshot(source)
    if place is None:
        raise missing(source, model, command(source))
    if not place.is_dir():
        place.stat()
        raise FormatError(place, f"a file, and {model} needs a folder")
    return {one.name: one for one in sorted(place.iterdir())}


def missing(source: Source, model: str, cure: str) -> UnavailableError:
    """The error on a model that is not on this machine; `cure` are the commands that fetch it."""
    size = f" ({source.gigabytes:.2g} GB)" if source.gigabytes else ""
    return UnavailableError(
        f"the weights of {model} are not on this machine{size}; give --weights PATH, or fetch them with: {cure}"
    )


def digest(path: Path, remember: Remember) -> str:
    """The SHA-256 of a file in hex, cached while its size and modification time stay the same."""
    # Files in the cache of the hub are named by their digest.
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return blob.name
    status = blob.stat()
    key = hashlib.sha256(repr((str(blob), status.st_size, status.st_mtime_ns)).encode()).hexdigest()[:16]

    def compute() -> np.ndarray:
        with blob.open("rb") as file:
            return np.frombuffer(hashlib.file_digest(file, "sha256").digest(), np.uint8)

    return remember(f"sha256-{key}", compute).tobytes().hex()
