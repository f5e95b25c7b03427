"""Vectors that are computed once for a training: a store per set of items, resumable like every store.

A store has one row per caption or video; its name identifies the model and the inputs.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avs_cli.core.device import prepare
from avs_cli.core.training.pairs import Column, plain
from avs_cli.core.training.teaching import packed, unpacked
from avs_cli.errors import AvsError
from avs_cli.io.store.reader import Gallery, Store
from avs_cli.io.store.writer import Item, StoreWriter, is_finished
from avs_cli.reporting import LOGGED, Advance, Reporter
from avs_cli.stages.engine import Engine
from avs_cli.stages.resident import resident
from avs_cli.stages.team import Team

# From positions of items to arrays whose rows are those items.
Compute = Callable[[np.ndarray], Mapping[str, torch.Tensor]]
# The same in a worker, where it is loaded, of the items themselves.
Load = Callable[[Any, str], Callable[[Any], Mapping[str, torch.Tensor]]]
# The feature of such a store.
FEATURE = "kept"
# At most the work on this many items is lost when the process is killed.
PART = 512
# Of a cluster's tasks, which hold what they need, as many at a time.
PARTS_PER_WORKER = 32


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


class Workers(NamedTuple):
    """Workers of a cluster that compute vectors instead of this process.

    threads  of the CPU for each; 0: as many as the engine has cores for each
    """

    engine: Engine
    device: str = "auto"
    threads: int = 0


class Elsewhere(NamedTuple):
    """How workers compute vectors.

    load   a function of a module, from `model` and a device to what computes the arrays of the items of a task; each
           worker calls it once
    model  paths and small values
    items  from positions to the items of a task: paths and small values
    """

    workers: Workers
    load: Load
    model: Any
    items: Callable[[np.ndarray], Any]


def cached_vectors(
    stack: ExitStack,
    team: Team,
    path: Path,
    ids: Sequence[str],
    compute: Compute,
    report: Reporter = LOGGED,
    elsewhere: Elsewhere | None = None,
) -> CachedVectors:
    """The rows of these ids, from `compute` or from the cache; `stack` closes the store.

    path       identifies everything that determines the values, including the ids
    elsewhere  workers that compute instead of this process; the rows are the same
    Of several processes, the first computes and the others wait.
    """
    if team.rank == 0 and not is_finished(path):
        _write(path, ids, compute, report, elsewhere)
    team.wait()
    store = stack.enter_context(Store(path))
    return CachedVectors(Gallery([store]), {name: tuple(shape) for name, shape in store.provenance["shapes"].items()})


def _write(path: Path, ids: Sequence[str], compute: Compute, report: Reporter, elsewhere: Elsewhere | None) -> None:
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
        parts = [todo[low : low + PART] for low in range(0, len(todo), PART)]
        if elsewhere is None:
            for part in parts:
                writer.add(_rows([ids[position] for position in part.tolist()], compute(part)))
                advance(len(part))
        else:
            _compute_elsewhere(writer, ids, parts, elsewhere, advance)
        writer.finish(ids)


def _rows(ids: Sequence[str], arrays: Mapping[str, torch.Tensor]) -> list[Item]:
    return [Item(None, id, row) for id, row in zip(ids, packed(arrays).cpu().numpy(), strict=True)]


class _PartTask(NamedTuple):
    """Some items for a task, which writes a store of them into the folder `room`.

    model  its name, how it is loaded and from what
    """

    model: tuple[str, Load, Any]
    ids: list[str]
    items: Any
    room: str
    width: int
    provenance: Mapping[str, Any]
    device: str
    threads: int


def _compute_elsewhere(
    writer: StoreWriter, ids: Sequence[str], parts: Sequence[np.ndarray], elsewhere: Elsewhere, advance: Advance
) -> None:
    """Compute these parts in tasks that write stores of their own, which become parts of the whole."""
    (engine, device, threads), room = elsewhere.workers, str(writer.room())
    model = (writer.path.stem, elsewhere.load, elsewhere.model)
    given = room, writer.dim, writer.provenance, device, threads or engine.cores
    many = PARTS_PER_WORKER * engine.workers
    for low in range(0, len(parts), many):
        tasks = [
            _PartTask(model, [ids[position] for position in part.tolist()], elsewhere.items(part), *given)
            for part in parts[low : low + many]
        ]
        for task, store in engine.map(_compute_part, tasks):
            if store is None:
                raise AvsError(
                    f"{writer.path}: the workers that computed vectors died (out of memory?); the same command resumes"
                )
            writer.adopt(store)
            advance(len(task.ids))


def _compute_part(task: _PartTask) -> str:
    """In a worker: the store of some items."""
    place = prepare(task.device, task.threads)
    _, load, model = task.model
    compute = resident((task.model, place), lambda: load(model, place.device))
    path = Path(tempfile.mkdtemp(dir=task.room)) / "part.h5"  # another attempt at this task may still run
    with StoreWriter(path, FEATURE, task.width, task.provenance) as writer:
        writer.add(_rows(task.ids, compute(task.items)))
        writer.finish(task.ids)
    return str(path)
