"""Provenance of a store: everything that determines the values of its vectors, without time, place or user."""

import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avs_cli import __version__
from avs_cli.types import Pixels, Sampling

# In the provenance of a store of a head's vectors: the digest of the head's file.
HEAD = "head"


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of packages, by their names in pip; missing packages are omitted."""
    found = ((package, _version(package)) for package in sorted(packages))
    return {package: version for package, version in found if version is not None}


@functools.cache  # a package's metadata take a millisecond to read, and every store has the versions of some ten
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def digest(path: str | Path) -> str:
    """The SHA-256 of a file in hex; of a folder, of its files' relative names and digests, in order of name."""
    path = Path(path)
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        listing = "".join(f"{digest(path / name)}  {name}\n" for name in names)
        return hashlib.sha256(listing.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(
    feature: Mapping[str, Any],
    spec: str,
    pooling: str,
    dtype: str,
    packages: Mapping[str, str],
    pixels: Pixels | None = None,
    sampling: Sampling | None = None,
) -> dict[str, Any]:
    """The provenance of a store, ready for JSON: equal settings give equal text.

    feature   provenance of the encoder: model, digest of the weights, preprocessing
    spec      the model as given by the user
    packages  versions of the packages that computed the vectors
    pixels    of frames, with their `sampling`; both None for a store of texts
    """
    told: dict[str, Any] = {**feature, "spec": spec, "pooling": pooling, "dtype": dtype}
    if pixels is not None:
        told["pixels"] = asdict(pixels)
    if sampling is not None:
        told["sampling"] = asdict(sampling)
    return {key: told[key] for key in sorted(told)} | {"versions": {"avs": __version__, **packages}}
