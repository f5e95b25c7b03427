"""`avs fuse`: fuse several runs into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from avs_cli import applies, options
from avs_cli.console import TERMINAL, note
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from avs_cli.core.fusion.ltr.report import LearningReport
    from avs_cli.types import Fuser, Qrels, Run

Method = Annotated[
    str,
    typer.Option(
        metavar="METHOD",
        help="Fusion method: rrf, combsum, combmnz, combmax, combmed, combanz, average (of raw scores), isr or borda, "
        "with parameters as in rrf:k=60 or combsum:norm=zscore; weighted learns one weight per run from --qrels (Step "
        "1 of --ltr) unless given as in weighted:weights=2/1.",
    ),
]
Steps = Annotated[
    Literal["auto", "1", "2"],
    typer.Option(
        help="Steps of --ltr: 1, linear weights only; 2, also LambdaMART; auto, LambdaMART if cross-validation on the "
        "training topics shows a gain greater than its standard error.",
    ),
]
Reports = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Weights per run, gain of each step, ablation loss of each run: .txt, .json, .svg, .png, .pdf, or - for a "
        "table on stdout; repeatable.",
    ),
    WRITES,
]


class Learning(NamedTuple):
    """Settings of learning to rank.

    measure  "" for the default measure of the judgments
    steps    "1", "2" or "auto"
    folds    a number, or "by-year"
    """

    measure: str
    steps: str
    folds: str
    seed: int
    threads: int


def fuse(
    context: typer.Context,
    runs: options.Runs,
    method: Method = "rrf",
    ltr: Annotated[
        bool, typer.Option("--ltr", help="Learning to rank from --qrels: linear weights, then LambdaMART.")
    ] = False,
    steps: Steps = "auto",
    qrels: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Judgments to learn from; repeatable."),
    ] = None,
    measure: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Measure to optimise: xinfAP, AP, nDCG, nDCG@k or P@k.",
            show_default="xinfAP for sampled judgments, else AP",
        ),
    ] = "",
    folds: Annotated[
        str,
        typer.Option(metavar="K|by-year", help="K-fold cross-validation over the judged topics, or one fold per year."),
    ] = "5",
    seed: options.Seed = 0,
    threads: options.Threads = 0,
    save: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Save the model fitted on all judged topics (JSON); a fused run is then written only with -o.",
        ),
        WRITES,
    ] = "",
    load: Annotated[str, typer.Option(metavar="FILE", help="Apply a model saved with --save.")] = "",
    report: Reports = None,
    topics: options.Topics = "",
    depth: options.Depth = 1000,
    tag: options.Tag = "fused",
    output: options.Output = "-",
) -> None:
    """Fuse several runs into one.

    Without judgments, rrf is a good choice. With judgments, --ltr learns in two steps. Step 1 finds one weight per run
    by coordinate ascent on the measure. Step 2 reranks Step 1's best 1000 shots of each topic by LambdaMART, boosted
    trees over the scores and ranks of all runs, and interpolates its scores with Step 1's.

    A judged topic is ranked out of fold, by a model fitted on the judged topics of the other folds; a topic without
    judgments is ranked by a model fitted on all judged topics. Judgments of earlier years serve new topics in two
    commands: --save fits a model on runs of the earlier topics, --load applies it to runs with the same names.

    \b
    Examples:
      avs fuse clip.run blip.run laff.run -o fused.run
      avs fuse clip.run blip.run laff.run --ltr --qrels tv22.qrels --report - -o fused.run
    """
    import os.path

    from avs_cli.core.fusion.methods import methods
    from avs_cli.errors import SpecError
    from avs_cli.io.text.trec import read_run, write_run
    from avs_cli.stages.inputs import selected

    qrels, report = qrels or [], report or []
    if [*runs, *qrels, topics].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    source = context.get_parameter_source("output")
    writes = not save or source is None or source.name != "DEFAULT"
    learns = ltr or bool(load) or method == "weighted"
    _check(context, method, ltr, learns, bool(qrels), save, load, report, output if writes else "", folds)
    merge = None if learns else methods.load(method)
    paths = _expanded(runs)
    named = _named(paths)
    if merge is not None and hasattr(methods.module(method), "shares") and all(map(os.path.isfile, paths)):
        write_run(output, _by_ranks(paths, method, topics, depth), tag, depth)
        return
    loaded = dict(zip(named, selected(list(map(read_run, paths)), topics, TERMINAL), strict=True))
    _check_topics(paths, list(loaded.values()))
    if merge is not None:
        write_run(output, merge(list(loaded.values())), tag, depth)
    elif load:
        write_run(output, _by_saved(load, loaded, depth), tag, depth)
    else:
        how = Learning(measure, steps if ltr else "1", folds, seed, threads)
        fused, found = _learned(loaded, qrels, how, save, writes, bool(report), depth)
        if writes:
            write_run(output, fused, tag, depth)
        if found:
            _write_reports(found, report)


def _check(
    context: typer.Context,
    method: str,
    ltr: bool,
    learns: bool,
    judged: bool,
    save: str,
    load: str,
    report: list[str],
    output: str,
    folds: str,
) -> None:
    """Reject invalid combinations before files are read; `output` is "" when no run is written."""
    from avs_cli.errors import SpecError

    if (ltr or load) and method != "weighted" and (method != "rrf" or applies.written(context, "method")):
        raise SpecError(f"{'--ltr' if ltr else '--load'} and --method {method} are mutually exclusive")
    if learns and not judged and not load:
        raise SpecError(
            f"{'learning to rank' if ltr else '--method weighted'} needs judgments (--qrels FILE, qrels in avs.toml or "
            "AVS_QRELS) or a saved fuser (--load FILE); --method rrf needs nothing"
        )
    learning = ("qrels", "measure", "steps", "folds", "seed", "threads", "save", "report")
    unlearned = f"with --method {method}; add --ltr to learn from judgments"
    if load:
        unlearned = "with --load, which applies a model as it was saved"
    applies.refuse(
        context,
        (bool(load) or not learns, learning, unlearned),
        (not (load or ltr), ["steps"], "without --ltr"),
        (not (load or output or report), ["folds"], "on the saved model; add -o FILE or --report FILE"),
    )
    if (save or report) and (load or not learns):
        raise SpecError(f"{'--save' if save else '--report'} has no effect {unlearned}")
    if "-" in report and output == "-":
        raise SpecError("the run and the report cannot both go to stdout; add -o FILE")
    if folds != "by-year" and not (folds.isascii() and folds.isdigit() and 2 <= int(folds) <= 10_000):
        raise SpecError(f"--folds {folds}: expected by-year, or a number of folds from 2")
    for path in report:
        if path != "-" and not path.endswith((".txt", ".json")):
            from avs_cli.io.figures import figure_format

            figure_format(path)


def _expanded(runs: list[str]) -> list[str]:
    """The paths, with patterns from avs.toml expanded."""
    from glob import glob
    from pathlib import Path

    paths = []
    for run in runs:
        found = sorted(glob(run)) if not Path(run).exists() and any(mark in run for mark in "*?[") else []
        paths += found or [run]
    return paths


def _named(paths: list[str]) -> list[str]:
    """The names of the runs; raises SpecError for a single run, MismatchError for duplicate names."""
    from collections import Counter

    from avs_cli.core.evaluation.reports import names
    from avs_cli.errors import MismatchError, SpecError

    if len(paths) < 2:
        raise SpecError(f"fusion needs at least two runs, got only {paths[0]}")
    named = names(paths)
    twice = [name for name, count in Counter(named).items() if count > 1]
    if twice:
        raise MismatchError(f"two runs are named {twice[0]}")
    return named


def _check_topics(paths: list[str], runs: Sequence[Iterable[str]]) -> None:
    """Note the topics that some runs lack; raises MismatchError when no two runs share a topic."""
    from collections import Counter

    from avs_cli.errors import MismatchError

    counts = Counter(topic for topics in runs for topic in topics)
    if max(counts.values()) < 2:
        raise MismatchError(f"the runs have no topic in common, such as {paths[0]} and {paths[1]}")
    alone = sum(count < len(runs) for count in counts.values())
    if alone:
        note(f"{alone} of {len(counts)} topics are missing from some of the {len(runs)} runs")


def _by_ranks(paths: list[str], method: str, topics: str, depth: int) -> Run:
    """Fuse runs by a rank-based method; each process sums part of the runs."""
    from avs_cli.core.fusion import rank_sums
    from avs_cli.core.fusion.methods import shares
    from avs_cli.io.forks import forked, worth
    from avs_cli.io.text.rankings import read_rankings
    from avs_cli.io.text.topics import absent_topics, select_topics, topic_ids

    wanted = topic_ids(topics) if topics else None
    by_rank = shares.load(method)

    def part(some: list[str]) -> tuple[list[list[str]], rank_sums.Sums]:
        rankings = [read_rankings(path) for path in some]
        have = [list(one) for one in rankings]
        if wanted is not None:
            rankings = [select_topics(one, wanted) for one in rankings]
        longest = max((len(shots) for one in rankings for shots in one.values()), default=0)
        return have, rank_sums.sums(rankings, by_rank(len(paths), longest))

    workers = worth(len(paths))
    size = -(-len(paths) // workers)
    parts = forked(part, [paths[start : start + size] for start in range(0, len(paths), size)], workers)
    have = [run for several, _ in parts for run in several]
    if wanted is not None:
        if absent := absent_topics(wanted, have):
            note(absent)
        have = [list(select_topics(dict.fromkeys(run), wanted)) for run in have]
    _check_topics(paths, have)
    return rank_sums.best(rank_sums.added([total for _, total in parts]), depth)


def _by_saved(path: str, runs: Mapping[str, Run], depth: int) -> Run:
    """Fuse runs with a saved model."""
    from avs_cli.core.fusion.ltr.learning import as_scores, steps
    from avs_cli.core.fusion.ltr.topic_matrix import pool
    from avs_cli.errors import MismatchError
    from avs_cli.io.fuser import read_fuser

    fuser = read_fuser(path)
    for name in fuser.runs:
        if name not in runs:
            raise MismatchError(f"{path} was fitted on a run named {name}, which is missing")
    for name in runs:
        if name not in fuser.runs:
            raise MismatchError(f"{path} was not fitted on a run named {name}; remove the run or refit")
    topics = dict.fromkeys(topic for run in runs.values() for topic in run)
    known = [topic for topic in topics if topic in fuser.topics]
    if known:
        note(f"{path} was fitted on {len(known)} of these {len(topics)} topics, so their scores are optimistic")
    ordered = [runs[name] for name in fuser.runs]
    fused = {}
    for topic in topics:
        block = pool(ordered, topic, {})
        fused[topic] = as_scores(block, steps(fuser, block)[1], depth)
    return fused


def _learned(
    runs: dict[str, Run], qrels: list[str], how: Learning, save: str, writes: bool, reported: bool, depth: int
) -> tuple[Run, LearningReport | None]:
    """Fuse runs with a model learned from judgments; with the report if requested.

    Nothing is fused if no run is written, and no folds are fitted if there is no report either.
    """
    import os

    from avs_cli.core.evaluation.evaluator import usual
    from avs_cli.core.fusion.ltr import batched, report
    from avs_cli.core.fusion.ltr.folds import by_year, split
    from avs_cli.core.fusion.ltr.learning import as_scores, cross_fit, learn, steps
    from avs_cli.core.fusion.ltr.topic_matrix import pool
    from avs_cli.io.fuser import write_fuser

    topics = list(dict.fromkeys(topic for run in runs.values() for topic in run))
    judged = _judged(qrels, topics)
    measure = how.measure or usual(judged)
    batched.parsed(measure)
    parts: list[list[str]] = []
    if writes or reported:
        parts = by_year(list(judged)) if how.folds == "by-year" else split(list(judged), int(how.folds), how.seed)
    # Sorted, so that the result does not depend on the order of the arguments.
    names = sorted(runs)
    needed = topics if writes else list(judged)
    blocks = {topic: pool([runs[name] for name in names], topic, judged.get(topic, {})) for topic in needed}
    known = {topic: blocks[topic] for topic in sorted(judged)}
    threads = how.threads or os.cpu_count() or 1
    fusers = cross_fit(known, parts, names, measure, how.steps, how.seed, threads, reported)
    mine = {topic: fuser for part, fuser in zip(parts, fusers, strict=True) for topic in part}
    others = len(blocks) - len(known)
    whole = learn(known, names, measure, how.steps, how.seed, threads) if others or save else None
    fused = {}
    for topic, block in blocks.items() if writes else ():
        fuser = mine.get(topic) or whole
        assert fuser is not None
        fused[topic] = as_scores(block, steps(fuser, block)[1], depth)
    if fusers:
        note(
            f"{len(known)} judged topics ranked out of fold ({len(fusers)} folds, {measure}), {others} others by a "
            "model fitted on all judged topics"
        )
    _note_steps([*fusers, whole] if whole else fusers, how.steps)
    if save and whole:
        write_fuser(save, whole)
        if not writes:
            note(f"{save}: fitted on {len(known)} judged topics ({measure}); no run written (no -o)")
    return fused, report.report(known, parts, fusers, how.seed) if reported else None


def _judged(paths: list[str], topics: Sequence[str]) -> Qrels:
    """The judgments of the runs' topics, with the topic ids of the runs."""
    from avs_cli.errors import MismatchError, few
    from avs_cli.io.text.topics import align_topics
    from avs_cli.io.text.trec import read_qrels

    found: Qrels = {}
    where: dict[str, str] = {}
    theirs: dict[str, None] = {}
    for path in paths:
        qrels, renamed = align_topics(read_qrels(path), topics)
        if renamed:
            note(f"{path}: {renamed}")
        theirs |= dict.fromkeys(qrels)
        judged = [topic for topic in topics if topic in qrels]
        if not judged and len(paths) > 1:
            note(f"{path} judges none of the runs' topics")
        for topic in judged:
            if topic in where:
                raise MismatchError(f"topic {topic} is judged in both {where[topic]} and {path}; give one of them")
            where[topic], found[topic] = path, qrels[topic]
    if not found:
        one = paths[0] if len(paths) == 1 else "--qrels"
        raise MismatchError(
            f"{one} judges none of the runs' topics ({few(topics)}), but {few(theirs)}: fit on runs of the judged "
            "topics with --save fuser.json, then fuse these runs with --load fuser.json"
        )
    return {topic: found[topic] for topic in topics if topic in found}


def _note_steps(fits: Sequence[Fuser], asked: str) -> None:
    """Note the decisions on Step 2."""
    left = [fuser for fuser in fits if not fuser.mix]
    if asked == "auto" and left:
        note(f"Step 1 only (linear weights) in {len(left)} of {len(fits)} fits: {left[0].verdict}")
    elif asked == "auto" and fits:
        note(f"Steps 1 and 2 in {len(fits)} of {len(fits)} fits: {fits[-1].verdict}")


def _write_reports(found: LearningReport, files: list[str]) -> None:
    """Write the report to each of `files`, in the format of its extension."""
    from avs_cli.console import table
    from avs_cli.core.fusion.ltr import report
    from avs_cli.io.atomic import writing

    for path in files:
        if path == "-":
            table(*report.step_rows(found), title=report.legend(found))
            table(*report.part_rows(found), title="Step 1")
        elif path.endswith((".txt", ".json")):
            with writing(path) as out:
                out.write(report.as_text(found) if path.endswith(".txt") else report.as_json(found))
        else:
            from avs_cli.io.figures import write_figure

            write_figure(path, report.figure(found))
