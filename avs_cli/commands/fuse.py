"""avs fuse: several runs into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from avs_cli import options
from avs_cli.console import note
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from avs_cli.core.fusion_reports import Report
    from avs_cli.types import Fuser, Qrels, Run

Method = Annotated[
    str,
    typer.Option(
        metavar="METHOD",
        help="rrf, combsum, combmnz, combmax, combmed, combanz, isr, borda, with parameters as in rrf:k=60 or "
        "combsum:norm=zscore; weighted learns a weight per run from --qrels, or takes weighted:weights=2/1.",
    ),
]
Reports = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Weights per run, gain per step, loss without each run: .txt, .json, .svg, .png, .pdf, or - for a table "
        "on stdout; repeatable.",
    ),
    WRITES,
]


def fuse(
    runs: options.Runs,
    method: Method = "rrf",
    ltr: Annotated[bool, typer.Option("--ltr", help="Learn to rank: weights per run, then LambdaMART.")] = False,
    qrels: Annotated[str, typer.Option(metavar="FILE", help="Judgments to learn from.")] = "",
    measure: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What to learn for: xinfAP, AP, nDCG, nDCG@20, P@10; xinfAP for sampled judgments, else AP.",
        ),
    ] = "",
    folds: Annotated[
        str, typer.Option(metavar="K|by-year", help="Judged topics are ranked by what others taught, in K parts.")
    ] = "5",
    seed: options.Seed = 0,
    threads: options.Threads = 0,
    save: Annotated[
        str, typer.Option(metavar="FILE", help="Keep what all judged topics taught: fuser.json."), WRITES
    ] = "",
    load: Annotated[str, typer.Option(metavar="FILE", help="Fuse by a fuser that --save kept.")] = "",
    report: Reports = None,
    depth: options.Depth = 1000,
    tag: options.Tag = "fused",
    output: options.Output = "-",
) -> None:
    """Merge several runs into one.

    Without judgments, rrf is a good choice. With some, --ltr learns from them; a judged topic is ranked by what the
    topics of the other folds taught and never by its own judgments, other topics by what all judged ones taught.
    """
    import os.path

    from avs_cli.core.fusion import methods
    from avs_cli.io.trec import read_run, write_run

    learns = ltr or bool(load) or method == "weighted"
    _check(method, ltr, learns, qrels, save, load, report or [], output, folds)
    merge = None if learns else methods.load(method)
    paths = _expanded(runs)
    named = _named(paths)
    if merge is not None and hasattr(methods.module(method), "shares") and all(map(os.path.isfile, paths)):
        write_run(output, _by_ranks(paths, method, depth), tag, depth)
        return
    loaded = dict(zip(named, map(read_run, paths), strict=True))
    _check_topics(paths, list(loaded.values()))
    if merge is not None:
        write_run(output, merge(list(loaded.values())), tag, depth)
    elif load:
        write_run(output, _by_saved(load, loaded, depth), tag, depth)
    else:
        fused, told = _learned(loaded, qrels, measure, folds, ltr, seed, threads, save, bool(report), depth)
        write_run(output, fused, tag, depth)
        if told:
            _tell(told, report or [])


def _check(
    method: str, ltr: bool, learns: bool, qrels: str, save: str, load: str, report: list[str], output: str, folds: str
) -> None:
    """Refuse combinations that mean nothing, before files are read."""
    from avs_cli.errors import SpecError

    if ltr and method not in ("rrf", "weighted"):
        raise SpecError(f"--ltr and --method {method} are two ways to fuse; choose one")
    if learns and not qrels and not load:
        raise SpecError(
            f"{'learning to rank' if ltr else '--method weighted'} needs judgments (--qrels FILE, qrels in avs.toml or "
            "AVS_QRELS) or a saved fuser (--load FILE); --method rrf needs nothing"
        )
    if (save or report) and (load or not learns):
        raise SpecError(
            f"{'--save' if save else '--report'} is for what is learned now: with --ltr or --method weighted"
        )
    if "-" in report and output == "-":
        raise SpecError("the run and the report cannot both go to stdout; add -o FILE")
    if folds != "by-year" and not (folds.isascii() and folds.isdigit() and 2 <= int(folds) <= 10_000):
        raise SpecError(f"--folds {folds}: by-year, or a number of parts from 2 on")
    for path in report:
        if path != "-" and not path.endswith((".txt", ".json")):
            from avs_cli.io.figures import figure_format

            figure_format(path)


def _expanded(runs: list[str]) -> list[str]:
    """The paths, with the patterns that no shell has expanded (those of avs.toml) expanded here."""
    from glob import glob
    from pathlib import Path

    paths = []
    for run in runs:
        found = sorted(glob(run)) if not Path(run).exists() and any(mark in run for mark in "*?[") else []
        paths += found or [run]
    return paths


def _named(paths: list[str]) -> list[str]:
    """The runs' names; raises SpecError for one run alone, MismatchError for two of one name."""
    from collections import Counter

    from avs_cli.core.reports import names
    from avs_cli.errors import MismatchError, SpecError

    if len(paths) < 2:
        raise SpecError(f"fusing takes two runs or more, and {paths[0]} is one")
    named = names(paths)
    twice = [name for name, count in Counter(named).items() if count > 1]
    if twice:
        raise MismatchError(f"{twice[0]} is given twice")
    return named


