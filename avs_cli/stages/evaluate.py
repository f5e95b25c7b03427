"""Evaluation of runs against judgments, with significance tests between runs.

table = evaluate("tv22.qrels", ["clip.run", "laff.run"], measures=["xinfAP"])
table.means["clip"]["xinfAP"], table.by_topic["clip"]["xinfAP"]["1701"]
table.report  # runs from best to worst, with p-values; `core.evaluation.reports` writes it as JSON, CSV or LaTeX
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from avs_cli.core.evaluation import reports
from avs_cli.core.evaluation.evaluator import CAPTION_MEASURES, Evaluator, Scores, run_notes, usual
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.forks import forked
from avs_cli.io.pipe import read_text
from avs_cli.io.text.captions import are_captions, caption_qrels, parse_captions
from avs_cli.io.text.topics import align_topics, select_topics, topic_ids
from avs_cli.io.text.trec import parse_qrels, qrels_files
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, GivenRun, Paths, Runs, given_runs, path_names
from avs_cli.types import Qrels, Run

Curve = list[tuple[float, float]]
"""(recall, precision) at recall 0.0, 0.1, …, 1.0."""


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    report     runs from best to worst by the first measure, with the tests of their differences
    agreement  measure, Kendall's tau and tau_AP, for each measure; empty unless requested
    curves     run -> mean inferred precision at recall levels; empty unless requested
    """

    report: reports.Report
    agreement: list[tuple[str, float, float]]
    curves: dict[str, Curve]

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """Run -> measure -> mean (or sum, or median) over the topics."""
        return {entry.run: entry.scores.means for entry in self.report.entries}

    @property
    def by_topic(self) -> dict[str, dict[str, dict[str, float]]]:
        """Run -> measure -> topic -> value."""
        return {entry.run: entry.scores.by_topic for entry in self.report.entries}


class _Scored(NamedTuple):
    """The evaluation of one run: its values, a note on renamed topics, and its curve if requested."""

    scores: Scores
    renamed: str
    curve: Curve


class _Judged(NamedTuple):
    """The judgments of all qrels together, their default measures, and the name and topics of each qrels.

    parts  empty for one qrels
    """

    qrels: Qrels
    usual: list[str]
    captions: bool
    parts: dict[str, set[str]]


def evaluate(
    qrels: Paths | Qrels,
    runs: Runs,
    measures: Sequence[str] = (),
    *,
    topics: str = "",
    missing: Literal["skip", "zero"] = "skip",
    baseline: str = "",
    test: reports.Test = "randomization",
    seed: int = 0,
    agreement: str = "",
    curves: bool = False,
    report: Reporter = LOGGED,
) -> Evaluation:
    """The measures of each run, and the significance of the differences between runs.

    qrels      judgments or captions: a value, a path, a folder, or several paths, such as one per year; with several,
               each has its own column, and the mean is that of the columns
    measures   such as xinfAP, P@10 or RBP(p=0.8); by default xinfAP for sampled qrels, else AP
    topics     a topics file, or ids and ranges such as "731-750,761"; "" for all
    missing    a judged topic that a run lacks: "skip" omits it from the mean, as NIST does, "zero" counts it as 0
    baseline   the run that the others are tested against; "" for the best
    agreement  another measure, a file of "run score" lines or FILE.csv:COLUMN, to compare the ranking of the runs with
    curves     whether to compute precision-recall curves

    Missing and unjudged topics, ties, and unjudged shots at the top are reported. Raises MismatchError for runs
    without judged topics, UnknownName for a measure or baseline that does not exist.
    """
    given = given_runs(runs)
    if not given:
        raise SpecError("no run given")
    first = given[0].read()
    judged = _judgments(qrels, first, topics, report)
    names = list(measures) or judged.usual
    truth = _leaderboard(agreement)
    hidden = [agreement] if agreement and truth is None else []
    evaluator = Evaluator(judged.qrels, [*names, *hidden], missing, judged.captions)
    wanted = judged.qrels if topics else None
    scored = [_scored(evaluator, given[0], first, curves, wanted)]
    scored += forked(lambda run: _scored(evaluator, run, run.read(), curves, wanted), given[1:])
    gaps = {run.where: one.scores.gaps for run, one in zip(given, scored, strict=True)}
    report.note_each(run_notes(gaps, {run.where: one.renamed for run, one in zip(given, scored, strict=True)}))
    scores = {run.name: one.scores for run, one in zip(given, scored, strict=True)}
    shown = evaluator.measures[: len(dict.fromkeys(names))]
    table = reports.compare(scores, shown, baseline if len(given) > 1 else "", test, seed, judged.parts)
    if hidden:
        sign = -1 if evaluator.measures[-1].ascending else 1
        truth = {name: sign * score.means[agreement] for name, score in scores.items()}
    return Evaluation(
        table,
        reports.system_agreement(table, truth) if truth is not None else [],
        {run.name: one.curve for run, one in zip(given, scored, strict=True)} if curves else {},
    )


