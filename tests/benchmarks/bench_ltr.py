"""Learning to rank: what it brings out of fold on real runs, and how stable that is."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avs_cli.core.fusion.ltr import folds, learning, report
from avs_cli.core.fusion.ltr.topic_matrix import pool
from avs_cli.io.text.trec import read_qrels, read_run
from avs_cli.types import Qrels, Run

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "trec-covid-r1"
SEEDS = range(5)
# Of every size of subset; the whole benchmark takes minutes as it is.
DRAWS = range(3)
SUBSETS = (10, 20, 40)


def gains(runs: dict[str, Run], qrels: Qrels, seed: int) -> dict[str, float]:
    """Out-of-fold AP by way to fuse."""
    blocks = {topic: pool(list(runs.values()), topic, qrels[topic]) for topic in sorted(qrels)}
    parts = folds.split(list(qrels), 5, seed)
    fusers = learning.cross_fit(blocks, parts, list(runs), "AP", "auto", seed, 2)
    steps = {step.name.split(" (")[0]: step.value for step in report.report(blocks, parts, fusers).steps}
    return {"Step 1 + 2": steps["Step 1"], **steps}


def said(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def rows() -> Iterator[tuple[str, str, str]]:
    files = sorted(map(str, (DATA / "runs").iterdir()))
    runs, qrels = {path: read_run(path) for path in files}, read_qrels(str(DATA / "qrels.covid-round1.txt"))
    found = [gains(runs, qrels, seed) for seed in SEEDS]
    goals = {"best run": "0.313", "RRF": "0.482", "Step 1": "≥ 0.511", "Step 1 + 2": "≥ 0.538"}
    for name, goal in goals.items():
        yield f"AP out of fold, {len(files)} runs × {len(qrels)} topics, {name}", said([f[name] for f in found]), goal
    for count in SUBSETS:
        drawn = [np.random.default_rng(seed).choice(files, count, replace=False).tolist() for seed in DRAWS]
        found = [gains({path: runs[path] for path in some}, qrels, seed) for seed, some in enumerate(drawn)]
        told = ", ".join(f"{name} {said([f[name] for f in found])}" for name in goals)
        yield f"AP out of fold, {count} runs drawn at random", told, "each step ≥ the one before"
    shuffled = [gains(runs, random_labels(qrels, seed), seed) for seed in SEEDS[:2]]
    lost = statistics.mean(f["Step 1 + 2"] - f["Step 1"] for f in shuffled)
    yield "Step 2's gain from random labels", f"{lost:+.4f}", "≤ 0.002"


def random_labels(qrels: Qrels, seed: int) -> Qrels:
    """The same judgments, given to the judged shots of each topic at random."""
    rng = np.random.default_rng(seed)
    return {
        topic: dict(zip(judged, [list(judged.values())[n] for n in rng.permutation(len(judged))], strict=True))
        for topic, judged in qrels.items()
    }
