"""The device, the CPU threads, and the number of decoding processes."""

from typing import NamedTuple

import torch

from avs_cli import machine
from avs_cli.errors import SpecError, UnavailableError

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class Place(NamedTuple):
    """A torch device, the number of CPU threads, and the number of decoding processes."""

    device: str
    threads: int
    workers: int


def prepare(device: str, threads: int) -> Place:
    """Choose the device (`auto`: a GPU if there is one) and set torch's threads; 0 uses all cores.

    Raises SpecError for an unknown device, UnavailableError if this machine does not have it.
    """
    cores = machine.cores()
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
    # With a GPU, all cores decode; on the CPU, the model needs most of them.
    workers = max(1, cores - 1) if kind != "cpu" else max(1, cores // 2)
    return Place(device, threads, workers)


def copied(x: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """An array of the CPU on a device; a GPU copies it from pinned memory while the CPU goes on."""
    if torch.device(device).type == "cuda" and x.device.type == "cpu":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def _keep_memory() -> None:
    """Configure glibc to reuse freed memory for the next batch.

    By default, glibc returns large arrays to the system, which zeroes the pages of each new one: half of the time of
    the forward pass of a convolutional network.
    """
    mallopt = machine.of_glibc("mallopt")
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
