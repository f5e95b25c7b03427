"""What this process may use of the machine."""

import os


def cores() -> int:
    """Number of CPU cores that this process may run on, which a container or a scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
