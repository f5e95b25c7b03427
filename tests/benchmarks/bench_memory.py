"""Memory of train, distill, validation and search for all captions or shots and for a tenth; the size of a page.

Stores are synthetic and their vectors short, since vectors stay on disk: what could grow is ids, texts and positions.
A figure is the peak of a whole process, libraries included, as the kernel counts it. Trainings stop after 100 batches,
which read rows of the whole stores.
"""

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avs_cli.io.store.schema import array, created, write_ids, write_pictures, write_shots
from avs_cli.reporting import Advance, Reporter
from avs_cli.types import Shot

CAPTIONS, TAUGHT, VALIDATED, PER_VIDEO = 2_000_000, 200_000, 40_000, 5
SHOTS, WIDE = 10_000_000, 64
FEATURES, DIM, TOPICS = 3, 8, 30
HEAD = "w2vvpp:dim=16"
BATCHES = 100
PIECE = 100_000


def peak(job: str, folder: Path) -> int:
    """The peak of a process that runs a function of this file, in megabytes."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import bench_memory as b; print(b.measured(*sys.argv[2:]))"
    command = [sys.executable, "-c", program, str(Path(__file__).parent), job, str(folder)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout) // 1024


def measured(job: str, folder: str) -> int:
    """Kilobytes; getrusage would give the parent's peak where that is higher."""
    globals()[job](Path(folder))
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def build(path: Path, feature: str, ids: Sequence[str], dim: int = DIM) -> None:
    """A store of random vectors, which `StoreWriter` would take minutes for."""
    chance = np.random.default_rng(0)
    with created(path) as file:
        group = file.create_group(feature)
        group.attrs["provenance"] = json.dumps({"model": feature})
        write_ids(group, "ids", ids)
        vectors = array(group, "vectors", (len(ids), dim), np.float16)
        for low in range(0, len(ids), PIECE):
            part = min(PIECE, len(ids) - low)
            vectors[low : low + part] = chance.standard_normal((part, dim), dtype=np.float32)


