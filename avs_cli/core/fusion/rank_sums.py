"""Sums over rankings, with one sort per topic."""

from collections.abc import Sequence

import numpy as np

from avs_cli.types import Rankings, Run

Sums = dict[str, tuple[np.ndarray, np.ndarray]]
"""Topic -> shots as bytes, and float64 sums."""


def sums(rankings: Sequence[Rankings], by_rank: Sequence[float]) -> Sums:
    """The sum of each shot over all rankings: `by_rank[0]` for rank 1 and so on."""
    values = np.array(by_rank)
    return added([{topic: (shots, values[: len(shots)]) for topic, shots in one.items()} for one in rankings])


def added(parts: Sequence[Sums]) -> Sums:
    """The total of several sums."""
    total = {}
    for topic in dict.fromkeys(topic for part in parts for topic in part):
        found = [part[topic] for part in parts if topic in part]
        shots, places = _distinct(np.concatenate([shots for shots, _ in found]))
        total[topic] = shots, np.bincount(places, np.concatenate([values for _, values in found]))
    return total


def _distinct(shots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct shots, and the index of each of `shots` among them."""
    # Integers sort several times faster than bytes.
    words = shots.view(np.uint64) if shots.itemsize == 8 else shots
    found, places = np.unique(words, return_inverse=True)
    return found.view(shots.dtype), places


def best(total: Sums, depth: int) -> Run:
    """The `depth` largest sums of each topic, and those equal to the last one."""
    run = {}
    for topic, (shots, values) in total.items():
        if len(values) > depth:
            kept = values >= np.partition(values, -depth)[-depth]
            shots, values = shots[kept], values[kept]
        run[topic] = dict(zip((shot.decode() for shot in shots.tolist()), values.tolist(), strict=True))
    return run
