"""Some shots of a gallery, searched as if there were no others."""

from collections.abc import Iterator

import numpy as np

from avs_cli.core.search.exact import TAKEN, Searchable
from avs_cli.types import Block


class Subset:
    """The shots at some positions of what is searchable, in ascending order."""

    def __init__(self, whole: Searchable, positions: np.ndarray):
        self._whole, self._positions = whole, positions

    def __len__(self) -> int:
        return len(self._positions)

    def blocks(self) -> Iterator[Block]:
        """The shots, some at a time."""
        for low in range(0, len(self._positions), TAKEN):
            yield self._whole.take(self._positions[low : low + TAKEN])

    def take(self, positions: np.ndarray) -> Block:
        """The shots at these positions of the subset, in this order."""
        found: Block = self._whole.take(self._positions[positions])
        return found
