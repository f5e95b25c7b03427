"""The processes of a training: one, or those that torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch

# The first process may take hours while the others wait; torchrun ends them if it dies.
PATIENCE = timedelta(days=7)


class Team(NamedTuple):
    """The processes of torchrun, as one of them sees them: its device, its rank, and their number."""

    device: str
    rank: int = 0
    size: int = 1

    def broadcast(self, value: float) -> float:
        """The value of the first process."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def wait(self) -> None:
        """Wait for all processes."""
        self.broadcast(0.0)


def processes() -> int:
    """How many processes train together: torchrun's WORLD_SIZE, else 1."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """The team that this process belongs to, while the context is open; under torchrun each has a GPU of its own."""
    if processes() == 1:
        yield Team(device)
        return
    if device.startswith("cuda"):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield Team(device, torch.distributed.get_rank(), processes())
    finally:
        torch.distributed.destroy_process_group()
