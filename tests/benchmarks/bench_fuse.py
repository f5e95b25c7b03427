"""`avs fuse` of real runs: the time that it takes, next to ranx, and that the scores are those of ranx."""

import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from results import Row

from avs_cli.core.fusion import fitting
from avs_cli.core.fusion.methods import methods
from avs_cli.io.text.trec import read_qrels, read_run, write_run
from avs_cli.types import Qrels, Run, ranked

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "trec-covid-r1"
REPEATS = TRIES = 3

# Prints the seconds of its imports and, best of two, of reading and fusing; the first may compile.
RANX = """
import sys, time
start = time.perf_counter()
from ranx import Run, fuse
imports = time.perf_counter() - start
best = []
for _ in range(2):
    start = time.perf_counter()
    runs = [Run.from_file(path, kind="trec") for path in sys.argv[2:]]
    fused = fuse(runs, method="rrf", params={"k": 60})
    best.append(time.perf_counter() - start)
print(imports, min(best))
if sys.argv[1]:
    fused.save(sys.argv[1], kind="trec")
"""


def seconds(command: list[str]) -> tuple[float, float, float]:
    """Whole process: seconds, megabytes at its highest, and seconds of CPU time."""
    script = (
        "import resource, subprocess, sys, time; start = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "took, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(took, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)"
    )
    done = subprocess.run([sys.executable, "-c", script, *command], check=True, capture_output=True, text=True)
    took, held, used = map(float, done.stdout.split())
    return took, held, used


def rows() -> Iterator[Row | tuple[str, str, str]]:
    files = sorted(map(str, (DATA / "runs").iterdir()))
    qrels_file = str(DATA / "qrels.covid-round1.txt")
    yield from timed(files)
    yield from growth(files, qrels_file)
    compare = [sys.executable, "-m", "avs_cli", "fuse", *files, "--compare", "--qrels", qrels_file]
    yield f"--compare of {len(files)} runs, whole process", f"{seconds(compare)[0]:.0f} s", "< 60 s"
    runs, qrels = {path: read_run(path) for path in files}, read_qrels(qrels_file)
    yield from equal(list(runs.values()), qrels)


def timed(files: list[str], peer: str = "ranx") -> Iterator[Row | tuple[str, str, str]]:
    avs = [sys.executable, "-m", "avs_cli", "fuse"]
    there = find_spec(peer) is not None
    with tempfile.TemporaryDirectory() as folder:
        ours, imports, warm = [], [], []
        for repeat in range(REPEATS):
            ours += [seconds([*avs, *files, "-o", f"{folder}/rrf.run"]) for _ in range(TRIES)]
            if there:
                start = [sys.executable, "-c", RANX, "" if repeat else f"{folder}/ranx.run", *files]
                times = subprocess.run(start, check=True, capture_output=True, text=True).stdout.split()
                imports.append(float(times[0]))
                warm.append(float(times[1]))
        took = min(ours)[0]
        what = f"RRF of {len(files)} files, whole process"
        if there:
            yield Row(what, took, "s", f"{peer}, warm", min(imports) + min(warm), "≥ 8")
            yield Row(what, took, "s", f"{peer}'s reading and fusing alone", min(warm), "≥ 8")
            yield "RRF, largest difference from ranx", f"{difference(files, f'{folder}/ranx.run'):.1e}", "≤ 1e-9"
        else:
            yield Row(what, took, "s")
            yield what, "skipped", f"needs the package {peer}"
        yield "RRF, memory of each process", f"{max(held for _, held, _ in ours):.0f} MB", "< 1 GB"


