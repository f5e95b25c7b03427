"""Feature stores that tests write."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.types import Shot

TINY = {"model": "tiny", "spec": "tiny"}


def store(
    path: Path | str,
    feature: str,
    vectors: Mapping[str, ArrayLike],
    made: Mapping[str, Any] = TINY,
    *,
    dtype: str = "float16",
    frames: bool = False,
    shots: Iterable[Shot] = (),
) -> Path:
    """A finished store of one feature: a vector of each id or, with `frames`, several.

    made   the provenance
    shots  of these ids, if any
    """
    rows = {id: np.asarray(vector) for id, vector in vectors.items()}
    known = {shot.id: shot for shot in shots}
    dim = next(iter(rows.values())).shape[-1]
    with StoreWriter(path, feature, dim, dict(made), dtype, frame_level=frames) as writer:
        writer.add([Item(known.get(id), id, row) for id, row in rows.items()])
        writer.finish(list(rows))
    return Path(path)