def captions(folder: Path, count: int) -> None:
    """Captions of videos, and the features of both."""
    videos = [f"video{i:07d}" for i in range(count // PER_VIDEO)]
    ids = [f"{video}#enc#{k}" for video in videos for k in range(PER_VIDEO)]
    (folder / "captions.txt").write_text("".join(f"{id} a sentence of about ten words for {id[:12]}\n" for id in ids))
    for number in range(FEATURES):
        # Not in one order, so that no feature can use the positions of another.
        turned = videos[number:] + videos[:number]
        build(folder / f"v{number}.h5", f"v{number}", turned)
        build(folder / f"t{number}.h5", f"t{number}", ids)


def gallery(folder: Path, count: int) -> list[str]:
    """A gallery of one wide feature, and vectors of topics for it; returns its ids."""
    ids = [f"shot{i // 100:05d}_{i % 100}" for i in range(count)]
    build(folder / "gallery.h5", "clip", ids, WIDE)
    build(folder / "topics.h5", "clip", [str(701 + number) for number in range(TOPICS)], WIDE)
    return ids


def shots(folder: Path, count: int) -> None:
    """That gallery, and one of three features with vectors of topics."""
    ids = gallery(folder, count)
    topics = [str(701 + number) for number in range(TOPICS)]
    for number in range(FEATURES):
        build(folder / f"g{number}.h5", f"v{number}", ids[number:] + ids[:number])
        build(folder / f"q{number}.h5", f"t{number}", topics)


def stores(folder: Path, kind: str) -> list[Path]:
    return [folder / f"{kind}{number}.h5" for number in range(FEATURES)]


class Finished(Exception):
    """Enough batches."""


class Some(Reporter):
    """Ends a training after some batches."""

    def note(self, message: str) -> None: ...

    @contextmanager
    def progress(self, label: str, total: float | None) -> Iterator[Advance]:
        done = 0.0

        def advance(steps: float = 1, what: str = "") -> None:
            nonlocal done
            done += steps
            if label == "training" and done > BATCHES:
                raise Finished

        yield advance


def train(folder: Path) -> None:
    from avs_cli.stages.train import train

    trained(train, folder, head=HEAD, output=folder / "head.safetensors")


def distill(folder: Path) -> None:
    from avs_cli.stages.distill_heads import distill

    teacher = folder / "head.safetensors"
    trained(distill, folder, student=HEAD, teachers=[teacher], output=folder / "student.safetensors")


def trained(stage: Any, folder: Path, **options: Any) -> None:
    """The start of a training; the head that it writes is the untrained one."""
    try:
        stage(folder / "captions.txt", stores(folder, "v"), stores(folder, "t"), report=Some(), **options)
    except Finished:
        return


def validate(folder: Path) -> None:
    """The validation of a head in both directions, whose matrix of scores would take 1.3 GB."""
    from avs_cli.stages.heads import load_heads
    from avs_cli.stages.training_data import TrainingData
    from avs_cli.stages.validation import TwoWayValidation

    (head,) = load_heads([str(folder / "head.safetensors")])
    with TrainingData([*map(str, stores(folder, "v"))], [*map(str, stores(folder, "t"))]) as data:
        TwoWayValidation(data.pairs([str(folder / "captions.txt")]), "SumR").values(head.head)


def search(folder: Path) -> None:
    from avs_cli.stages.search import search

    search(folder / "gallery.h5", vectors=folder / "topics.h5")


def search_heads(folder: Path) -> None:
    from avs_cli.stages.search import search_heads

    topics = folder / "topics.txt"
    topics.write_text("".join(f"{701 + number} topic {number}\n" for number in range(TOPICS)))
    search_heads(stores(folder, "g"), topics, folder / "head.safetensors", vectors=stores(folder, "q"), threads=2)


def page(folder: Path) -> float:
    """Megabytes of a page of 30 topics of 1,000 shots, with thumbnails in files beside it."""
    ids = [f"shot{n // 100:05d}_{n % 100}" for n in range(TOPICS * 1000)]
    picture = io.BytesIO()
    Image.new("RGB", (320, 180), "red").save(picture, "JPEG")
    with created(folder / "pictured.h5") as file:
        group = file.create_group("clip")
        group.attrs["provenance"] = "{}"
        write_ids(group, "ids", ids)
        array(group, "vectors", (len(ids), DIM), np.float16)[...] = 1
        write_shots(file, [Shot(id, f"{id[4:9]}.mp4", 10.0 * n, 10.0 * n + 7.5) for n, id in enumerate(ids)])
        jpeg = write_pictures(file, ids, [len(picture.getvalue())] * len(ids))
        jpeg[...] = np.frombuffer(picture.getvalue() * len(ids), np.uint8)
    rows = (f"{701 + n // 1000} Q0 {id} 0 {1 - n % 1000 / 3000:.6f} x\n" for n, id in enumerate(ids))
    (folder / "page.run").write_text("".join(rows))
    line = ["view", folder / "page.run", "-g", folder / "pictured.h5", "--shown", 1000, "--thumbnails-beside"]
    command = [sys.executable, "-m", "avs_cli", *map(str, line), "-o", str(folder / "page.html")]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return (folder / "page.html").stat().st_size / 1e6


def grown(job: str, small: Path, large: Path, goal: str, what: str) -> tuple[str, str, str]:
    """The peak of the large job, and what the small one takes."""
    less, more = peak(job, small), peak(job, large)
    return f"memory: {job}, {what}", f"{more} MB ({less} MB for a tenth: {more / less:.1f}×)", goal


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory(prefix="avs-bench-") as name:
        folders = {count: Path(name) / str(count) for count in (CAPTIONS, TAUGHT, VALIDATED)}
        folders |= {count // 10: Path(name) / str(count // 10) for count in (CAPTIONS, TAUGHT, VALIDATED)}
        for count, folder in folders.items():
            folder.mkdir()
            captions(folder, count)
        small, large = folders[TAUGHT // 10], folders[TAUGHT]
        shots(small, SHOTS // 10)
        shots(large, SHOTS)
        goal = "≤ 2048 MB"
        few, many = folders[CAPTIONS // 10], folders[CAPTIONS]
        yield grown("train", few, many, goal, f"{CAPTIONS / 1e6:.0f} M captions × {FEATURES} features")
        for folder in folders.values():
            if not (folder / "head.safetensors").exists():
                peak("train", folder)
        yield grown("distill", small, large, goal, f"{TAUGHT / 1e6:.1f} M captions, with a teacher")
        few, many = folders[VALIDATED // 10], folders[VALIDATED]
        yield grown("validate", few, many, goal, f"{VALIDATED:,} captions × {VALIDATED // PER_VIDEO:,} videos")
        goal = "≤ 1024 MB"
        yield grown("search", small, large, goal, f"{SHOTS / 1e6:.0f} M shots")
        yield grown("search_heads", small, large, goal, f"{SHOTS / 1e6:.0f} M shots × {FEATURES} features")
        size = page(large)
        yield f"view: page of {TOPICS} topics × 1,000 shots, thumbnails beside", f"{size:.1f} MB", "≤ 20 MB"


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ", flush=True)
