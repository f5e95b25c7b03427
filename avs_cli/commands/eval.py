"""`avs eval`: evaluate runs against judgments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avs_cli import applies, options
from avs_cli.console import TERMINAL, table
from avs_cli.errors import SpecError
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from avs_cli.core.evaluation.reports import Report

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="[QRELS] RUN...",
        help="Qrels (or captions, for caption-based retrieval), unless given by --qrels, and TREC runs, plain or .gz; "
        "- is stdin.",
    ),
]
Judgments = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE|FOLDER",
        help="Qrels, one file per year, or a folder of them: one column per file, and their mean. All arguments are "
        "then runs; repeatable.",
    ),
]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        "-m",
        metavar="NAME",
        help="Measure, such as xinfAP, infNDCG, iP@100, Judged@10, RBP(p=0.8) or ERR@20, or a measure of trec_eval in "
        "ir_measures' notation: AP, P@10, nDCG@20 …; repeatable.",
        show_default="xinfAP for sampled qrels, else AP",
    ),
]
Agreement = Annotated[
    str,
    typer.Option(
        metavar="WITH",
        help="Report Kendall's tau and tau_AP with the ranking of runs by another measure, by a file of 'run score' "
        "lines or by FILE.csv:COLUMN.",
    ),
]


def eval(
    context: typer.Context,
    runs: Files,
    qrels: Judgments = None,
    measure: Measures = None,
    topics: options.Topics = "",
    by_topic: Annotated[bool, typer.Option("--by-topic", "-q", help="Print per-topic values too.")] = False,
    baseline: Annotated[
        str, typer.Option(metavar="RUN", help="Baseline run of the tests.", show_default="the best run")
    ] = "",
    test: Annotated[
        Literal["randomization", "t", "tukey"],
        typer.Option(help="Significance test of paired differences; randomization and t with Holm's correction."),
    ] = "randomization",
    seed: options.Seed = 0,
    missing: Annotated[
        Literal["skip", "zero"],
        typer.Option(help="Judged topics that a run lacks: omit them from its mean, as NIST does, or score them 0."),
    ] = "skip",
    format: Annotated[
        Literal["table", "nist"], typer.Option(help="Output format; nist prints the rows of sample_eval.pl.")
    ] = "table",
    json: options.Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, in full precision.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table.")] = False,
    plot: Annotated[
        str,
        typer.Option(metavar="FILE", help="Plot per-topic values and precision-recall curves: .svg, .png or .pdf."),
        WRITES,
    ] = "",
    agreement: Agreement = "",
) -> None:
    """Evaluate runs against judgments, with significance tests between runs.

    Runs are named by their files. With several qrels, such as those of three years, each has its own column, followed
    by the mean of the columns. Notes on stderr report missing and unjudged topics, tied scores and the share of the
    top ranks that is unjudged.

    \b
    Examples:
      avs eval tv22.qrels tv22.run
      avs eval tv22.qrels clip.run laff.run -m xinfAP -m P@10 --baseline clip
    """
    import gc

    # There are millions of strings and no cycles: garbage collection would take 5% of the time.
    gc.set_threshold(100_000)
    from avs_cli.core.evaluation import reports
    from avs_cli.errors import FormatError, MismatchError
    from avs_cli.io.text.trec import qrels_files
    from avs_cli.stages import evaluate as stage

    judgments, runs = (qrels, runs) if qrels else (runs[:1], runs[1:])
    nist = format == "nist"
    _check(json, csv, latex, nist, plot, bool(measure), len(runs), bool(agreement))
    applies.refuse(
        context,
        (len(runs) == 1, ("baseline", "test", "seed"), "on a single run"),
        (test != "randomization", ["seed"], f"with --test {test}"),
        (latex, ["by_topic"], "with --latex; --csv and --json print topics"),
    )
    if [*judgments, *runs, topics].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    if nist and sum(len(qrels_files(path)) for path in judgments) > 1:
        raise SpecError("--format nist is for one qrels")
    try:
        found = stage.evaluate(
            judgments,
            runs,
            [name for _, name in reports.NIST_ROWS] if nist else measure or (),
            topics=topics,
            missing=missing,
            baseline=baseline,
            test=test,
            seed=seed,
            agreement=agreement,
            curves=bool(plot),
            report=TERMINAL,
        )
    except FormatError as error:
        if qrels and error.path == runs[0] and error.line == 1:
            raise MismatchError(f"{error}; with --qrels, all arguments are runs") from None
        raise
    if plot:
        stage.plot(plot, found)
    if nist:
        print(reports.as_nist(found.report.entries[0].scores, by_topic), end="")
    elif json:
        print(reports.as_json(found.report, by_topic, found.agreement), end="")
    elif csv:
        print(reports.as_csv(found.report, by_topic), end="")
    elif latex:
        print(reports.as_latex(found.report), end="")
    else:
        _print_tables(found.report, by_topic, found.agreement, agreement)


def _check(
    json: bool, csv: bool, latex: bool, nist: bool, plot: str, measured: bool, runs: int, agreement: bool
) -> None:
    """Reject invalid combinations before files are read."""
    if not runs:
        raise SpecError("no run given; usage: avs eval QRELS RUN... or avs eval --qrels FILE RUN...")
    shown = {"--json": json, "--csv": csv, "--latex": latex, "--format nist": nist}
    ways = [way for way, given in shown.items() if given]
    if len(ways) > 1:
        raise SpecError(f"{' and '.join(ways)} are mutually exclusive")
    if nist and (measured or runs > 1):
        raise SpecError("--format nist has its own measures and takes one run")
    if agreement and (runs < 2 or csv or latex or nist):
        raise SpecError("--agreement needs at least two runs, and table or --json output")
    if plot:
        from avs_cli.io.figures import figure_format

        figure_format(plot)


def _print_tables(report: Report, by_topic: bool, agreement: list[tuple[str, float, float]], other: str) -> None:
    from avs_cli.core.evaluation import reports

    if by_topic:
        for title, columns, lines in reports.topic_rows(report):
            table(columns, lines, title)
    elif len(report.entries) == 1 and not report.parts:
        # Plain lines for one run: importing the table printer takes longer than the evaluation.
        for name, mean in report.entries[0].scores.means.items():
            print(f"{name:<12} {mean:.4f}")
    else:
        table(*reports.rows(report), reports.caption(report) or None)
    if agreement:
        lines = [[name, f"{tau:.4f}", f"{tau_ap:.4f}"] for name, tau, tau_ap in agreement]
        table(["measure", "tau", "tau_AP"], lines, f"agreement with {other}")
