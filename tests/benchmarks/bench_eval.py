"""Evaluation from files, whole processes, on TRECVID 2021's 124,431 judgments: one run and 43, against other tools.

The tools take turns, and the fastest of each counts. NIST's script is not part of this project: on one idle machine it
took 0.20 s for a run of which ir_measures took 0.24 s, and that ratio stands for it here.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from results import Row

from avs_cli.io.text.trec import read_qrels, read_run, write_run

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "tv21"
RUNS, ROUNDS = 43, 7
SCRIPT = 0.20 / 0.24

TRECTOOLS = """
import sys
from trectools import TrecEval, TrecQrel, TrecRun
found = TrecEval(TrecRun(sys.argv[2]), TrecQrel(sys.argv[1]))
print(found.get_map(), found.get_precision(10))
"""
RANX = """
import sys
from ranx import Qrels, Run, evaluate
qrels, run = Qrels.from_file(sys.argv[1], kind="trec"), Run.from_file(sys.argv[2], kind="trec")
print(evaluate(qrels, run, ["map", "precision@10"]))
"""


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def fastest(rounds: int, **commands: list[str]) -> dict[str, float]:
    """The least seconds of each command, all of them taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            taken[name].append(seconds(command))
    return {name: min(values) for name, values in taken.items()}


def four_columns(qrels: Path, folder: Path) -> str:
    """The judgments as the other tools read them."""
    rows = [line.split() for line in qrels.read_text().splitlines()]
    path = folder / "four.qrels"
    path.write_text("".join(f"{topic} {zero} {shot} {relevance}\n" for topic, zero, shot, _, relevance in rows))
    return str(path)


def variants(qrels: Path, run: Path, folder: Path, count: int) -> list[str]:
    """As many runs of the real one's size: half of its shots, the rest drawn from the pool."""
    judged, real, chance = read_qrels(str(qrels)), read_run(str(run)), random.Random(0)
    paths = []
    for number in range(count):
        drawn = {}
        for topic, scores in real.items():
            kept = [shot for shot in scores if chance.random() < 0.5]
            shots = list(dict.fromkeys(kept + chance.sample(list(judged[topic]), 1000)))[:1000]
            drawn[topic] = {shot: round(1 - place / 1000, 6) for place, shot in enumerate(shots)}
        paths.append(str(folder / f"run{number:02}.trec"))
        write_run(paths[-1], drawn)
    return paths


def rows() -> Iterator[Row | tuple[str, str, str]]:
    qrels, run = DATA / "avs.qrels.main.tv21", DATA / "test_run.trec"
    python = sys.executable
    avs = [python, "-m", "avs_cli", "eval", str(qrels)]
    with tempfile.TemporaryDirectory(prefix="avs-bench-") as name:
        folder = Path(name)
        plain = four_columns(qrels, folder)
        peer = [python, "-m", "ir_measures", plain, str(run), "AP", "P@10", "nDCG@20"]
        many = variants(qrels, run, folder, RUNS)
        taken = fastest(
            ROUNDS, peer=peer, one=[*avs, str(run), "-m", "xinfAP", "-m", "AP", "-m", "P@10"], many=[*avs, *many]
        )
        what = "eval, xinfAP, AP and P@10 of one run"
        yield Row(what, taken["one"], "s", "ir_measures, three plain measures", taken["peer"], "≤ 0.9")
        script = RUNS * SCRIPT * taken["peer"]
        yield Row(f"eval, xinfAP of {RUNS} runs", taken["many"], "s", f"{RUNS} calls of NIST's script", script, "≥ 12")
        yield from others(what, {"trectools": TRECTOOLS, "ranx": RANX}, [plain, str(run)], taken["one"])


def others(
    what: str, scripts: Mapping[str, str], files: list[str], ours: float
) -> Iterator[Row | tuple[str, str, str]]:
    """A row for each of some Python packages; for one that is not installed, the row says so."""
    for tool, script in scripts.items():
        if find_spec(tool) is None:
            yield what, "skipped", f"needs the package {tool}"
            continue
        other = fastest(2, it=[sys.executable, "-c", script, *files])["it"]
        yield Row(what, ours, "s", f"{tool}, two plain measures", other)
