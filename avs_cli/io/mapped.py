"""Columns that stay in a file until they are read."""

import mmap
from copy import copy
from typing import Any, Literal, Self, overload

import numpy as np


class MappedColumn:
    """A column of a file as an array that takes no memory: what is read is copied, and its pages are given back.

    A slice is another such column, which nothing is read for; other indices read.
    """

    def __init__(self, mapped: mmap.mmap, dtype: Any, count: int, start: int = 0):
        """start  position in the file"""
        self._map = mapped
        self._array: np.ndarray = np.frombuffer(mapped, dtype, count, start) if count else np.empty(0, dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the array."""
        return self._array.dtype

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: slice) -> Self: ...
    @overload
    def __getitem__(self, index: Any) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            part = copy(self)
            part._array = self._array[index]
            return part
        found = np.array(self._array[index])[()]
        self._forget()
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = np.array(self._array, dtype)
        self._forget()
        return found

    def tolist(self) -> list[Any]:
        """Its values."""
        listed: list[Any] = np.asarray(self).tolist()
        return listed

    def searchsorted(self, values: Any, side: Literal["left", "right"] = "left") -> Any:
        """As that of an array."""
        found = np.searchsorted(self._array, values, side)
        self._forget()
        return found

    def _forget(self) -> None:
        self._map.madvise(mmap.MADV_DONTNEED)


Column = np.ndarray | MappedColumn
