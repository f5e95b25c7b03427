import platform
import resource
from pathlib import Path

import pytest
import torch

from avs_cli.core.device import copied, prepare
from avs_cli.errors import SpecError, UnavailableError
from avs_cli.machine import give_memory_back


def test_a_device_is_one_that_torch_knows() -> None:
    assert prepare("cpu", 1)[:2] == ("cpu", 1)
    with pytest.raises(SpecError, match="'gpu' is not a device; use auto, cpu, cuda"):
        prepare("gpu", 1)


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UnavailableError, match="no cuda device on this machine; use --device cpu"):
        prepare("cuda", 1)


def test_a_gpu_copies_from_pinned_memory_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def pin(x: torch.Tensor) -> torch.Tensor:
        done.append("pinned")
        return x

    def to(x: torch.Tensor, device: object, non_blocking: bool) -> torch.Tensor:
        done.append(f"{device}, {non_blocking}")
        return x

    x = torch.ones(3)
    assert copied(x, "cpu") is x
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    copied(x, "cuda:1")
    copied(x, torch.device("cpu"))
    assert done == ["pinned", "cuda:1, True", "cpu, True"]


needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way"
)


@needs_glibc
def test_memory_that_a_batch_leaves_serves_the_next_one() -> None:
    prepare("cpu", 1)
    megabytes = 48
    pages = (megabytes << 20) // resource.getpagesize()

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(megabytes << 18)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    # An array wants a little more room than it takes, for its alignment, so the first ones come to lie side by side.
    assert sum([faults() for _ in range(32)][-4:]) < pages / 10


@needs_glibc
def test_memory_that_nobody_uses_is_given_back_when_asked() -> None:
    prepare("cpu", 1)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20

    arrays = [torch.ones(16 << 18) for _ in range(8)]
    held = resident()
    del arrays
    kept = resident()
    give_memory_back()
    assert held - kept < 16
    assert kept - resident() > 7 * 16
