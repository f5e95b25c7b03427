"""An index against a fresh one, after random histories of a folder: equal bytes, whatever was killed on the way.

A history adds, copies, overwrites, touches, moves, swaps and deletes tiny videos, some of which are none, and indexes
the folder now and then; an index may be killed (SIGKILL) at one of the moments at which it changes something on disk.
"""

import multiprocessing.forkserver
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from quiet import Silent

from avs_cli.core import encoders
from avs_cli.errors import FormatError, IncompleteError
from avs_cli.io.journal import Journal
from avs_cli.stages.index import index

HISTORIES = int(os.environ.get("AVS_BENCH_HISTORIES", "200"))
ENCODERS = Path(__file__).resolve().parents[1] / "data" / "encoders"
PLACES = ("a.mp4", "b.mp4", "two words.mp4", "über/a.mp4", "sub/a.mp4", "sub/c.mp4", "sub/deep/b.mp4", "sub/deep/a.mov")
SHOTS = "fixed:seconds=1"
FILES = 10_000


def contents(folder: Path) -> list[bytes]:
    """Videos of one to three seconds, one that ends too early, and a file that is no video."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(5):
        path = folder / f"{number}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=Fraction(4))
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(4 * (1 + number % 3)):
                picture = np.full((48, 64, 3), draw.integers(0, 256, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
        made.append(path.read_bytes())
        path.unlink()
    return [*made, made[-1][: len(made[-1]) // 2], b"no video"]


class Collection:
    """A folder of videos with a history, and its index, in the working folder."""

    def __init__(self, folder: Path, pool: list[bytes], seed: int):
        self.root, self.pool, self.dice = folder / "videos", pool, random.Random(seed)
        self.store, self.models = folder / "videos.h5", ["tower:gain=2"]
        self.clock = 10**18
        self.root.mkdir()
        self.root.joinpath("always.mp4").write_bytes(pool[0])
        self.killed = 0

    def files(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.is_file())

    def write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.touch(path)

    def touch(self, path: Path) -> None:
        self.clock += 10**9
        os.utime(path, ns=(self.clock, self.clock))

    def live(self) -> None:
        """One event."""
        here = self.root / self.dice.choice(PLACES)
        one, other = (self.dice.choice(self.files()) for _ in range(2))
        event = self.dice.choice(("add", "add", "copy", "change", "touch", "move", "move", "swap", "delete"))
        if event in ("add", "change"):
            self.write(here if event == "add" else one, self.dice.choice(self.pool))
        elif event == "copy" and one != here:
            here.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(one, here)
        elif event == "touch":
            self.touch(one)
        elif event == "move":
            here.parent.mkdir(parents=True, exist_ok=True)
            os.replace(one, here)
        elif event == "swap" and one != other:
            spare = self.root / "spare"
            os.replace(one, spare)
            os.replace(other, one)
            os.replace(spare, other)
        elif event == "delete" and len(self.files()) > 1:
            one.unlink()

    def index(self, store: Path) -> None:
        """Index the folder; what cannot be is in the ledger."""
        with suppress(IncompleteError, FormatError):
            index(str(self.root), store, self.models, shots=SHOTS, workers=1, threads=1, report=Silent())

    def killed_index(self) -> None:
        """Index the folder in a process that dies at a random one of its changes on disk, or ends before."""
        last, done = int(self.dice.expovariate(1 / 8)) + 1, self.dice.random() < 0.5
        child = os.fork()
        if not child:
            try:
                # The server of decoding processes belongs to the parent; the child starts its own.
                multiprocessing.forkserver._forkserver._forkserver_pid = None  # type: ignore[attr-defined]
                counted = iter(range(1, 1 << 30))

                def deadly(change: Callable[..., Any]) -> Callable[..., Any]:
                    def changing(*arguments: Any, **named: Any) -> Any:
                        ends = next(counted) == last
                        if ends and not done:
                            os.kill(os.getpid(), signal.SIGKILL)
                        result = change(*arguments, **named)
                        if ends:
                            os.kill(os.getpid(), signal.SIGKILL)
                        return result

                    return changing

                for holder, name in ((os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "mkdir"), (Journal, "_add")):
                    setattr(holder, name, deadly(getattr(holder, name)))
                self.index(self.store)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        self.killed += os.WIFSIGNALED(status)

    def differs(self) -> str:
        """How the index differs from a fresh one of the folder, and from a folder without litter; "" if it does not."""
        fresh = self.store.with_name("fresh.h5")
        self.index(fresh)
        for ending in ("", ".errors.jsonl"):
            one, other = (store.with_name(store.name + ending) for store in (self.store, fresh))
            if not fresh.exists():
                break  # no video has shots: a fresh index writes nothing, and an old one stays
            if one.exists() != other.exists() or (one.exists() and one.read_bytes() != other.read_bytes()):
                return f"videos.h5{ending} is not that of a fresh index"
        for path in self.store.parent.glob("fresh.h5*"):
            path.unlink()
        litter = {path.name for path in self.store.parent.glob("*")} - {"videos", "videos.h5", "videos.h5.errors.jsonl"}
        return f"left {', '.join(sorted(litter))}" if litter else ""


def wrong(work: Path, pool: list[bytes], seed: int) -> tuple[str, int]:
    """What was wrong in a history, "" if nothing, and how many indexes were killed."""
    folder = work / str(seed)
    folder.mkdir()
    collection = Collection(folder, pool, seed)
    for step in range(4):
        for _ in range(collection.dice.randint(1, 4)):
            collection.live()
        if collection.dice.random() < 0.5:
            collection.killed_index()
            if collection.dice.random() < 0.5:
                collection.live()
        if step == 2 and collection.dice.random() < 0.5:
            collection.models = [*collection.models, "tower:gain=3,size=16,fps=4"]
        collection.index(collection.store)
        if found := collection.differs():
            return f"history {seed}, step {step}: {found}", collection.killed
    shutil.rmtree(folder)
    return "", collection.killed


def rows() -> Iterator[tuple[str, str, str]]:
    encoders.__path__.append(str(ENCODERS))  # their own tests' encoders
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["AVS_CACHE"] = str(work / "cache")
        pool = contents(work)
        found = [wrong(work, pool, seed) for seed in range(HISTORIES)]
        bad = [what for what, _ in found if what]
        for what in bad:
            print(what, file=sys.stderr)
        kills = sum(killed for _, killed in found)
        what = f"index, {HISTORIES} random histories of a folder with {kills} times SIGKILL"
        yield what, f"{len(bad)} unlike a fresh index", "0"
        yield unchanged(work, pool)


def unchanged(work: Path, pool: list[bytes]) -> tuple[str, str, str]:
    """Seconds of CPU time of an index of many videos where nothing has changed."""
    folder = work / "many"
    for number in range(FILES):
        path = folder / str(number % 100) / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pool[0])
    index(str(folder), work / "many.h5", "tower", shots=SHOTS, workers=1, threads=1, report=Silent())
    started = time.process_time()
    index(str(folder), work / "many.h5", report=Silent())
    return f"index, {FILES:,} videos of which none has changed", f"{time.process_time() - started:.1f} s", "≤ 2 s"


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="  ", file=sys.stdout, flush=True)
