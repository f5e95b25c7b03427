"""How soon small commands answer, as whole processes, against `python -c 'import torch'`."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from results import Row

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CLIPS = ("sam2_dog.mp4", "sam2_juggle.mp4", "sam2_cups.mp4")
ROUNDS = 5


def seconds(command: Sequence[object], folder: Path) -> float:
    started = time.perf_counter()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, *map(str, command)]
    subprocess.run(line, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def rows() -> Iterator[Row]:
    clips = [DATA / "clips" / name for name in CLIPS]
    for clip in clips:
        clip.stat()
    avs = ("-m", "avs_cli")
    extract = (*avs, "extract", *clips, "-o", "clips.h5")
    search = (*avs, "search", "clips.h5", "-q", "a dog")
    jobs = {
        "avs --help": ((*avs, "--help"), "≤ 0.5"),
        "avs info of a run": ((*avs, "info", "a.run"), "≤ 0.5"),
        "avs extract, all done": (extract, "≤ 0.7"),
        "avs search, one query, 3 clips": (search, "≤ 1.3"),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds(extract, folder)
        seconds((*search, "-o", "a.run"), folder)
        # In turn, so that what else the machine does burdens all of them alike; the least of each.
        taken: dict[str, list[float]] = {"torch": [], **{what: [] for what in jobs}}
        for _ in range(ROUNDS):
            taken["torch"].append(seconds(("-c", "import torch"), folder))
            for what, (command, _) in jobs.items():
                taken[what].append(seconds(command, folder))
    torch = min(taken["torch"])
    for what, (_, goal) in jobs.items():
        yield Row(what, min(taken[what]), "s", "import torch", torch, goal)
