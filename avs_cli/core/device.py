"""The device, the CPU threads, and the number of decoding processes."""

import ctypes
import os
import sys
from typing import Any, NamedTuple

import torch

from avs_cli.errors import SpecError, UnavailableError

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class Place(NamedTuple):
    """A torch device, the CPU threads of its arithmetic, and the decoding processes that fit beside it."""

    device: str
    threads: int
    workers: int


def prepare(device: str, threads: int) -> Place:
    """Choose the device (`auto`: a GPU if there is one) and set torch's threads; 0 uses all cores.

    Raises SpecError for an unknown device, UnavailableError for one that this machine lacks.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        device = str(accelerator) if accelerator else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise SpecError(f"{device!r} is not a device; use auto, cpu, cuda, cuda:1 or mps") from None
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(kind):
        raise UnavailableError(f"no {kind} device on this machine; use --device cpu")
    threads = threads or cores
    torch.set_num_threads(threads)
    _keep_memory()
    # On a GPU the cores are free for decoding; on the CPU decoding takes what the model can spare.
    workers = max(1, cores - 1) if kind != "cpu" else max(1, cores // 2)
    return Place(device, threads, workers)


def _keep_memory() -> None:
    """Let glibc keep freed memory for the next batch.

    By default it gives every large array back to the system, which hands it out again page by page, filled with zeros:
    half of the time of a convolutional network's forward pass.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def give_memory_back() -> None:
    """Let glibc give back what it keeps and nobody uses.

    What it keeps grows where large arrays come and go: the gaps that aligned arrays leave seldom fit the next ones.
    """
    trim = _of_glibc("malloc_trim")
    if trim:
        trim(0)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
