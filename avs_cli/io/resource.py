"""A base class of context managers that hold files open."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self


class Resource:
    """Closes the contexts in `_resources` on `close` or at the end of a `with` block."""

    _resources: ExitStack

    def close(self) -> None:
        """Close the files; data that was read stays valid."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
