"""What this process may use of the machine."""

import ctypes
import os
import sys
from typing import Any


def cores() -> int:
    """Number of CPU cores that this process may run on, which a container or a scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def give_memory_back() -> None:
    """Return unused memory from glibc to the system.

    Unused memory grows as large arrays are allocated and freed: gaps between aligned arrays seldom fit the next ones.
    """
    trim = of_glibc("malloc_trim")
    if trim:
        trim(0)


def of_glibc(name: str) -> Any:
    """A function of the C library; None where it is another one."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
