"""Decoding and scaling against the loop that one writes first: PyAV, the whole frame to Pillow, `resize`."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from PIL import Image
from results import Row

from avs_cli import machine
from avs_cli.core.extraction.sampling import sample_times
from avs_cli.io.video.frames import KERNELS, Job, decode, find_media, probe, read_frames
from avs_cli.types import Frames, Pixels, Sampling, Shot

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PIXELS = Pixels(size=224, resize=224)
ROUNDS = 2


def naive(paths: list[Path], fps: float | None) -> int:
    """Every frame, or `fps` of them a second, as a (224, 224, 3) array."""
    count = 0
    for path in paths:
        with av.open(str(path)) as container:
            due = 0.0
            for frame in container.decode(video=0):
                if fps is None or frame.time >= due:
                    due += 0.0 if fps is None else 1 / fps
                    whole = frame.to_image()
                    scale = 224 / min(whole.size)
                    small = whole.resize((round(whole.width * scale), round(whole.height * scale)), Image.BICUBIC)
                    left, top = (small.width - 224) // 2, (small.height - 224) // 2
                    assert np.asarray(small.crop((left, top, left + 224, top + 224))).shape == (224, 224, 3)
                    count += 1
    return count


def ours(paths: list[Path], fps: float | None, workers: int) -> int:
    jobs = []
    for path in paths:
        info = probe(path)
        edges = [min(second, info.duration) for second in range(0, int(info.duration) + 2, 2)]
        shots = tuple(Shot(f"{path}{start}", path.name, start, end) for start, end in pairwise(edges))
        jobs.append(Job(str(path), tuple(shot for shot in shots if shot.end > shot.start)))
    times = partial(sample_times, sampling=Sampling(fps=fps or probe(paths[0]).frame_rate))
    return sum(len(one.pixels) for one in decode(jobs, times, PIXELS, workers=workers) if isinstance(one, Frames))


def rate(measure: Callable[[], int]) -> tuple[float, int]:
    """Frames per second, and how many."""
    started = time.perf_counter()
    count = measure()
    return count / (time.perf_counter() - started), count


def enlarged(path: Path, folder: Path) -> Path:
    """The first eight seconds of a clip at 1080p: as long as what a worker is given at least."""
    target = folder / "1080p.mp4"
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == 240:
                break
            large = frame.reformat(width=1920, height=1080, format="yuv420p")
            large.pts, large.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(large))
        container.mux(stream.encode())
    return target


def rows() -> Iterator[Row | tuple[str, str, str]]:
    clips = [DATA / "clips" / name for name in ("sam2_dog.mp4", "sam2_cups.mp4")]
    for clip in clips:
        clip.stat()
    cores = machine.cores()
    with tempfile.TemporaryDirectory() as name:
        large = enlarged(clips[0], Path(name))
        copies = [Path(name) / f"{n}.mp4" for n in range(2)]
        for copy in copies:
            os.link(large, copy)
        for size, paths in (("720p", clips), ("1080p", copies)):
            for what, fps, goal in (("every frame", None, "≥ 6"), ("2 frames/s", 2.0, "≥ 4")):
                best: dict[str, float] = {}
                for _ in range(ROUNDS):
                    for who, measure in (
                        ("naive", partial(naive, paths, fps)),
                        ("one", partial(ours, paths, fps, 1)),
                        ("all", partial(ours, paths, fps, cores)),
                    ):
                        best[who] = max(best.get(who, 0.0), rate(measure)[0])
                for who, workers, wanted in (("all", f"{cores} workers", goal), ("one", "1 worker", "")):
                    yield Row(
                        f"decode + scale to 224, {size}, {what}, {workers}",
                        best[who],
                        "frames/s",
                        "Pillow loop",
                        best["naive"],
                        wanted,
                    )
    yield from seeking()
    yield from differences(clips[0])


def seeking() -> Iterator[Row]:
    """One shot of a long file against reading all of it."""
    path = max(find_media([DATA / "clips"]), key=lambda media: probe(media).duration)
    end = probe(path).duration
    times = partial(sample_times, sampling=Sampling())

    def seconds(start: float) -> float:
        begun = time.perf_counter()
        list(read_frames(path, [Shot("s", "v", start, end)], times, PIXELS))
        return time.perf_counter() - begun

    yield Row(f"the last shot of a {end:.0f} s video", seconds(end - 4), "s", "the whole video", seconds(0), "≥ 1")


def differences(path: Path) -> Iterator[tuple[str, str, str]]:
    """Our pixels against conversion at full size and Pillow's bicubic, as in torchvision, in levels of 255.

    PyAV converts by itself without rounding, and with the flags that we scale with.
    """
    sums: dict[str, list[np.ndarray]] = {"by PyAV": [], "with rounding": []}
    for number, frame in enumerate(frames_of(path)):
        if number % 30:
            continue
        size = (224 * frame.width // frame.height, 224)
        ours = frame.reformat(*size, "rgb24", interpolation=KERNELS["bicubic"]).to_ndarray().astype(int)
        exact = frame.reformat(format="rgb24", interpolation=KERNELS["bicubic"])
        for how, whole in (("by PyAV", frame.to_rgb()), ("with rounding", exact)):
            sums[how].append(ours - np.asarray(Image.fromarray(whole.to_ndarray()).resize(size, Image.BICUBIC)))
    for how, each in sums.items():
        found = np.stack(each)
        yield (
            f"pixels of {path.name} against those converted {how}, then resized by Pillow",
            f"mean {np.abs(found).mean():.2f}, largest {np.abs(found).max()} of 255, bias {found.mean():+.2f}",
            "mean ≤ 0.5" if how == "with rounding" else "",
        )


def frames_of(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)
