"""Faults: each command, begun again, ends in the bytes of an undisturbed run and leaves no litter.

SIGKILL at random moments, of commands and of the workers of a cluster; a full disk, a read-only one (both as root only:
they are mounted); an output that is an input; two writers. Commands run in processes that are forked from this one,
which has imported what they need: the moments fall into their work and not into imports.
"""

import hashlib
import multiprocessing.forkserver
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# In all; they are shared among the commands.
KILLS = int(os.environ.get("AVS_BENCH_KILLS", "100"))
RUNS = 12
PLACE = ("--device", "cpu", "--threads", "1")
Line = Sequence[object]
# Bytes of a disk that runs full, those left free as shares of what the output takes, and what the inputs' link takes.
DISK, FREE, SLACK = 20 << 20, (0, 0.3, 0.9), 8 << 10
# When the second of two writers starts, as a share of the seconds that one takes.
LAGS = (0.0, 0.3, 0.7)


class Case(NamedTuple):
    """A command line, the output whose bytes are promised, and an input that it must not overwrite."""

    what: str
    line: Line
    output: str
    source: str


def started(folder: Path, line: Line, errors: str = os.devnull) -> int:
    """The process id of a command line in a forked process; `errors` is the file of its stderr."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        # The server of decoding processes belongs to the parent; the child starts its own.
        multiprocessing.forkserver._forkserver._forkserver_pid = None  # type: ignore[attr-defined]
        from avs_cli.cli import exit_code

        code = exit_code([str(argument) for argument in line])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finished(folder: Path, line: Line) -> None:
    _, status = os.waitpid(started(folder, line), 0)
    if status:
        raise RuntimeError(f"avs {' '.join(map(str, line))} ended with status {status}")


def refused(work: Path, folder: Path, line: Line) -> bool:
    """Whether a command line ends with an error for the user: a last line that says what, and no traceback."""
    errors = work / "stderr"
    _, status = os.waitpid(started(folder, line, str(errors)), 0)
    text = errors.read_text()
    return bool(status) and "Traceback" not in text and text.splitlines()[-1:] != [] and "\navs: " in f"\n{text}"


def state(folder: Path, promised: Sequence[str]) -> tuple[list[str], list[bytes]]:
    """The files of a folder, and the bytes of those whose bytes are promised."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return names, [(folder / name).read_bytes() for name in promised]


def fresh(work: Path, inputs: Path) -> Path:
    """An empty folder with the inputs."""
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "in").symlink_to(inputs)
    return folder


class Undisturbed(NamedTuple):
    """What a run that nothing disturbs leaves, and the seconds that it takes."""

    state: tuple[list[str], list[bytes]]
    seconds: float


def undisturbed(work: Path, inputs: Path, case: Case) -> Undisturbed:
    folder = fresh(work, inputs)
    start = time.perf_counter()
    finished(folder, case.line)
    return Undisturbed(state(folder, [case.output]), time.perf_counter() - start)


def killed(work: Path, inputs: Path, case: Case, wanted: Undisturbed, kills: int) -> tuple[int, int]:
    """How many of the kills hit the running command, and after how many of these its outputs were other ones."""
    dice = random.Random(case.what)
    hits = wrong = 0
    while hits < kills:
        folder = fresh(work, inputs)
        child = started(folder, case.line)
        time.sleep(dice.uniform(0, wanted.seconds))
        ended, _ = os.waitpid(child, os.WNOHANG)
        if ended:
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        hits += 1
        finished(folder, case.line)
        wrong += state(folder, [case.output]) != wanted.state
    return hits, wrong


