"""avs eval: runs against judgments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from avs_cli import options
from avs_cli.commands import _applies
from avs_cli.console import note, note_each, table
from avs_cli.errors import SpecError
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avs_cli.core.evaluation import Evaluator, Scores
    from avs_cli.core.reports import Report
    from avs_cli.types import Qrels, Run

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="[QRELS] RUN...",
        help="Qrels (or captions, for caption retrieval), unless --qrels gives them, and TREC runs, plain or .gz; - is "
        "stdin.",
    ),
]
Judgments = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE|FOLDER",
        help="Qrels, one per year, or a folder of them: a column for each and the mean of the columns. All arguments "
        "are then runs.",
    ),
]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        "-m",
        metavar="NAME",
        help="xinfAP, infNDCG, iP@100, Judged@10, RBP(p=0.8), ERR@20, or a measure of trec_eval as ir_measures writes "
        "it: AP, P@10, nDCG@20 …; repeatable.",
        show_default="xinfAP for sampled qrels, else AP",
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
    """What one run gave: its values, which topics were renamed, and its precision-recall curve for a plot."""

    scores: Scores
    renamed: str
    curve: list[tuple[float, float]]


class Judged(NamedTuple):
    """The judgments of all qrels together, the measures that are usual for them, and each qrels' name and topics.

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
    by_topic: Annotated[bool, typer.Option("--by-topic", "-q", help="Print the values of every topic too.")] = False,
    baseline: Annotated[str, typer.Option(metavar="RUN", help="Test against this run instead of the best.")] = "",
    test: Annotated[
        Literal["randomization", "t", "tukey"],
        typer.Option(help="Test of paired differences; randomization and t are Holm-corrected."),
    ] = "randomization",
    seed: options.Seed = 0,
    missing: Annotated[
        Literal["skip", "zero"],
        typer.Option(
            help="Judged topics that a run lacks: leave them out of its mean, as NIST does, or count them as 0."
        ),
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

    The runs' names are those of their files. Several qrels, such as those of three years, give a column each, and the
    mean of the columns. Notes on stderr list missing and unjudged topics, the number of ties that the shot ids decided,
    and how much of the top was not judged.
    """
    import gc

    # Millions of strings and no cycles: looking for garbage among them takes a twentieth of the time.
    gc.set_threshold(100_000)
    from avs_cli.core import reports
    from avs_cli.core.evaluation import Evaluator, run_notes
    from avs_cli.io.forks import forked
    from avs_cli.io.trec import read_run

    judgments, runs = (qrels, runs) if qrels else (runs[:1], runs[1:])
    _check(json, csv, latex, format == "nist", plot, bool(measure), len(runs), bool(agreement))
    _applies.refuse(
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
    """Refuse combinations that mean nothing, before files are read."""
    if not runs:
        raise SpecError("no run given: write `avs eval QRELS RUN...`, or `avs eval --qrels FILE RUN...`")
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


def _first_run(path: str, optional: bool) -> Run:
    """The run; where --qrels (or the environment) gives judgments, an error says that a first argument is none."""
    from avs_cli.errors import FormatError, MismatchError
    from avs_cli.io.trec import read_run

    try:
        return read_run(path)
    except FormatError as error:
        if optional and error.line == 1:
            raise MismatchError(f"{error}; with --qrels every argument is a run") from None
        raise


def _judgments(paths: Sequence[str], run: Run, topics: str) -> Judged:
    """The judgments of qrels or caption files, or of folders of them, on the topics that `--topics` selects."""
    from avs_cli.core import reports
    from avs_cli.core.evaluation import CAPTION_MEASURES, usual
    from avs_cli.errors import MismatchError, few
    from avs_cli.io.topics import select_topics, topic_ids
    from avs_cli.io.trec import qrels_files

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
            raise MismatchError(f"{path}: topic {shared[0]} is in {before} too; a topic is judged in one qrels")
        if own:
            parts[name] = set(own)
        qrels |= own
    if len(kinds) > 1:
        raise MismatchError(f"{few(files)}: some are captions and some are qrels")
    if wanted is not None:
        if not qrels:
            raise MismatchError(f"--topics selects {few(wanted)}, of which {few(files)} judges none")
        absent = len(wanted) - len(qrels)
        if absent > 0:
            note(f"{absent} of {len(wanted)} selected topics are not judged")
    captions = kinds == {True}
    measures = list(CAPTION_MEASURES) if captions else [usual(qrels)]
    return Judged(qrels, measures, captions, parts if len(files) > 1 else {})


def _read_judgments(path: str, run: Run) -> tuple[Qrels, bool]:
    """The judgments of a file, and whether it is one of captions."""
    from avs_cli.io.captions import are_captions, caption_qrels, parse_captions
    from avs_cli.io.pipe import read_text
    from avs_cli.io.trec import parse_qrels

    text = read_text(path)
    captions = are_captions(text)
    return caption_qrels(parse_captions(path, text), run) if captions else parse_qrels(path, text), captions


def _scored(evaluator: Evaluator, path: str, run: Run, drawn: bool, wanted: Qrels | None) -> Scored:
    """A run's scores; of its topics the `wanted` ones alone, where some are selected."""
    from avs_cli.errors import MismatchError
    from avs_cli.io.topics import align_topics, select_topics

    run, renamed = align_topics(run if wanted is None else select_topics(run, wanted) or run, evaluator.qrels)
    try:
        scores = evaluator.evaluate(run)
    except MismatchError as error:
        raise MismatchError(f"{path}: {error}") from None
    return Scored(scores, renamed, evaluator.curve(run) if drawn else [])


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
    elif len(report.entries) == 1 and not report.parts:
        # No table for one run: what prints one takes longer to load than the run takes to score.
        for name, mean in report.entries[0].scores.means.items():
            print(f"{name:<12} {mean:.4f}")
    else:
        table(*reports.rows(report), reports.caption(report) or None)
    if agreed:
        lines = [[name, f"{tau:.4f}", f"{tau_ap:.4f}"] for name, tau, tau_ap in agreed]
        table(["measure", "tau", "tau_AP"], lines, f"agreement with {other}")
