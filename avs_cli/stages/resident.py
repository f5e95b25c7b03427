"""What a worker of a cluster keeps from one task to the next: a model, which is loaded once."""

from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")

# The key of what this process keeps, and that.
_KEPT: list[tuple[object, Any]] = []


def resident(key: object, load: Callable[[], _T]) -> _T:
    """What `load` returned for this key; what was kept for another one is released before, as memory may not hold both.

    key  identifies it, with the state of files that may change while the process lives
    """
    if not _KEPT or _KEPT[0][0] != key:
        _KEPT.clear()
        _KEPT.append((key, load()))
    kept: _T = _KEPT[0][1]
    return kept
