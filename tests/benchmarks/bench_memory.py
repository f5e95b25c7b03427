"""Memory of train, distill, search and view, and how it grows with ten times the captions, shots or results.

Stores are synthetic and their vectors short, since vectors stay on disk: what could grow is ids, texts and positions.
The figures are peaks of whole processes, libraries included, as the kernel counts them.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avs_cli.io.store.schema import array, created, write_ids

CAPTIONS, PER_VIDEO, FEATURES, DIM = 2_000_000, 10, 3, 8
PIECE = 100_000

PEAK = """
import sys
from pathlib import Path
from avs_cli.cli import main
try:
    main()
except SystemExit as exit:
    if exit.code:
        raise
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)
"""


def peak(*arguments: object) -> int:
    """The largest resident size of a command, in megabytes."""
    command = [sys.executable, "-c", PEAK, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return int(done.stderr.split()[-1]) // 1024


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


def training(folder: Path, captions: int) -> list[object]:
    """The options of train that name its data: captions of videos, with three features of each."""
    videos = [f"video{i:07d}" for i in range(captions // PER_VIDEO)]
    ids = [f"{video}#enc#{k}" for video in videos for k in range(PER_VIDEO)]
    (folder / "captions.txt").write_text("".join(f"{id} a sentence of about ten words for {id[:12]}\n" for id in ids))
    options: list[object] = [folder / "captions.txt"]
    for number in range(FEATURES):
        build(folder / f"v{number}.h5", f"v{number}", videos)
        build(folder / f"t{number}.h5", f"t{number}", ids)
        options += ["--video", folder / f"v{number}.h5", "--text", folder / f"t{number}.h5"]
    return options


if __name__ == "__main__":
    import time

    n = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        t = time.time()
        options = training(Path(name), n)
        print("built", time.time() - t)
        t = time.time()
        print(
            peak(
                "train",
                *options,
                "--epochs",
                1,
                "--head",
                "laff:dim=16",
                "--batch-size",
                2048,
                "-o",
                Path(name) / "h.safetensors",
            ),
            "MB",
            time.time() - t,
        )
