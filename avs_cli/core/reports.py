"""Runs side by side: ranked, tested against a baseline, and written for a program, a paper or NIST's tools."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from avs_cli.core import significance
from avs_cli.core.evaluation import NIST_CUTOFFS, Measure, Scores
from avs_cli.errors import MismatchError, UnknownName

Test = Literal["randomization", "t", "tukey"]

# The row's name in the output of NIST's script, our measure, and how the value is printed.
NIST_ROWS = (
    ("infAP\t\t{}\t\t{:.4f}", "xinfAP"),
    ("infNDCG\t\t{}\t\t{:.4f}", "infNDCG"),
    *((f"iprec@rec{level / 10:.2f}\t{{}}\t\t{{:.4f}}", f"iprec-rec@{level / 10}") for level in range(11)),
    *((f"iP{k}\t\t{{}}\t\t{{:.4f}}", f"iP@{k}") for k in NIST_CUTOFFS),
    ("inum_rel_ret\t{}\t{:14.4f}", "inum_rel_ret"),
    ("inum_rel\t{}\t{:14.4f}", "inum_rel"),
    ("num_ret\t\t{}\t{:9.0f}", "num_ret"),
)


@dataclass(frozen=True)
class Entry:
    """One run's line of the report; `p` holds, per measure, the corrected p of its difference from the baseline."""

    run: str
    scores: Scores
    p: dict[str, float]


@dataclass(frozen=True)
class Report:
    """Entries from best to worst by the first measure; `baseline` and `test` are "" for a single run."""

    measures: list[Measure]
    entries: list[Entry]
    baseline: str
    test: str

    def best(self, measure: Measure) -> float:
        values = [entry.scores.means[measure.name] for entry in self.entries]
        return min(values) if measure.ascending else max(values)


def compare(
    scores: Mapping[str, Scores],
    measures: list[Measure],
    baseline: str = "",
    test: Test = "randomization",
    seed: int = 0,
) -> Report:
    """Rank runs by the first measure and test each against `baseline`, or against the best of them.

    Raises UnknownName for a baseline that is none of the runs, MismatchError for runs without a topic in common.
    """
    first = measures[0]
    # Of equal runs the one named first stays first.
    order = sorted(scores, key=lambda run: scores[run].means[first.name], reverse=not first.ascending)
    if baseline and baseline not in scores:
        raise UnknownName("run", baseline, scores)
    if len(scores) == 1:
        return Report(measures, [Entry(order[0], scores[order[0]], {})], "", "")
    baseline = baseline or order[0]
    p = {
        measure.name: _tested({run: scores[run].by_topic[measure.name] for run in order}, baseline, test, seed)
        for measure in measures
    }
    entries = [Entry(run, scores[run], {name: p[name][run] for name in p if run in p[name]}) for run in order]
    return Report(measures, entries, baseline, test)


def _tested(by_topic: Mapping[str, Mapping[str, float]], baseline: str, test: Test, seed: int) -> dict[str, float]:
    """Each other run's p against the baseline on the topics that they share, corrected for there being several."""
    if test == "tukey":
        shared = [topic for topic in by_topic[baseline] if all(topic in values for values in by_topic.values())]
        if not shared:
            raise MismatchError("the runs have no topic in common, so nothing can be tested")
        table = {run: [values[topic] for topic in shared] for run, values in by_topic.items()}
        return significance.tukey_hsd(table, baseline)
    p = {}
    for run, values in by_topic.items():
        if run == baseline:
            continue
        differences = [value - values[topic] for topic, value in by_topic[baseline].items() if topic in values]
        if not differences:
            raise MismatchError(f"{run} and {baseline} have no topic in common, so nothing can be tested")
        # Two infinite ranks are no difference; nan would be one with everything.
        differences = [0.0 if math.isnan(difference) else difference for difference in differences]
        p[run] = significance.t_test(differences) if test == "t" else significance.randomization(differences, seed)
    return significance.holm(p)


def rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Column names and one row per run, for a terminal; p stands beside each measure."""
    tested = len(report.entries) > 1
    columns = ["run"]
    for measure in report.measures:
        columns += [measure.name, "p"] if tested else [measure.name]
    lines = []
    for entry in report.entries:
        line = [entry.run]
        for measure in report.measures:
            line.append(f"{entry.scores.means[measure.name]:.4f}")
            if tested:
                line.append(f"{entry.p[measure.name]:.4f}" if measure.name in entry.p else "")
        lines.append(line)
    return columns, lines


def topic_rows(report: Report) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Titled tables of per-topic values: measures side by side for one run, else runs for each measure."""
    if len(report.entries) == 1:
        scores = report.entries[0].scores
        columns = {measure.name: scores.by_topic[measure.name] for measure in report.measures}
        yield (report.entries[0].run, *_by_topic(columns))
    else:
        for measure in report.measures:
            columns = {entry.run: entry.scores.by_topic[measure.name] for entry in report.entries}
            yield (measure.name, *_by_topic(columns))


