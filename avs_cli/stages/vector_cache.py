"""Vectors that are computed once for a training: a store per set of items, resumable like every store.

A store has one row per caption or video; its name identifies the model and the inputs.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avs_cli.core.training.pairs import Column, plain
from avs_cli.core.training.teaching import packed, unpacked
from avs_cli.io.store.reader import Gallery, Store
from avs_cli.io.store.writer import Item, StoreWriter, is_finished
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.team import Team

# From positions of items to arrays whose rows are those items.
Compute = Callable[[np.ndarray], Mapping[str, torch.Tensor]]
# The feature of such a store.
FEATURE = "kept"
# At most the work on this many items is lost when the process is killed.
PART = 512


def key_of(inputs: Any) -> str:
    """A short digest of everything that determines some vectors, given as JSON values."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


class CachedVectors(NamedTuple):
    """Rows in the order of the items, and the shapes of the arrays in each row."""

    gallery: Gallery
    shapes: dict[str, tuple[int, ...]]

    def column(self) -> Column:
        """The rows as a column for batches."""
        return Column(self.gallery, np.arange(len(self.gallery)))

    def take(self, which: np.ndarray) -> dict[str, torch.Tensor]:
        """The arrays of these items."""
        return unpacked(plain(self.gallery.take(which)), self.shapes)


def cached_vectors(
    stack: ExitStack, team: Team, path: Path, ids: Sequence[str], compute: Compute, report: Reporter = LOGGED
) -> CachedVectors:
    """The rows of these ids, from `compute` or from the cache; `stack` closes the store.

    path  identifies everything that determines the values, including the ids
    Of several processes, the first computes and the others wait.
    """
    if team.rank == 0 and not is_finished(path):
        _write(path, ids, compute, report)
    team.wait()
    store = stack.enter_context(Store(path))
    return CachedVectors(Gallery([store]), {name: tuple(shape) for name, shape in store.provenance["shapes"].items()})


def _write(path: Path, ids: Sequence[str], compute: Compute, report: Reporter) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first = compute(np.arange(1))
    provenance = {"model": path.stem, "shapes": {name: list(array.shape[1:]) for name, array in first.items()}}
    width = packed(first).shape[1]
    with (
        StoreWriter(path, FEATURE, width, provenance) as writer,
        report.progress(path.stem, len(ids)) as advance,
    ):
        todo = np.array([position for position, id in enumerate(ids) if id not in writer.done], np.int64)
        advance(len(ids) - len(todo))
        for low in range(0, len(todo), PART):
            part = todo[low : low + PART]
            rows = packed(compute(part)).cpu().numpy()
            writer.add([Item(None, ids[position], row) for position, row in zip(part.tolist(), rows, strict=True)])
            advance(len(part))
        writer.finish(ids)