def growth(files: list[str], qrels_file: str) -> Iterator[tuple[str, str, str]]:
    """The time of learning to rank by the number of runs and of topics; topics beyond the real ones are copies."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        qrels = read_qrels(qrels_file)
        several = {count: folder / f"{count}-topics" for count in (15, len(qrels), 50)}
        for count, here in several.items():
            here.mkdir()
            topics = [*qrels, *(f"copy-{topic}" for topic in qrels)][:count]
            wanted = {topic: topic.removeprefix("copy-") for topic in topics}
            lines = [f"{t} 0 {shot} {j.relevance}\n" for t, real in wanted.items() for shot, j in qrels[real].items()]
            (here / "qrels").write_text("".join(lines))
            for path in map(Path, files):
                run = read_run(str(path))
                write_run(str(here / path.name), {topic: run[real] for topic, real in wanted.items() if real in run})
        every, known = len(files), len(qrels)
        times: dict[tuple[int, int], float] = {}
        for runs, topics in ((every, known), (every, 50), (every // 2, known), (every // 4, known), (every, 15)):
            here = several[topics]
            given = ["--qrels", here / "qrels", "--measure", "AP", "--threads", 2, "-o", folder / "ltr.run"]
            given += [here / Path(file).name for file in files[:runs]]
            command = [sys.executable, "-m", "avs_cli", "fuse", "--ltr", *map(str, given)]
            took, held, times[runs, topics] = min(seconds(command) for _ in range(TRIES))
            goals = {(every, known): "≤ 5 s, < 1 GB", (every, 50): "≤ 8 s, < 1 GB"}
            what = f"--ltr of {runs} runs × {topics} topics, 5 folds, whole process"
            yield (
                what,
                f"{took:.1f} s ({times[runs, topics]:.1f} s of CPU time), {held:.0f} MB",
                goals.get((runs, topics), ""),
            )
        whole = times[every, known]
        doubled = f"{whole / times[every // 2, known]:.2f}× by runs, {whole / times[every, 15]:.2f}× by topics"
        yield "--ltr, CPU time of twice as many", doubled, "≤ 2.2×"


def equal(runs: list[Run], qrels: Qrels) -> Iterator[tuple[str, str, str]]:
    """The largest relative difference from the scores of ranx, of all methods that define them as it does.

    ranx runs in `$RANX_PYTHON`, or here. Runs have no ties, and every tenth topic is fused. Condorcet, Borda and
    CombMED differ by definition; tests/parity/test_ranx.py compares them.
    """
    what = "scores of all methods, largest difference from ranx, of the best score"
    python = os.environ.get("RANX_PYTHON") or (sys.executable if find_spec("ranx") else "")
    if not python:
        yield what, "skipped", "needs the package ranx, here or in $RANX_PYTHON"
        return
    clear = [{topic: untied(scores) for topic, scores in run.items()} for run in runs]
    fused = sorted(qrels)[::10]
    training = [topic for topic in qrels if topic not in fused]
    given = {
        "runs": clear,
        "qrels": {topic: {shot: max(0, j.relevance) for shot, j in judged.items()} for topic, judged in qrels.items()},
        "training": training,
        "weights": [0.25 + n % 11 for n in range(len(runs))],
        "leave": ["condorcet", "borda", "combmed"],
    }
    command = [python, str(Path(__file__).with_name("ranx_scores.py"))]
    done = subprocess.run(command, input=json.dumps(given), check=True, capture_output=True, text=True)
    known = fitting.judged_runs(clear, {topic: qrels[topic] for topic in training}, "AP")
    some = [{topic: run[topic] for topic in fused if topic in run} for run in clear]
    worst = 0.0
    theirs = json.loads(done.stdout)
    for spec, expected in theirs.items():
        for topic, scores in fitting.fitted(spec, known)(some).items():
            unit = max(map(abs, scores.values()))
            worst = max([worst, *(abs(score - expected[topic][shot]) / unit for shot, score in scores.items())])
    yield f"{what}, {len(theirs)} methods", f"{worst:.1e}", "≤ 1e-9"


def untied(scores: dict[str, float]) -> dict[str, float]:
    """Scores in the same order, without ties: each is less than the one before it."""
    clear: dict[str, float] = {}
    last = math.inf
    for shot in ranked(scores):
        last = clear[shot] = min(scores[shot], math.nextafter(last, -math.inf))
    return clear


def difference(files: list[str], theirs: str) -> float:
    """From ranx's scores, over topics that no run has a tie in: it breaks those by the order in the file."""
    runs, other = [read_run(path) for path in files], read_run(theirs)
    fused = methods.load("rrf")(runs)
    worst = 0.0
    for topic in fused:
        tied = {shot for run in runs for shot in ties(run.get(topic, {}))}
        for shot in fused[topic].keys() - tied:
            worst = max(worst, abs(fused[topic][shot] - other[topic][shot]))
    return worst


def ties(scores: dict[str, float]) -> set[str]:
    """Shots that share their score with another."""
    order = sorted(scores, key=scores.__getitem__)
    groups = (list(group) for _, group in itertools.groupby(order, key=scores.__getitem__))
    return {shot for group in groups if len(group) > 1 for shot in group}
