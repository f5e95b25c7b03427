"""avs eval: runs against judgments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from avs_cli import options
from avs_cli.console import note, table
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from avs_cli.core.evaluation import Evaluator, Scores
    from avs_cli.core.reports import Report
    from avs_cli.types import Qrels, Run

Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        "-m",
        metavar="NAME",
        help="xinfAP (the default), infNDCG, iP@100, AP, P@10, nDCG@20 …; repeatable.",
    ),
]
Agreement = Annotated[
    str,
    typer.Option(
        metavar="WITH",
        help="Add Kendall's tau and tau_AP with the ranking of runs by another measure, by a file of 'run score' lines "
        "or by FILE.csv:COLUMN.",
    ),
]


class Scored(NamedTuple):
    """What one run gave: its values, what was said of its topics' names, and its precision-recall curve for a plot."""

    scores: Scores
    renamed: str
    curve: list[tuple[float, float]]


def eval(
    qrels: Annotated[str, typer.Argument(metavar="QRELS", help="Judgments; or captions, which are topics then.")],
    runs: options.Runs,
    measure: Measures = None,
    by_topic: Annotated[bool, typer.Option("--by-topic", "-q", help="Show every topic too.")] = False,
    baseline: Annotated[str, typer.Option(metavar="RUN", help="Test against this run instead of the best.")] = "",
    test: Annotated[
        Literal["randomization", "t", "tukey"],
        typer.Option(help="Test of paired differences; randomization and t are Holm-corrected."),
    ] = "randomization",
    seed: options.Seed = 0,
    missing: Annotated[
        Literal["skip", "zero"],
        typer.Option(help="A judged topic that the run lacks: leave it out, as NIST does, or count it as 0."),
    ] = "skip",
    format: Annotated[Literal["table", "nist"], typer.Option(help="nist prints the rows of sample_eval.pl.")] = "table",
    json: options.Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, values in full precision.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table.")] = False,
    plot: Annotated[
        str, typer.Option(metavar="FILE", help="Draw topics and precision-recall: .svg, .png, .pdf."), WRITES
    ] = "",
    agreement: Agreement = "",
) -> None:
    """Score runs against judgments, with tests of significance between them.

    The runs' names are those of their files. One line per run on stderr says how many ties were broken, how much of the
    top was not judged and which topics are missing.
    """
    import gc

    # Millions of strings and no cycles: looking for garbage among them takes a twentieth of the time.
    gc.set_threshold(100_000)
    from avs_cli.core import reports
    from avs_cli.core.evaluation import Evaluator
    from avs_cli.io.forks import forked
    from avs_cli.io.trec import read_run

    _check(json, csv, latex, format == "nist", plot, bool(measure), len(runs), bool(agreement))
    first = read_run(runs[0])
    judged, default = _judgments(qrels, first)
    names = [name for _, name in reports.NIST_ROWS] if format == "nist" else measure or default
    truth = _leaderboard(agreement)
    hidden = [agreement] if agreement and truth is None else []
    evaluator = Evaluator(judged, [*names, *hidden], missing, captions=default != ["xinfAP"])
    found = [_scored(evaluator, runs[0], first, bool(plot))]
    found += forked(lambda path: _scored(evaluator, path, read_run(path), bool(plot)), runs[1:])
    named = reports.names(runs)
    scores = {name: one.scores for name, one in zip(named, found, strict=True)}
    for path, one in zip(runs, found, strict=True):
        note(f"{path}: {one.renamed}{one.scores.gaps}")
    measures = evaluator.measures[: len(dict.fromkeys(names))]
    report = reports.compare(scores, measures, baseline, test, seed)
    if hidden:
        sign = -1 if evaluator.measures[-1].ascending else 1
        truth = {name: sign * score.means[agreement] for name, score in scores.items()}
    agreed = reports.system_agreement(report, truth) if truth is not None else []
    if plot:
        curves = {name: one.curve for name, one in zip(named, found, strict=True)}
        _draw(plot, report, curves)
    if format == "nist":
        print(reports.as_nist(report.entries[0].scores, by_topic), end="")
    elif json:
        print(reports.as_json(report, by_topic, agreed), end="")
    elif csv:
        print(reports.as_csv(report, by_topic), end="")
    elif latex:
        print(reports.as_latex(report), end="")
    else:
        _print_tables(report, by_topic, agreed, agreement)


def _check(
    json: bool, csv: bool, latex: bool, nist: bool, plot: str, measured: bool, runs: int, agreement: bool
) -> None:
    """Refuse combinations that mean nothing, before files are read."""
    from avs_cli.errors import SpecError

    shown = {"--json": json, "--csv": csv, "--latex": latex, "--format nist": nist}
    ways = [way for way, asked in shown.items() if asked]
    if len(ways) > 1:
        raise SpecError(f"{' and '.join(ways)}: one way of printing at a time")
    if nist and (measured or runs > 1):
        raise SpecError("--format nist prints its own measures, of one run")
    if agreement and (runs < 2 or csv or latex or nist):
        raise SpecError("--agreement needs two runs or more, and prints with a table or --json")
    if plot:
        from avs_cli.io.figures import figure_format

        figure_format(plot)


def _judgments(path: str, run: Run) -> tuple[Qrels, list[str]]:
    """The judgments of a qrels or a caption file, and the measures that are usual for them."""
    from avs_cli.core.evaluation import CAPTION_MEASURES
    from avs_cli.io.captions import are_captions, caption_qrels, parse_captions
    from avs_cli.io.pipe import read_text
    from avs_cli.io.trec import parse_qrels

    text = read_text(path)
    if are_captions(text):
        return caption_qrels(parse_captions(path, text), run), list(CAPTION_MEASURES)
    return parse_qrels(path, text), ["xinfAP"]


def _scored(evaluator: Evaluator, path: str, run: Run, drawn: bool) -> Scored:
    from avs_cli.errors import MismatchError
    from avs_cli.io.topics import align_topics

    run, renamed = align_topics(run, evaluator.qrels)
    try:
        scores = evaluator.evaluate(run)
    except MismatchError as error:
        raise MismatchError(f"{path}: {error}") from None
    return Scored(scores, f"{renamed}; " if renamed else "", evaluator.curve(run) if drawn else [])


def _leaderboard(agreement: str) -> dict[str, float] | None:
    """Published scores, or None when `agreement` names no file and so is a measure."""
    from pathlib import Path

    path, _, column = agreement.partition(":")
    if not agreement or not Path(path).is_file():
        return None
    from avs_cli.io.leaderboard import read_leaderboard

    return read_leaderboard(path, column)


def _draw(path: str, report: Report, curves: dict[str, list[tuple[float, float]]]) -> None:
    from avs_cli.core.plots import figure
    from avs_cli.io.figures import write_figure

    write_figure(path, figure(report, {entry.run: curves[entry.run] for entry in report.entries}))


def _print_tables(report: Report, by_topic: bool, agreed: list[tuple[str, float, float]], other: str) -> None:
    from avs_cli.core import reports

    if by_topic:
        for title, columns, lines in reports.topic_rows(report):
            table(columns, lines, title)
    if len(report.entries) == 1:
        # No table for one run: what prints one takes longer to load than the run takes to score.
        for name, mean in report.entries[0].scores.means.items():
            print(f"{name:<12} {mean:.4f}")
        return
    title = f"p against {report.baseline}: {reports.TESTS[report.test]}"
    table(*reports.rows(report), title)
    if agreed:
        lines = [[name, f"{tau:.4f}", f"{tau_ap:.4f}"] for name, tau, tau_ap in agreed]
        table(["measure", "tau", "tau_AP"], lines, f"agreement with {other}")
