"""`avs eval`: evaluate runs against judgments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from avs_cli import applies, options
from avs_cli.console import note, note_each, table
from avs_cli.errors import SpecError
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avs_cli.core.evaluation.evaluator import Evaluator, Scores
    from avs_cli.core.evaluation.reports import Report
    from avs_cli.types import Qrels, Run

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
        help="Measure: xinfAP, infNDCG, iP@100, Judged@10, RBP(p=0.8), ERR@20, or a measure of trec_eval in "
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


class Scored(NamedTuple):
    """The evaluation of one run: its values, a note on renamed topics, and its precision-recall curve for a plot."""

    scores: Scores
    renamed: str
    curve: list[tuple[float, float]]


class Judged(NamedTuple):
    """The judgments of all qrels together, their default measures, and the name and topics of each qrels.

    parts  empty for one qrels
    """

    qrels: Qrels
    usual: list[str]
    captions: bool
    parts: dict[str, set[str]]


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
    from avs_cli.core.evaluation.evaluator import Evaluator, run_notes
    from avs_cli.io.forks import forked
    from avs_cli.io.text.trec import read_run

    judgments, runs = (qrels, runs) if qrels else (runs[:1], runs[1:])
    _check(json, csv, latex, format == "nist", plot, bool(measure), len(runs), bool(agreement))
    applies.refuse(
        context,
        (len(runs) == 1, ("baseline", "test", "seed"), "on a single run"),
        (test != "randomization", ["seed"], f"with --test {test}"),
        (latex, ["by_topic"], "with --latex; --csv and --json print topics"),
    )
    if [*judgments, *runs, topics].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    first = _first_run(runs[0], bool(qrels))
    judged = _judgments(judgments, first, topics)
    if format == "nist" and judged.parts:
        raise SpecError("--format nist is for one qrels")
    names = [name for _, name in reports.NIST_ROWS] if format == "nist" else measure or judged.usual
    truth = _leaderboard(agreement)
    hidden = [agreement] if agreement and truth is None else []
    evaluator = Evaluator(judged.qrels, [*names, *hidden], missing, judged.captions)
    wanted = judged.qrels if topics else None
    found = [_scored(evaluator, runs[0], first, bool(plot), wanted)]
    found += forked(lambda path: _scored(evaluator, path, read_run(path), bool(plot), wanted), runs[1:])
    named = reports.names(runs)
    scores = {name: one.scores for name, one in zip(named, found, strict=True)}
    gaps = {path: one.scores.gaps for path, one in zip(runs, found, strict=True)}
    note_each(run_notes(gaps, {path: one.renamed for path, one in zip(runs, found, strict=True)}))
    measures = evaluator.measures[: len(dict.fromkeys(names))]
    report = reports.compare(scores, measures, baseline if len(runs) > 1 else "", test, seed, judged.parts)
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
    """Reject invalid combinations before files are read."""
    if not runs:
        raise SpecError("no run given; usage: avs eval QRELS RUN... or avs eval --qrels FILE RUN...")
    shown = {"--json": json, "--csv": csv, "--latex": latex, "--format nist": nist}
    ways = [way for way, asked in shown.items() if asked]
    if len(ways) > 1:
        raise SpecError(f"{' and '.join(ways)} are mutually exclusive")
    if nist and (measured or runs > 1):
        raise SpecError("--format nist has its own measures and takes one run")
    if agreement and (runs < 2 or csv or latex or nist):
        raise SpecError("--agreement needs at least two runs, and table or --json output")
    if plot:
        from avs_cli.io.figures import figure_format

        figure_format(plot)


def _first_run(path: str, optional: bool) -> Run:
    """Read the first run; an error hints at qrels among the arguments when --qrels is set."""
    from avs_cli.errors import FormatError, MismatchError
    from avs_cli.io.text.trec import read_run

    try:
        return read_run(path)
    except FormatError as error:
        if optional and error.line == 1:
            raise MismatchError(f"{error}; with --qrels, all arguments are runs") from None
        raise


def _judgments(paths: Sequence[str], run: Run, topics: str) -> Judged:
    """The judgments in qrels or caption files, or in folders of them, for the topics that `--topics` selects."""
    from avs_cli.core.evaluation import reports
    from avs_cli.core.evaluation.evaluator import CAPTION_MEASURES, usual
    from avs_cli.errors import MismatchError, few
    from avs_cli.io.text.topics import select_topics, topic_ids
    from avs_cli.io.text.trec import qrels_files

    files = [file for path in paths for file in qrels_files(path)]
    wanted = topic_ids(topics) if topics else None
    qrels: Qrels = {}
    parts: dict[str, set[str]] = {}
    kinds = set()
    for path, name in zip(files, reports.qrels_names(files), strict=True):
        own, captions = _read_judgments(path, run)
        kinds.add(captions)
        if wanted is not None:
            own = select_topics(own, wanted)
        if shared := [topic for topic in own if topic in qrels]:
            before = next(part for part, judged in parts.items() if shared[0] in judged)
            raise MismatchError(
                f"{path}: topic {shared[0]} is judged in {before} too; each topic may be in one qrels only"
            )
        if own:
            parts[name] = set(own)
        qrels |= own
    if len(kinds) > 1:
        raise MismatchError(f"{few(files)}: some are captions and some are qrels")
    if wanted is not None:
        if not qrels:
            raise MismatchError(f"--topics selects {few(wanted)}, none of which is judged in {few(files)}")
        absent = len(wanted) - len(qrels)
        if absent > 0:
            note(f"{absent} of {len(wanted)} selected topics are not judged")
    captions = kinds == {True}
    measures = list(CAPTION_MEASURES) if captions else [usual(qrels)]
    return Judged(qrels, measures, captions, parts if len(files) > 1 else {})


def _read_judgments(path: str, run: Run) -> tuple[Qrels, bool]:
    """The judgments in a file, and whether they come from captions."""
    from avs_cli.io.pipe import read_text
    from avs_cli.io.text.captions import are_captions, caption_qrels, parse_captions
    from avs_cli.io.text.trec import parse_qrels

    text = read_text(path)
    captions = are_captions(text)
    return caption_qrels(parse_captions(path, text), run) if captions else parse_qrels(path, text), captions


def _scored(evaluator: Evaluator, path: str, run: Run, drawn: bool, wanted: Qrels | None) -> Scored:
    """Evaluate a run, on the `wanted` topics only if some are selected."""
    from avs_cli.errors import MismatchError
    from avs_cli.io.text.topics import align_topics, select_topics

    run, renamed = align_topics(run if wanted is None else select_topics(run, wanted) or run, evaluator.qrels)
    try:
        scores = evaluator.evaluate(run)
    except MismatchError as error:
        raise MismatchError(f"{path}: {error}") from None
    return Scored(scores, renamed, evaluator.curve(run) if drawn else [])


def _leaderboard(agreement: str) -> dict[str, float] | None:
    """Published scores, or None when `agreement` is not a file but a measure."""
    from pathlib import Path

    path, _, column = agreement.partition(":")
    if not agreement or not Path(path).is_file():
        return None
    from avs_cli.io.text.leaderboard import read_leaderboard

    return read_leaderboard(path, column)


def _draw(path: str, report: Report, curves: dict[str, list[tuple[float, float]]]) -> None:
    from avs_cli.core.evaluation.plots import figure
    from avs_cli.io.figures import write_figure

    write_figure(path, figure(report, {entry.run: curves[entry.run] for entry in report.entries}))


def _print_tables(report: Report, by_topic: bool, agreed: list[tuple[str, float, float]], other: str) -> None:
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
    if agreed:
        lines = [[name, f"{tau:.4f}", f"{tau_ap:.4f}"] for name, tau, tau_ap in agreed]
        table(["measure", "tau", "tau_AP"], lines, f"agreement with {other}")