def plot(path: FilePath, evaluation: Evaluation) -> None:
    """Write a figure of per-topic values and of the precision-recall curves: .svg, .png or .pdf."""
    from avs_cli.core.evaluation.plots import figure
    from avs_cli.io.figures import write_figure

    curves = {entry.run: evaluation.curves[entry.run] for entry in evaluation.report.entries}
    write_figure(str(path), figure(evaluation.report, curves))


def _judgments(qrels: Paths | Qrels, first: Run, topics: str, report: Reporter) -> _Judged:
    """The judgments in qrels or caption files, or in folders of them, for the selected topics.

    first  the first run, whose topics say which way captions are searched
    """
    wanted = topic_ids(topics) if topics else None
    if isinstance(qrels, dict):
        files, given = ["the qrels"], {"the qrels": qrels}
    else:
        files, given = [file for path in path_names(qrels) for file in qrels_files(path)], {}
    every: Qrels = {}
    parts: dict[str, set[str]] = {}
    kinds = set()
    for path, name in zip(files, reports.qrels_names(files), strict=True):
        own, captions = (given[path], False) if path in given else _read_judgments(path, first)
        kinds.add(captions)
        if wanted is not None:
            own = select_topics(own, wanted)
        if shared := [topic for topic in own if topic in every]:
            before = next(part for part, judged in parts.items() if shared[0] in judged)
            raise MismatchError(
                f"{path}: topic {shared[0]} is judged in {before} too; each topic may be in one qrels only"
            )
        if own:
            parts[name] = set(own)
        every |= own
    if len(kinds) > 1:
        raise MismatchError(f"{few(files)}: some are captions and some are qrels")
    if wanted is not None:
        if not every:
            raise MismatchError(f"--topics selects {few(wanted)}, none of which is judged in {few(files)}")
        absent = len(wanted) - len(every)
        if absent > 0:
            report.note(f"{absent} of {len(wanted)} selected topics are not judged")
    captions = kinds == {True}
    return _Judged(
        every, list(CAPTION_MEASURES) if captions else [usual(every)], captions, parts if len(files) > 1 else {}
    )


def _read_judgments(path: str, first: Run) -> tuple[Qrels, bool]:
    """The judgments in a file, and whether they come from captions."""
    text = read_text(path)
    captions = are_captions(text)
    return caption_qrels(parse_captions(path, text), first) if captions else parse_qrels(path, text), captions


def _scored(evaluator: Evaluator, given: GivenRun, run: Run, curve: bool, wanted: Qrels | None) -> _Scored:
    """Evaluate a run, on the `wanted` topics only if some are selected."""
    run, renamed = align_topics(run if wanted is None else select_topics(run, wanted) or run, evaluator.qrels)
    try:
        scores = evaluator.evaluate(run)
    except MismatchError as error:
        raise MismatchError(f"{given.where}: {error}") from None
    return _Scored(scores, renamed, evaluator.curve(run) if curve else [])


def _leaderboard(agreement: str) -> Mapping[str, float] | None:
    """Published scores, or None when `agreement` is not a file but a measure."""
    path, _, column = agreement.partition(":")
    if not agreement or not Path(path).is_file():
        return None
    from avs_cli.io.text.leaderboard import read_leaderboard

    return read_leaderboard(path, column)
