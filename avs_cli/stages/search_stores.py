"""A search in the stores of a gallery by a task each, on the workers of a cluster."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from avs_cli.core.device import prepare
from avs_cli.core.search.exact import Scorer, best_shots
from avs_cli.errors import AvsError
from avs_cli.io.store.reader import open_gallery
from avs_cli.stages.engine import Engine
from avs_cli.types import ranked


class StoreSearch(NamedTuple):
    """A search in one store, for a task; `scorer` makes what scores its shots."""

    store: str
    scorer: Callable[[], Scorer]
    depth: int
    threads: int


def search_stores(engine: Engine, tasks: Sequence[StoreSearch]) -> list[dict[str, float]]:
    """The rankings of a gallery whose stores are searched by a task each."""
    found = []
    for task, rankings in engine.map(_search_store, tasks):
        if rankings is None:
            raise AvsError(f"{task.store}: killed the workers that searched it (out of memory?)")
        found.append(rankings)
    return merged_best(found, tasks[0].depth)


def _search_store(task: StoreSearch) -> list[dict[str, float]]:
    """In a worker: the rankings of one store."""
    threads = prepare("cpu", task.threads).threads
    with open_gallery([task.store]) as shots:
        (rankings,) = best_shots([task.scorer()], shots, task.depth, threads)
    return rankings


def merged_best(parts: Sequence[Sequence[dict[str, float]]], depth: int) -> list[dict[str, float]]:
    """The rankings of a gallery from those of its parts."""
    best = []
    for rankings in zip(*parts, strict=True):
        together = {shot: score for ranking in rankings for shot, score in ranking.items()}
        best.append({shot: together[shot] for shot in ranked(together)[:depth]})
    return best
