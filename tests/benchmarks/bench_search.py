"""Exact search of 30 topics in 1.4 million shots of 512 float16 numbers, from the file, against searches in memory.

Ours and the peers take turns in one process; the figures are ratios of the fastest of each, since the machine drifts.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import Row

from avs_cli import machine
from avs_cli.core.search.exact import top_shots
from avs_cli.io.store.reader import open_gallery
from avs_cli.io.store.writer import Item, StoreWriter

SHOTS, DIM, TOPICS, DEPTH = 1_400_000, 512, 30, 1000
THREADS = machine.cores()
ROUNDS = 5


def queries() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((TOPICS, DIM), dtype=np.float32)


def build(path: Path) -> None:
    """The gallery, written part by part as `avs extract` writes it."""
    chance = np.random.default_rng(0)
    with StoreWriter(path, "bench", DIM, {"model": "bench"}) as writer:
        for first in range(0, SHOTS, 20_000):
            vectors = chance.standard_normal((20_000, DIM), dtype=np.float32)
            writer.add([Item(None, name(i), vector) for i, vector in enumerate(vectors, start=first)])
        writer.finish([name(i) for i in range(SHOTS)])


def name(i: int) -> str:
    return f"shot{i // 100:05d}_{i % 100}"


def ours(path: Path, topics: int = TOPICS) -> list[dict[str, float]]:
    with open_gallery([str(path)]) as gallery:
        return top_shots([queries()[:topics]], gallery, DEPTH, THREADS)[0]


def seconds(what: Callable[[], object]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def rows() -> Iterator[Row | tuple[str, str, str]]:
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory(prefix="avs-bench-") as folder:
        path = Path(folder) / "gallery.h5"
        build(path)
        yield "search: memory above the start, whole process", f"{memory(path)} MB", "≤ 1024 MB"
        with open_gallery([str(path)]) as gallery:
            whole = np.empty((SHOTS, DIM), np.float32)
            first = 0
            for block in gallery.blocks():
                whole[first : first + len(block.ids)] = block.vectors
                first += len(block.ids)
        lengths = np.linalg.norm(whole, axis=1, keepdims=True)
        whole /= lengths
        asked = queries() / np.linalg.norm(queries(), axis=1, keepdims=True)
        memory_gallery, topics = torch.from_numpy(whole), torch.from_numpy(asked)
        jobs: dict[str, Callable[[], object]] = {
            "ours": lambda: ours(path),
            "one": lambda: ours(path, 1),
            "torch": lambda: (topics @ memory_gallery.T).topk(DEPTH, dim=1),
            "product": lambda: topics @ memory_gallery.T,
            "read": lambda: read(path),
        }
        flat = faiss_flat(whole)
        if flat is not None:
            jobs["faiss"] = lambda: flat.search(asked, DEPTH)
        best = dict.fromkeys(jobs, float("inf"))
        for _ in range(ROUNDS):
            for job, run in jobs.items():
                best[job] = min(best[job], seconds(run))
        peak = 1e9 * peak_gflops()
    size = SHOTS * DIM * 2
    floor = max(best["read"] / THREADS, 2 * SHOTS * DIM * TOPICS / peak)
    what, took = f"search {TOPICS} topics, {SHOTS / 1e6:.1f} M × {DIM} float16, from the file", best["ours"]
    limit = "reading" if best["read"] / THREADS == floor else "multiply-adds at peak"
    yield Row(what, took, "s", "torch in memory (product and top-k)", best["torch"], "≤ 0.7", floor, limit)
    yield Row(what, took, "s", "the product alone, in memory", best["product"])
    if flat is not None:
        yield Row(what, took, "s", "faiss Flat in memory", best["faiss"], "≥ 3")
    else:
        yield what, "skipped", "needs the package faiss"
    one = f"search 1 topic, {SHOTS / 1e6:.1f} M × {DIM} float16, from the file"
    yield Row(
        one, best["one"], "s", "reading its bytes, one thread", best["read"], "≤ 1.5", best["read"] / THREADS, "reading"
    )
    yield "search: bytes of the file", f"{size / took / 1e9:.1f} GB/s", ""


def faiss_flat(whole: np.ndarray) -> Any:
    """faiss's exact index over the vectors; None where faiss is not installed."""
    try:
        import faiss
    except ModuleNotFoundError:
        return None
    faiss.omp_set_num_threads(THREADS)
    flat = faiss.IndexFlatIP(whole.shape[1])
    flat.add(whole)
    return flat


def read(path: Path) -> None:
    """The bytes of the file, into memory that is there."""
    room = bytearray(4 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(room):
            pass


def peak_gflops() -> float:
    """Billions of multiplications and additions a second in a large product of square matrices."""
    square = torch.rand(2048, 2048)
    return max(2 * 2048**3 / seconds(lambda: square @ square) / 1e9 for _ in range(ROUNDS))


def memory(path: Path) -> int:
    """The most that a search adds to the memory of a process with its libraries loaded, in megabytes."""
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import bench_search as b; "
        # getrusage would give the parent's peak where that is higher.
        "most = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]); "
        "before = most(); b.ours(Path(sys.argv[1])); print((most() - before) // 1024)"
    )
    command = [sys.executable, "-c", program, str(path), str(Path(__file__).parent)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
