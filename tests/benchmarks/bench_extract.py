"""`avs extract` against its two limits, decoding alone and the model alone, on the same frames in one run."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from overlap import rates, row
from results import Row

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MODEL = "conse:output=pooled"  # the whole image network, without loading the sentence encoder
# Seven encoders in the sizes and samplings of those that teams combine, whose own work is next to nothing.
TOWERS = (
    *("tower:gain=1,size=224,resize=224", "tower:gain=2,size=224,resize=224", "tower:gain=3,size=224"),
    *("tower:gain=4,size=364", "tower:gain=5,size=384", "tower:gain=6,size=224,resize=256"),
    "tower:gain=7,size=112,resize=128,clip=16",
)


def avs(*arguments: object, **settings: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "avs_cli", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **settings)  # type: ignore[call-overload]


def family(process: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield process
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def peak_megabytes(arguments: list[object]) -> float:
    """The most memory that an `avs` process and its workers held together."""
    page, peak = os.sysconf("SC_PAGE_SIZE"), 0
    with avs(*arguments) as running:
        while running.poll() is None:
            held = 0
            for process in family(running.pid):
                with contextlib.suppress(OSError):
                    held += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * page
            peak = max(peak, held)
            time.sleep(0.02)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, running.args)
    return peak / 1e6


def growth(memory: list[float]) -> str:
    """Two peaks of memory, and whether the second is within 100 MB of the first."""
    return f"{memory[0]:.0f} and {memory[1]:.0f} MB: {'flat' if memory[1] < memory[0] + 100 else 'GROWS'}"


def jobs_of(model: str, media: Path, times: int) -> tuple[Any, list[Any]]:
    """An encoder, and what it is to extract.

    times  how often each file is there: what it costs to start the decoder and to fill the first batch counts once
    """
    from avs_cli.core.device import prepare
    from avs_cli.core.encoders import Runtime, encoders
    from avs_cli.io import weights as reader
    from avs_cli.io.video.find import measured, unmeasured
    from avs_cli.io.video.frames import Job, find_media
    from avs_cli.types import Shot

    place = prepare("cpu", 1)
    found = list(measured(unmeasured(find_media([media])), place.workers, 60.0))
    shots = [shot._replace(id=f"{shot.id}-{n}") for n in range(times) for shot in found if isinstance(shot, Shot)]
    feature = encoders.load(model)(Runtime(reader, place.device, place.threads))
    return feature, [Job(shot.video, (shot,)) for shot in shots]


def long_video(path: Path, seconds: int) -> None:
    """A video of slowly changing grey, four frames a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(4))
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 120, "yuv420p", 60_000
        picture = np.zeros((120, 160, 3), np.uint8)
        for index in range(seconds * 4):
            picture[:] = index // 40 % 256
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def killed(folder: Path, moments: int) -> tuple[int, bool]:
    """How many kills hit a running extract, and whether it still ended in the bytes of an undisturbed one."""
    arguments = ["extract", DATA / "clips", "--model", MODEL, "-o"]
    start = time.perf_counter()
    avs(*arguments, folder / "whole.h5").wait()
    lasts = time.perf_counter() - start
    dice, hits = random.Random(11), 0
    for number in range(moments):
        running = avs(*arguments, folder / "killed.h5", start_new_session=True)
        time.sleep(dice.uniform(0.1, 1.0) * lasts)
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
            hits += 1
        running.wait()
        if number % 5 == 4:  # begin again, so that early moments are hit as well as late ones
            avs(*arguments, folder / "killed.h5").wait()
            same = (folder / "killed.h5").read_bytes() == (folder / "whole.h5").read_bytes()
            if not same:
                return hits, False
            (folder / "killed.h5").unlink()
    return hits, True


def hd_video(path: Path, seconds: int) -> None:
    """A video of 720p, thirty frames and three megabits a second: noise over a picture that moves, as of a camera."""
    import av

    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (36, 64, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
    grain = draw.normal(0, 9, (8, *picture.shape)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 1280, 720, "yuv420p", 3_000_000
        for number in range(30 * seconds):
            moved = np.roll(picture, 6 * number, axis=1) + grain[number % 8]
            frame = av.VideoFrame.from_ndarray(np.clip(moved, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def several(folder: Path) -> tuple[float, float, float]:
    """Seconds of one extraction with seven towers, of seven with one each, and of the bound.

    The bound: the video decoded once, and what each tower costs beyond decoding.
    """
    import avs_cli.core.encoders as package
    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.video.frames import Job, decode, probe
    from avs_cli.stages.extract import extract
    from avs_cli.types import Pixels, Sampling, Shot

    package.__path__.append(str(Path(__file__).parents[1] / "data" / "encoders"))
    video = folder / "720p.mp4"
    hd_video(video, 20)
    shot, times = Shot("v", str(video), 0.0, probe(video).duration), partial(sample_times, sampling=Sampling())

    def lasts(models: list[str]) -> float:
        start = time.perf_counter()
        extract(video, folder / "towers.h5", models, workers=1, threads=1, device="cpu")
        taken = time.perf_counter() - start
        (folder / "towers.h5").unlink()
        return taken

    lasts([TOWERS[0]])
    best: dict[str, float] = {}
    for _ in range(3):
        start = time.perf_counter()
        list(decode([Job(str(video), (shot,))], times, Pixels(8, None), workers=1))
        best["decode"] = min(best.get("decode", 1e9), time.perf_counter() - start)
        for models in [[tower] for tower in TOWERS] + [list(TOWERS)]:
            name = " ".join(models)
            best[name] = min(best.get(name, 1e9), lasts(models))
    apart = sum(best[tower] for tower in TOWERS)
    bound = best["decode"] + sum(max(0.0, best[tower] - best["decode"]) for tower in TOWERS)
    return best[" ".join(TOWERS)], apart, bound


def rows() -> Iterator[Row | tuple[str, str, str]]:
    clips = DATA / "clips"
    clips.stat()
    photos = DATA / "flickr8k" / "dev"
    for model, what, media, times in (
        (MODEL, "26 clips twice", clips, 2),
        ("lite", "26 clips twice", clips, 2),
        (MODEL, "1,000 photos", photos, 1),
    ):
        frames, rate = rates(*jobs_of(model, media, times), "mean", 32)
        yield row(f" {what} by {model}, {frames} frames", "frames/s", rate, "≥ 0.95")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        together, apart, bound = several(folder)
        what = "extract, seven towers in one run, 720p"
        yield Row(what, together, "s", "seven runs", apart, "≥ 2.5", bound, "decoding once, and each tower's own work")
        files = sorted(photos.iterdir())
        memory = [
            peak_megabytes(["extract", *files[:count], "--model", MODEL, "-o", folder / f"{count}.h5"])
            for count in (100, 1000)
        ]
        yield "memory, 100 and 1,000 photos", growth(memory), "flat"
        memory = []
        for seconds in (120, 7200):
            video = folder / f"{seconds}.mp4"
            long_video(video, seconds)
            # A frame each two seconds: 540 MB of pictures in two hours, were they all held at once.
            line = ["extract", video, "--model", MODEL, "--fps", 0.5, "-o", video.with_suffix(".h5")]
            memory.append(peak_megabytes(line))
        yield "memory, one shot of two minutes and of two hours", growth(memory), "flat"
        hits, same = killed(folder, 20)
        yield "kill -9 at 20 random moments", f"{hits} hits, bytes {'equal' if same else 'DIFFER'}", "equal"
