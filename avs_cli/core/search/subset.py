"""Shots of a gallery for many searches: some of them, as if there were no others, or all, held in memory."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from avs_cli.core.search.exact import TAKEN, NotFinite, Searchable, finite
from avs_cli.types import Block


class Subset:
    """The shots at some positions of what is searchable, in ascending order."""

    def __init__(self, whole: Searchable, positions: np.ndarray):
        self._whole, self._positions = whole, positions

    def __len__(self) -> int:
        return len(self._positions)

    def pieces(self) -> Iterator[tuple[int, Callable[[], Block]]]:
        """The shots, some at a time."""
        for low in range(0, len(self._positions), TAKEN):
            yield low, partial(self._whole.take, self._positions[low : low + TAKEN])

    def take(self, positions: np.ndarray) -> Block:
        """The shots at these positions of the subset, in this order."""
        found: Block = self._whole.take(self._positions[positions])
        return found


class Held:
    """All shots of what is searchable, a vector each, read once and held in memory: a search takes half the time."""

    def __init__(self, whole: Searchable):
        blocks = []
        for first, read in whole.pieces():
            block = read()
            with finite(whole, block, first):
                if not np.isfinite(block.vectors).all():
                    raise NotFinite
            blocks.append(block)
        self._ids = [id for block in blocks for id in block.ids]
        self._vectors = np.concatenate([block.vectors for block in blocks])
        # The blocks have the size that fits the cache of a core.
        self._ends = np.cumsum([len(block.ids) for block in blocks]).tolist()

    def pieces(self) -> Iterator[tuple[int, Callable[[], Block]]]:
        """The shots, some at a time."""
        for low, high in zip([0, *self._ends], self._ends, strict=False):
            yield low, partial(Block, self._ids[low:high], self._vectors[low:high])

    def take(self, positions: np.ndarray) -> Block:
        """The shots at these positions, in this order."""
        return Block([self._ids[place] for place in positions.tolist()], self._vectors[positions])