@contextmanager
def disk(folder: Path, inputs: Path) -> Iterator[Path]:
    """An empty disk of 20 MB with the inputs."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    try:
        (folder / "in").symlink_to(inputs)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def full(work: Path, inputs: Path, case: Case, wanted: Undisturbed) -> tuple[int, int]:
    """How often a disk was full, and how often the command then crashed or later had other outputs."""
    size, hits, wrong = sum(map(len, wanted.state[1])), 0, 0
    for part in FREE:
        with disk(work / "disk", inputs) as folder:
            filler = folder / "filler"
            filler.write_bytes(bytes(max(0, DISK - int(part * size) - SLACK)))
            clean = refused(work, folder, case.line)
            filler.unlink()
            hits += 1
            finished(folder, case.line)
            wrong += not clean or state(folder, [case.output]) != wanted.state
    return hits, wrong


def read_only(work: Path, inputs: Path, case: Case, wanted: Undisturbed) -> tuple[int, int]:
    with disk(work / "disk", inputs) as folder:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        clean = refused(work, folder, case.line)
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        left = state(folder, [])[0]
        finished(folder, case.line)
        return 1, int(not clean or left != [] or state(folder, [case.output]) != wanted.state)


def overwriting(work: Path, inputs: Path, case: Case, wanted: Undisturbed) -> tuple[int, int]:
    """With an input as the output: the command refuses it, and no input has changed."""
    before = digests(inputs)
    folder = fresh(work, inputs)
    line = [case.source if argument == case.output else argument for argument in case.line]
    clean = refused(work, folder, line)
    return 1, int(not clean or digests(inputs) != before or state(folder, [])[0] != [])


def twice(work: Path, inputs: Path, case: Case, wanted: Undisturbed) -> tuple[int, int]:
    """Two at once: what both leave is what one leaves, and one of them may be refused."""
    wrong = 0
    for lag in LAGS:
        folder = fresh(work, inputs)
        first = started(folder, case.line)
        time.sleep(lag * wanted.seconds)
        second = started(folder, case.line, str(work / "stderr"))
        (_, one), (_, other) = os.waitpid(first, 0), os.waitpid(second, 0)
        crashed = "Traceback" in (work / "stderr").read_text()
        wrong += (one and other) or crashed or state(folder, [case.output]) != wanted.state
    return len(LAGS), wrong


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Workers of a cluster

SCHEDULER = """
import sys, dask, distributed, logging
with dask.config.set({"distributed.worker.daemon": False, "distributed.scheduler.allowed-failures": 20}):
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None,
                                  silence_logs=logging.CRITICAL) as running:
        print(running.scheduler_address, flush=True)
        sys.stdin.read()
