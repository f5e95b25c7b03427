"""`avs fuse`: fuse several runs into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avs_cli import applies, options
from avs_cli.console import TERMINAL, note
from avs_cli.core.fusion.ltr import OPTIMISED
from avs_cli.core.fusion.methods import methods
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from avs_cli.core.fusion.ltr.report import LearningReport

Method = Annotated[
    str,
    typer.Option(
        metavar="METHOD",
        help=f"Fusion method: {', '.join(methods.names())}, with parameters as in rrf:k=60 or combsum:norm=zscore; "
        "average is that of raw scores; merge joins runs over the parts of a gallery, each as deep as the result; "
        "bayesfuse, mapfuse, mixed, posfuse, probfuse, segfuse, slidefuse and wmnz learn from --qrels; weights are "
        "given as in borda:weights=2/1, or weights=measure takes each run's --measure on --qrels; weighted learns them "
        "(Step 1 of --ltr) unless given.",
    ),
]
Steps = Annotated[
    Literal["auto", "1", "2"],
    typer.Option(
        help="Steps of --ltr: 1, linear weights only; 2, also the model of --step-2; auto, 2 if cross-validation on "
        "the training topics shows a gain greater than its standard error.",
    ),
]
Second = Annotated[
    Literal["logistic", "lambdamart"],
    typer.Option(
        "--step-2",
        help="Model of Step 2: logistic regression, or LambdaMART as published (XGBoost). On 30 topics of "
        "TREC-COVID they gain .0066 (p .016) and .0027 AP (p .13) over Step 1.",
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


def fuse(
    context: typer.Context,
    runs: options.Runs,
    method: Method = "rrf",
    ltr: Annotated[
        bool, typer.Option("--ltr", help="Learning to rank from --qrels: linear weights, then reranking.")
    ] = False,
    steps: Steps = "auto",
    step_2: Second = "logistic",
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Print a table of all methods and of --ltr on the topics of --qrels, and which one to use.",
        ),
    ] = False,
    qrels: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Judgments to learn from; repeatable."),
    ] = None,
    measure: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Measure to optimise, to weigh runs with weights=measure, and to compare methods: "
            f"{', '.join(OPTIMISED[:-1])} or {OPTIMISED[-1]}.",
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
    json: Annotated[bool, typer.Option("--json", help="Print the table of --compare as JSON.")] = False,
    topics: options.Topics = "",
    depth: options.Depth = 1000,
    tag: options.Tag = "fused",
    output: options.Output = "-",
) -> None:
    """Fuse several runs into one.

    Without judgments, rrf is a good choice. With judgments, --ltr learns in two steps. Step 1 finds one weight per run
    by coordinate ascent on the measure. Step 2 reranks Step 1's best shots of each topic by logistic regression or
    LambdaMART (--step-2) over the scores and ranks of all runs, and interpolates its scores with Step 1's. As it learns
    from judged shots alone, it reranks to the depth where 95 % of Step 1's shots are judged.

    A run without shots for a topic, as of texts that lack its words, has no part in it: the topic is ranked by the
    other runs alone. Learning to rank sees that there is no hit.

    A judged topic is ranked out of fold, by a model fitted on the judged topics of the other folds; a topic without
    judgments is ranked by a model fitted on all judged topics. Judgments of earlier years serve new topics in two
    commands: --save fits a model on runs of the earlier topics, --load applies it to runs with the same names.

    Other methods that learn, such as segfuse, rank judged topics out of fold in the same way. --compare evaluates all
    of them, with significance tests.

    \b
    Examples:
      avs fuse clip.run blip.run laff.run -o fused.run
      avs fuse part1.run part2.run --method merge --tag avs -o whole.run
      avs fuse clip.run blip.run laff.run --ltr --qrels tv22.qrels --report - -o fused.run
      avs fuse clip.run blip.run laff.run --compare --qrels tv22.qrels
    """
    from avs_cli.core.fusion import fitting
    from avs_cli.errors import SpecError
    from avs_cli.io.text.trec import write_run
    from avs_cli.stages import fuse as stage

    qrels, report = qrels or [], report or []
    if [*runs, *qrels, topics].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    source = context.get_parameter_source("output")
    writes = not save or source is None or source.name != "DEFAULT"
    learns = ltr or bool(load) or method == "weighted"
    by_method = not learns and not compare and fitting.learns(method)
    if compare:
        _check_comparison(context, bool(qrels), folds)
    elif by_method:
        _check_method(context, method, bool(qrels), folds)
    else:
        _check(context, method, ltr, steps, learns, bool(qrels), save, load, report, output if writes else "", folds)
    paths = _expanded(runs)
    number: int | Literal["by-year"] = "by-year" if folds == "by-year" else int(folds)
    if compare:
        _compare(paths, qrels, measure, number, seed, threads, topics, json)
        return
    found: LearningReport | None = None
    if by_method:
        fused = stage.fuse(
            paths,
            method,
            qrels=qrels,
            measure=measure,
            folds=number,
            seed=seed,
            topics=topics,
            depth=depth,
            report=TERMINAL,
        )
    elif not learns:
        fused = stage.fuse(paths, method, topics=topics, depth=depth, report=TERMINAL)
    elif load:
        fused = stage.apply(load, paths, topics=topics, depth=depth, report=TERMINAL)
    else:
        learned = stage.learn(
            paths,
            qrels,
            measure=measure,
            steps=steps if ltr else "1",
            second=step_2,
            folds=number,
            seed=seed,
            threads=threads,
            topics=topics,
            depth=depth,
            fused=writes,
            fitted=bool(save),
            reported=bool(report),
            report=TERMINAL,
        )
        fused, found = learned.run, learned.report
        if save and learned.fuser:
            stage.write_fuser(save, learned.fuser)
            if not writes:
                fitted = f"fitted on {len(learned.fuser.topics)} judged topics ({learned.fuser.measure})"
                note(f"{save}: {fitted}; no run written (no -o)")
    if writes:
        write_run(output, fused, tag, depth)
    if not found:
        return
    for path in report:
        if path == "-":
            _print(found)
        else:
            stage.write_report(path, found)


def _check(
    context: typer.Context,
    method: str,
    ltr: bool,
    steps: str,
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
    learning = ("qrels", "measure", "steps", "step_2", "folds", "seed", "threads", "save", "report")
    unlearned = f"with --method {method}; add --ltr to learn from judgments"
    if load:
        unlearned = "with --load, which applies a model as it was saved"
    applies.refuse(
        context,
        (bool(load) or not learns, learning, unlearned),
        (not (load or ltr), ["steps", "step_2"], "without --ltr"),
        (steps == "1", ["step_2"], "with --steps 1"),
        (not (load or output or report), ["folds"], "on the saved model; add -o FILE or --report FILE"),
        (True, ["json"], "without --compare"),
    )
    if (save or report) and (load or not learns):
        raise SpecError(f"{'--save' if save else '--report'} has no effect {unlearned}")
    if "-" in report and output == "-":
        raise SpecError("the run and the report cannot both go to stdout; add -o FILE")
    _check_folds(folds)
    for path in report:
        if path != "-" and not path.endswith((".txt", ".json")):
            from avs_cli.io.figures import figure_format

            figure_format(path)


def _check_method(context: typer.Context, method: str, judged: bool, folds: str) -> None:
    """Reject invalid combinations with a method that learns, before files are read."""
    from avs_cli.core.fusion import fitting
    from avs_cli.errors import SpecError

    if not judged:
        raise SpecError(
            f"--method {method} learns from judgments (--qrels FILE, qrels in avs.toml or AVS_QRELS); --method rrf "
            "needs nothing"
        )
    idle = ["steps", "step_2", "threads", "save", "report"] + ([] if fitting.accepts_weights(method) else ["measure"])
    applies.refuse(context, (True, idle, f"with --method {method}"), (True, ["json"], "without --compare"))
    _check_folds(folds)


def _check_comparison(context: typer.Context, judged: bool, folds: str) -> None:
    """Reject invalid combinations with --compare, before files are read."""
    from avs_cli.errors import SpecError

    if not judged:
        raise SpecError("--compare needs judgments (--qrels FILE, qrels in avs.toml or AVS_QRELS)")
    idle = ("method", "ltr", "steps", "step_2", "save", "load", "report", "depth", "tag", "output")
    applies.refuse(context, (True, idle, "with --compare, which prints a table of all methods"))
    _check_folds(folds)


def _check_folds(folds: str) -> None:
    from avs_cli.errors import SpecError

    if folds != "by-year" and not (folds.isascii() and folds.isdigit() and 2 <= int(folds) <= 10_000):
        raise SpecError(f"--folds {folds}: expected by-year, or a number of folds from 2")


def _compare(
    runs: list[str],
    qrels: list[str],
    measure: str,
    folds: int | Literal["by-year"],
    seed: int,
    threads: int,
    topics: str,
    json: bool,
) -> None:
    """Print the comparison of all methods."""
    from avs_cli.console import table
    from avs_cli.core.fusion import comparison
    from avs_cli.stages import fuse as stage

    found = stage.compare(
        runs,
        qrels,
        measure=measure,
        folds=folds,
        seed=seed,
        threads=threads,
        topics=topics,
        report=TERMINAL,
    )
    if json:
        print(comparison.as_json(found), end="")
    else:
        table(*comparison.rows(found), title=comparison.caption(found))
        print(comparison.advice(found))


def _expanded(runs: list[str]) -> list[str]:
    """The paths, with patterns from avs.toml expanded."""
    from glob import glob
    from pathlib import Path

    paths = []
    for run in runs:
        found = sorted(glob(run)) if not Path(run).exists() and any(mark in run for mark in "*?[") else []
        paths += found or [run]
    return paths


def _print(found: LearningReport) -> None:
    """Print a report as tables."""
    from avs_cli.console import table
    from avs_cli.core.fusion.ltr import report

    table(*report.step_rows(found), title=report.legend(found))
    table(*report.part_rows(found), title="Step 1")
