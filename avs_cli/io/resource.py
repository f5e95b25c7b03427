"""What holds files open: give it back with `close`, or use it in a `with`."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self


class Resource:
    """Closes what is in `_resources`."""

    _resources: ExitStack

    def close(self) -> None:
        """Give the files back; what was read stays valid."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