"""


@contextmanager
def scheduler() -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """The address of a scheduler with two workers that are started again when they die, and what lists the workers."""
    import psutil

    with subprocess.Popen(
        [sys.executable, "-c", SCHEDULER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin and running.stdout
        address = running.stdout.readline().strip()

        def workers() -> list[Any]:
            children = psutil.Process(running.pid).children()
            return [child for child in children if any("spawn_main" in word for word in child.cmdline())]

        try:
            yield address, workers
        finally:
            running.stdin.close()


def without_workers(work: Path, inputs: Path, case: Case, wanted: Undisturbed, kills: int) -> tuple[int, int]:
    """How many workers were killed, and how often the command failed or had other outputs than on this machine."""
    dice, hits, wrong = random.Random(case.what), 0, 0
    with scheduler() as (address, workers):
        line = [*case.line, "--engine", "dask", "--scheduler", address]
        folder = fresh(work, inputs)
        start = time.perf_counter()
        finished(folder, line)
        lasts = time.perf_counter() - start
        while hits < kills:
            folder = fresh(work, inputs)
            child = started(folder, line)
            time.sleep(dice.uniform(0, lasts))
            for worker in dice.sample(workers(), 1):
                worker.kill()
                hits += 1
            _, status = os.waitpid(child, 0)
            wrong += bool(status) or state(folder, [case.output]) != wanted.state
    return hits, wrong


def lay(folder: Path) -> None:
    """Photos, videos, captions, stores, a BigFile and runs."""
    from avs_cli.io.text.trec import write_run

    photos = sorted((DATA / "flickr8k" / "dev").iterdir())[:60]
    (folder / "photos").mkdir()
    for photo in photos:
        shutil.copy(photo, folder / "photos")
    shutil.copy(photos[0], folder / "photos" / "a.jpg")
    (folder / "videos").mkdir()
    for name in ("sam2_dog.mp4", "intel_asl_eat.mkv", "skv_bigbuckbunny.mp4"):
        shutil.copy(DATA / "clips" / name, folder / "videos")
    kept = {photo.stem for photo in photos}
    lines = (DATA / "flickr8k" / "dev.caption.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "captions.txt").write_text("".join(line for line in lines if line.partition("#")[0] in kept))
    finished(folder, ["extract", "photos", "--model", "conse:output=pooled", "-o", "photos.h5", *PLACE])
    frames = ["--pool", "none", "-o", "frames.h5::frames", *PLACE]
    finished(folder, ["extract", "photos", "--model", "conse:output=pooled", *frames])
    finished(folder, ["extract", "--text", "captions.txt", "--model", "minilm", "-o", "text.h5", *PLACE])
    finished(folder, ["convert", "photos.h5", "bigfile"])
    draw = np.random.default_rng(0)
    for number in range(RUNS):
        run = {str(t): {f"shot{k}": float(s) for k, s in enumerate(draw.random(1000))} for t in range(1, 31)}
        write_run(str(folder / f"{number}.run"), run, "x", 1000)


LEARN = ("--epochs", 3, "--batch-size", 32, "--validate", "in/captions.txt", *PLACE)
INDEXING = ("--model", "conse", "--shots", "fixed:seconds=1", "--workers", 1)
STORES = ("--video", "in/photos.h5", "--text", "in/text.h5")
FRAMED = ("--video", "in/frames.h5", "--text", "in/text.h5", "--captions", "in/captions.txt")
CASES = [
    Case(
        "extract photos", ["extract", "in/photos", "--batch-size", 8, "-o", "o.h5", *PLACE], "o.h5", "in/photos/a.jpg"
    ),
    Case(
        "index",
        ["index", "in/videos", *INDEXING, "-o", "o.h5", *PLACE],
        "o.h5",
        "in/videos/sam2_dog.mp4",
    ),
    Case("extract --text", ["extract", "--text", "in/captions.txt", "-o", "o.h5", *PLACE], "o.h5", "in/captions.txt"),
    Case(
        "index",
        ["index", "in/videos", "--model", "conse", "--shots", "fixed:seconds=1", "--workers", 1, "-o", "o.h5", *PLACE],
        "o.h5",
        "in/videos/sam2_dog.mp4",
    ),
    Case("convert a BigFile", ["convert", "in/bigfile", "o.h5"], "o.h5", "in/bigfile"),
    Case(
        "train",
        ["train", "in/captions.txt", *STORES, "--head", "laff:dim=64,heads=2", "-o", "o.st", *LEARN],
        "o.st",
        "in/text.h5",
    ),
    Case("distill", ["distill", *FRAMED, "--student", "afa:dim=64", "-o", "o.st", *LEARN], "o.st", "in/frames.h5"),
    Case(
        "search",
        ["search", "in/photos.h5", "--vectors", "in/photos.h5", "-o", "o.run", "--threads", 1],
        "o.run",
        "in/photos.h5",
    ),
    Case("fuse", ["fuse", *[f"in/{number}.run" for number in range(RUNS)], "-o", "o.run"], "o.run", "in/0.run"),
]
# What a cluster may do.
ELSEWHERE = ("extract photos",)


def rows() -> Iterator[tuple[str, str, str]]:
    (DATA / "flickr8k" / "dev").stat()
    os.environ["HF_HUB_OFFLINE"] = "1"
    # What the commands import, so that it is there when they are forked.
    for module in ("torch", "timm", "tokenizers", "safetensors.torch", "h5py", "av", "PIL.Image"):
        __import__(module)
    import torch

    torch.set_num_threads(1)
    each = -(-KILLS // len(CASES))
    with tempfile.TemporaryDirectory() as name:
        work, inputs = Path(name), Path(name) / "inputs"
        inputs.mkdir()
        lay(inputs)
        for case in CASES:
            wanted = undisturbed(work, inputs, case)
            hits, wrong = killed(work, inputs, case, wanted, each)
            yield f"{case.what}, {hits} times SIGKILL and begun again", f"{wrong} with other bytes or litter", "0"
            faults = {"two writers": twice, "an output that is an input": overwriting}
            if os.geteuid() == 0:
                faults |= {"a full disk": full, "a read-only disk": read_only}
            for fault, suffer in faults.items():
                hits, wrong = suffer(work, inputs, case, wanted)
                yield f"{case.what}, {hits} times {fault}", f"{wrong} with a crash, other bytes or litter", "0"
            if case.what in ELSEWHERE:
                hits, wrong = without_workers(work, inputs, case, wanted, each)
                yield f"{case.what} by two Dask workers, {hits} of which were killed", f"{wrong} with other bytes", "0"


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="  ", file=sys.stdout, flush=True)
