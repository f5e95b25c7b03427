"""SIGKILL at random moments: each command, begun again, ends in the bytes of an undisturbed run and leaves no litter.

Commands run in processes that are forked from this one, which has imported what they need: the moments fall into their
work and not into imports.
"""

import multiprocessing.forkserver
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# In all; they are shared among the commands.
KILLS = int(os.environ.get("AVS_BENCH_KILLS", "100"))
RUNS = 12
PLACE = ("--device", "cpu", "--threads", "1")
Line = Sequence[object]


def started(folder: Path, line: Line) -> int:
    """The process id of a command line in a forked process."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        # The server of decoding processes belongs to the parent; the child starts its own.
        multiprocessing.forkserver._forkserver._forkserver_pid = None  # type: ignore[attr-defined]
        from avs_cli.cli import exit_code

        code = exit_code([str(argument) for argument in line])
    finally:
        os._exit(code)


def finished(folder: Path, line: Line) -> None:
    _, status = os.waitpid(started(folder, line), 0)
    if status:
        raise RuntimeError(f"avs {' '.join(map(str, line))} ended with status {status}")


def state(folder: Path, promised: Sequence[str]) -> tuple[list[str], list[bytes]]:
    """The files of a folder, and the bytes of those whose bytes are promised."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return names, [(folder / name).read_bytes() for name in promised]


def disturbed(work: Path, inputs: Path, line: Line, promised: Sequence[str], kills: int) -> tuple[int, int]:
    """How many of the kills hit the running command, and after how many of these its outputs were other ones."""
    dice = random.Random(" ".join(map(str, line)))

    def fresh() -> Path:
        folder = work / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "in").symlink_to(inputs)
        return folder

    folder = fresh()
    start = time.perf_counter()
    finished(folder, line)
    lasts = time.perf_counter() - start
    wanted = state(folder, promised)
    hits = wrong = 0
    while hits < kills:
        folder = fresh()
        child = started(folder, line)
        time.sleep(dice.uniform(0, lasts))
        ended, _ = os.waitpid(child, os.WNOHANG)
        if ended:
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        hits += 1
        finished(folder, line)
        wrong += state(folder, promised) != wanted
    return hits, wrong


def lay(folder: Path) -> None:
    """Photos, videos, captions, stores, a BigFile and runs."""
    from avs_cli.io.text.trec import write_run

    photos = sorted((DATA / "flickr8k" / "dev").iterdir())[:60]
    (folder / "photos").mkdir()
    for photo in photos:
        shutil.copy(photo, folder / "photos")
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


def cases() -> Iterator[tuple[str, Line, Sequence[str]]]:
    """What is run, and the outputs whose bytes are promised."""
    learn = ("--epochs", 3, "--batch-size", 32, "--validate", "in/captions.txt")
    yield "extract photos", ["extract", "in/photos", "--batch-size", 8, "-o", "o.h5", *PLACE], ["o.h5"]
    index = [
        "index",
        "in/videos",
        "--model",
        "conse",
        "--shots",
        "fixed:seconds=1",
        "--workers",
        1,
        "-o",
        "o.h5",
        *PLACE,
    ]
    yield "index", index, ["o.h5"]
    yield "extract --text", ["extract", "--text", "in/captions.txt", "-o", "o.h5", *PLACE], ["o.h5"]
    yield "convert a BigFile", ["convert", "in/bigfile", "o.h5"], ["o.h5"]
    stores = ["--video", "in/photos.h5", "--text", "in/text.h5"]
    framed = ["--video", "in/frames.h5", "--text", "in/text.h5"]
    yield (
        "train",
        ["train", "in/captions.txt", *stores, "--head", "laff:dim=64,heads=2", "-o", "o.st", *learn, *PLACE],
        ["o.st"],
    )
    yield (
        "distill",
        ["distill", "--captions", "in/captions.txt", *framed, "--student", "afa:dim=64", "-o", "o.st", *learn, *PLACE],
        ["o.st"],
    )
    yield (
        "search",
        ["search", "in/photos.h5", "--vectors", "in/photos.h5", "-o", "o.run", "--threads", 1],
        ["o.run"],
    )
    yield "fuse", ["fuse", *[f"in/{number}.run" for number in range(RUNS)], "-o", "o.run"], ["o.run"]


def rows() -> Iterator[tuple[str, str, str]]:
    (DATA / "flickr8k" / "dev").stat()
    os.environ["HF_HUB_OFFLINE"] = "1"
    # What the commands import, so that it is there when they are forked.
    for module in ("torch", "timm", "tokenizers", "safetensors.torch", "h5py", "av", "PIL.Image"):
        __import__(module)
    import torch

    torch.set_num_threads(1)
    listed = list(cases())
    each = -(-KILLS // len(listed))
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        lay(inputs)
        for what, line, promised in listed:
            hits, wrong = disturbed(Path(name), inputs, line, promised, each)
            yield f"{what}, {hits} times SIGKILL and begun again", f"{wrong} with other bytes or litter", "0"


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="  ", file=sys.stdout, flush=True)
