"""Arrays cached between runs, in the cache folder of the user."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from avs_cli.io.atomic import replacing


def folder() -> Path:
    """`$AVS_CACHE`, else `avs` in the system's folder for caches: `$XDG_CACHE_HOME` or `~/.cache` on Linux."""
    if own := os.environ.get("AVS_CACHE"):
        return Path(own)
    from platformdirs import user_cache_path

    return user_cache_path("avs", appauthor=False)


def remembered(name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array cached under `name`, else `compute()`, which is then cached.

    If the cache cannot be read or written, the array is computed.
    """
    path = folder() / f"{name}.npy"
    try:
        kept: np.ndarray = np.load(path, allow_pickle=False)
        return kept
    except (OSError, ValueError, EOFError):
        array = compute()
    with contextlib.suppress(OSError):  # the home folder may be read-only
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as out:
            np.save(out, array, allow_pickle=False)
    return array