def _check_topics(paths: list[str], runs: Sequence[Iterable[str]]) -> None:
    """Say which topics of the runs are not in all of them; raises MismatchError when none is in two."""
    from collections import Counter

    from avs_cli.errors import MismatchError

    counts = Counter(topic for topics in runs for topic in topics)
    if max(counts.values()) < 2:
        raise MismatchError(f"the runs have no topic in common: {paths[0]} and {paths[1]} are of different topics")
    alone = sum(count < len(runs) for count in counts.values())
    if alone:
        note(f"{alone} of {len(counts)} topics are missing from some of the {len(runs)} runs")


def _by_ranks(paths: list[str], method: str, depth: int) -> Run:
    """The runs fused by a method that looks at ranks alone: each process sums its part of the runs."""
    from avs_cli.core import rank_sums
    from avs_cli.core.fusion import shares
    from avs_cli.io.forks import forked, worth
    from avs_cli.io.rankings import read_rankings

    by_rank = shares.load(method)

    def part(some: list[str]) -> tuple[list[list[str]], rank_sums.Sums]:
        rankings = [read_rankings(path) for path in some]
        longest = max(len(shots) for one in rankings for shots in one.values())
        return [list(one) for one in rankings], rank_sums.sums(rankings, by_rank(len(paths), longest))

    workers = worth(len(paths))
    size = -(-len(paths) // workers)
    parts = forked(part, [paths[start : start + size] for start in range(0, len(paths), size)], workers)
    _check_topics(paths, [topics for several, _ in parts for topics in several])
    return rank_sums.best(rank_sums.added([total for _, total in parts]), depth)


def _by_saved(path: str, runs: Mapping[str, Run], depth: int) -> Run:
    """The runs fused by a saved fuser."""
    from avs_cli.core.learning_to_rank import as_scores, steps
    from avs_cli.core.score_blocks import pool
    from avs_cli.errors import MismatchError
    from avs_cli.io.fuser import read_fuser

    fuser = read_fuser(path)
    for name in fuser.runs:
        if name not in runs:
            raise MismatchError(f"{path} learned from a run called {name}, which is not among those given")
    for name in runs:
        if name not in fuser.runs:
            raise MismatchError(f"{path} did not learn from a run called {name}; leave it out or learn again")
    topics = dict.fromkeys(topic for run in runs.values() for topic in run)
    known = [topic for topic in topics if topic in fuser.topics]
    if known:
        note(f"{path} learned from {len(known)} of these {len(topics)} topics: their rankings know their own judgments")
    ordered = [runs[name] for name in fuser.runs]
    fused = {}
    for topic in topics:
        block = pool(ordered, topic, {})
        fused[topic] = as_scores(block, steps(fuser, block)[1], depth)
    return fused


def _learned(
    runs: dict[str, Run],
    qrels: str,
    measure: str,
    folds: str,
    both: bool,
    seed: int,
    threads: int,
    save: str,
    reported: bool,
    depth: int,
) -> tuple[Run, Report | None]:
    """The runs fused by what judgments teach, and the report when it is asked for."""
    import os

    from avs_cli.core import batched_measures
    from avs_cli.core.folds import by_year, split
    from avs_cli.core.learning_to_rank import as_scores, cross_fit, learn, steps
    from avs_cli.core.score_blocks import pool
    from avs_cli.io.fuser import write_fuser

    topics = list(dict.fromkeys(topic for run in runs.values() for topic in run))
    judged = _judged(qrels, topics)
    measure = measure or batched_measures.usual(judged)
    batched_measures.parsed(measure)
    parts = by_year(list(judged)) if folds == "by-year" else split(list(judged), int(folds), seed)
    # In an order of their own, so that it makes no difference in which order they are given.
    names = sorted(runs)
    blocks = {topic: pool([runs[name] for name in names], topic, judged.get(topic, {})) for topic in topics}
    known = {topic: blocks[topic] for topic in sorted(judged)}
    threads = threads or os.cpu_count() or 1
    fusers = cross_fit(known, parts, names, measure, both, seed, threads)
    mine = {topic: fuser for part, fuser in zip(parts, fusers, strict=True) for topic in part}
    others = [topic for topic in topics if topic not in judged]
    whole = learn(known, names, measure, both, seed, threads) if others or save else None
    fused = {}
    for topic, block in blocks.items():
        fuser = mine.get(topic) or whole
        assert fuser is not None
        fused[topic] = as_scores(block, steps(fuser, block)[1], depth)
    _note_learned(measure, fusers, whole, len(known), len(others), both)
    if save and whole:
        write_fuser(save, whole)
    if not reported:
        return fused, None
    from avs_cli.core import fusion_reports

    return fused, fusion_reports.report(known, parts, fusers, seed)


def _judged(path: str, topics: Sequence[str]) -> Qrels:
    """The judgments of the runs' topics, by the runs' names for them."""
    from avs_cli.errors import MismatchError
    from avs_cli.io.topics import align_topics
    from avs_cli.io.trec import read_qrels

    qrels, renamed = align_topics(read_qrels(path), topics)
    if renamed:
        note(f"{path}: {renamed}")
    judged = {topic: qrels[topic] for topic in topics if topic in qrels}
    if not judged:
        raise MismatchError(
            f"{path} judges none of the runs' topics: they have {topics[0]} …, it has {next(iter(qrels), 'none')} …"
        )
    return judged


def _note_learned(
    measure: str, fusers: Sequence[Fuser], whole: Fuser | None, judged: int, others: int, both: bool
) -> None:
    note(
        f"{judged} judged topics fused out of fold ({len(fusers)} folds, {measure}), "
        f"{others} others by what all judged ones taught"
    )
    fits = [*fusers, whole] if whole else list(fusers)
    kept = [fuser for fuser in fits if not fuser.mix]
    if both and kept:
        note(f"Step 1 alone in {len(kept)} of {len(fits)} fits: {kept[0].verdict}")


def _tell(found: Report, files: list[str]) -> None:
    """The report to each of `files`, as its ending says."""
    from avs_cli.console import table
    from avs_cli.core import fusion_reports
    from avs_cli.io.atomic import writing

    for path in files:
        if path == "-":
            table(*fusion_reports.step_rows(found), title=f"{found.topics} judged topics, out of fold")
            table(*fusion_reports.part_rows(found), title="runs in Step 1")
        elif path.endswith((".txt", ".json")):
            with writing(path) as out:
                out.write(fusion_reports.as_text(found) if path.endswith(".txt") else fusion_reports.as_json(found))
        else:
            from avs_cli.io.figures import write_figure

            write_figure(path, fusion_reports.figure(found))