def _by_topic(columns: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[str]]]:
    topics = sorted(set().union(*columns.values()), key=lambda topic: (len(topic), topic))
    cell = "{:.4f}".format
    lines = [[t, *(cell(values[t]) if t in values else "" for values in columns.values())] for t in topics]
    return ["topic", *columns], lines


def as_json(report: Report, by_topic: bool, agreed: Sequence[tuple[str, float, float]] = ()) -> str:
    """The whole report; values in full precision."""
    content: dict[str, Any] = {"measures": [measure.name for measure in report.measures]}
    if report.baseline:
        content |= {"baseline": report.baseline, "test": report.test}
    content["runs"] = [_json_entry(entry, by_topic) for entry in report.entries]
    if agreed:
        content["agreement"] = {name: {"tau": tau, "tau_ap": tau_ap} for name, tau, tau_ap in agreed}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _json_entry(entry: Entry, by_topic: bool) -> dict[str, Any]:
    gaps = entry.scores.gaps
    content: dict[str, Any] = {"run": entry.run, "scores": _finite(entry.scores.means)}
    if entry.p:
        content["p"] = entry.p
    if by_topic:
        content["topics"] = {name: _finite(values) for name, values in entry.scores.by_topic.items()}
    content["gaps"] = {
        "topics": gaps.topics,
        "ties": gaps.ties,
        "unjudged": {str(cutoff): share for cutoff, share in gaps.unjudged.items()},
        "missing": gaps.missing,
        "unknown": gaps.unknown,
    }
    return content


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def as_csv(report: Report, by_topic: bool) -> str:
    """`run,topic,measure,value,p`, the topic `all` being the mean; values in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "topic", "measure", "value", "p"])
    for entry in report.entries:
        for measure in report.measures:
            if by_topic:
                for topic, value in entry.scores.by_topic[measure.name].items():
                    writer.writerow([entry.run, topic, measure.name, value, ""])
            mean = entry.scores.means[measure.name]
            writer.writerow([entry.run, "all", measure.name, mean, entry.p.get(measure.name, "")])
    return text.getvalue()


def as_latex(report: Report) -> str:
    """A table for a paper: the best value of each column is bold, a dagger marks p < 0.05 against the baseline."""
    lines = [f"\\begin{{tabular}}{{l{'r' * len(report.measures)}}}", "\\hline"]
    lines += [" & ".join(["Run", *(_latex(measure.name) for measure in report.measures)]) + r" \\", "\\hline"]
    for entry in report.entries:
        cells = [_latex(entry.run)]
        for measure in report.measures:
            mean = entry.scores.means[measure.name]
            cell = f"\\textbf{{{mean:.4f}}}" if mean == report.best(measure) else f"{mean:.4f}"
            cells.append(cell + ("$^{\\dagger}$" if entry.p.get(measure.name, 1.0) < 0.05 else ""))
        lines.append(" & ".join(cells) + r" \\")
    lines += ["\\hline", "\\end{tabular}"]
    if report.baseline:
        lines.append(f"% dagger: p < 0.05 against {report.baseline}, {TESTS[report.test]}")
    return "\n".join(lines) + "\n"


TESTS = {
    "randomization": "paired randomization test, Holm-corrected",
    "t": "paired t-test, Holm-corrected",
    "tukey": "Tukey's HSD",
}


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def as_nist(scores: Scores, by_topic: bool) -> str:
    """The rows of NIST's `sample_eval.pl`; `scores` holds the measures of `NIST_ROWS`."""
    lines = []
    topics = next(iter(scores.by_topic.values())) if by_topic else {}
    for topic in topics:
        # NIST prints the 11 points in the mean alone.
        shown = [(row, name) for row, name in NIST_ROWS if not name.startswith("iprec")]
        lines += [row.format(topic, scores.by_topic[name][topic]) for row, name in shown]
    lines += [row.format("all", scores.means[name]) for row, name in NIST_ROWS]
    return "".join(f"{line}\n" for line in lines)


def system_agreement(report: Report, truth: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """For each measure, Kendall's tau and tau_AP of its ranking of the runs with theirs by `truth` (greater is better).

    Raises MismatchError when `truth` lacks a run.
    """
    absent = [entry.run for entry in report.entries if entry.run not in truth]
    if absent:
        raise MismatchError(f"no score for the run {absent[0]!r} ({len(absent)} of {len(report.entries)} are missing)")
    believed = {entry.run: truth[entry.run] for entry in report.entries}
    found = []
    for measure in report.measures:
        sign = -1 if measure.ascending else 1
        values = {entry.run: sign * entry.scores.means[measure.name] for entry in report.entries}
        found.append((measure.name, *significance.agreement(believed, values)))
    return found


def names(paths: Sequence[str]) -> list[str]:
    """What to call the run of each path: the file's name without endings; the whole path where that is not unique."""
    short = [_stem(path) for path in paths]
    return [name if short.count(name) == 1 else path for name, path in zip(short, paths, strict=True)]


def _stem(path: str) -> str:
    name = path.rstrip("/").rpartition("/")[2].removesuffix(".gz")
    for ending in (".trec", ".run", ".txt"):
        name = name.removesuffix(ending)
    return name or path
