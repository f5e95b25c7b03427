"""Comparison of runs: ranking, tests against a baseline, and output as JSON, CSV, LaTeX and NIST's format."""

import csv
import io
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from avs_cli.core.evaluation import significance
from avs_cli.core.evaluation.evaluator import NIST_CUTOFFS, Measure, Scores, mean
from avs_cli.errors import MismatchError, UnknownName

Test = Literal["randomization", "t", "tukey"]

# Name of the row in the output of NIST's script, measure, and format of the value.
NIST_ROWS = (
    ("infAP\t\t{}\t\t{:.4f}", "xinfAP"),
    ("infNDCG\t\t{}\t\t{:.4f}", "infNDCG"),
    *((f"iprec@rec{level / 10:.2f}\t{{}}\t\t{{:.4f}}", f"iprec-rec@{level / 10}") for level in range(11)),
    *((f"iP{k}\t\t{{}}\t\t{{:.4f}}", f"iP@{k}") for k in NIST_CUTOFFS),
    ("inum_rel_ret\t{}\t{:14.4f}", "inum_rel_ret"),
    ("inum_rel\t{}\t{:14.4f}", "inum_rel"),
    ("num_ret\t\t{}\t{:9.0f}", "num_ret"),
)


class QrelsValues(NamedTuple):
    """A run's values on the topics of one qrels: measure -> mean (or sum, or median), and p; nan without topics."""

    means: dict[str, float]
    p: dict[str, float]


@dataclass(frozen=True)
class RunEntry:
    """A run in the report.

    scores   with several qrels, means are means over the columns, so that each qrels has equal weight
    p        per measure, the corrected p of its difference from the baseline
    columns  with several qrels, the name of each -> the values on its topics
    """

    run: str
    scores: Scores
    p: dict[str, float]
    columns: dict[str, QrelsValues] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Entries from best to worst by the first measure; `baseline` and `test` are "" for a single run.

    parts  with several qrels, the name of each -> its topics
    """

    measures: list[Measure]
    entries: list[RunEntry]
    baseline: str
    test: str
    parts: Mapping[str, Collection[str]] = field(default_factory=dict)

    def best(self, measure: Measure, part: str = "") -> float:
        """The best value over the runs, of the mean or of the column of one qrels."""
        values = [entry.columns[part].means if part else entry.scores.means for entry in self.entries]
        known = [value[measure.name] for value in values if not math.isnan(value[measure.name])]
        return (min if measure.ascending else max)(known, default=math.nan)


def compare(
    scores: Mapping[str, Scores],
    measures: list[Measure],
    baseline: str = "",
    test: Test = "randomization",
    seed: int = 0,
    parts: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Report:
    """Rank runs by the first measure and test each against `baseline`, by default the best run.

    parts  the name of each of several qrels -> its topics; the mean is then that of their means, and topics count
           accordingly in the tests of it
    Raises UnknownName for a baseline that is not among the runs, MismatchError for runs without common topics.
    """
    first = measures[0]
    if baseline and baseline not in scores:
        raise UnknownName("run", baseline, scores)
    columns = {
        run: {part: _means_on(own, measures, topics) for part, topics in parts.items()} for run, own in scores.items()
    }
    if parts:
        means = {
            run: {measure.name: mean([column[measure.name] for column in own.values()]) for measure in measures}
            for run, own in columns.items()
        }
        scores = {run: replace(own, means=means[run]) for run, own in scores.items()}
    sign = 1 if first.ascending else -1
    # The order of equal runs is kept; runs without a value are last.
    order = sorted(scores, key=lambda run: _place(sign * scores[run].means[first.name]))
    if len(scores) == 1:
        return Report(measures, [_entry(order[0], scores, columns, {}, {})], "", "", parts)
    baseline = baseline or order[0]

    def tested(measure: Measure, part: str = "") -> dict[str, float]:
        name, topics = measure.name, parts[part] if part else None
        if part and len(parts[part]) < 2 and test != "randomization":
            return {}  # a year with one topic has a value, but no variance
        known = [run for run in order if not math.isnan((columns[run][part] if part else scores[run].means)[name])]
        values = {run: _only(scores[run].by_topic[name], topics) for run in known}
        return _tested(values, baseline, test, seed, {} if part else parts) if baseline in known else {}

    p = {measure.name: tested(measure) for measure in measures}
    p_of = {part: {measure.name: tested(measure, part) for measure in measures} for part in parts}
    return Report(measures, [_entry(run, scores, columns, p, p_of) for run in order], baseline, test, parts)


def _place(value: float) -> tuple[bool, float]:
    """Sorts nan last."""
    return math.isnan(value), 0.0 if math.isnan(value) else value


def _entry(
    run: str,
    scores: Mapping[str, Scores],
    columns: Mapping[str, Mapping[str, dict[str, float]]],
    p: Mapping[str, Mapping[str, float]],
    p_of: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> RunEntry:
    def own(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        return {name: found[run] for name, found in values.items() if run in found}

    parts = {part: QrelsValues(means, own(p_of.get(part, {}))) for part, means in columns[run].items()}
    return RunEntry(run, scores[run], own(p), parts)


def _only(values: Mapping[str, float], topics: Collection[str] | None) -> dict[str, float]:
    return {topic: value for topic, value in values.items() if topics is None or topic in topics}


def _means_on(scores: Scores, measures: list[Measure], topics: Collection[str]) -> dict[str, float]:
    """Measure -> summary over some topics; nan if the run has none of them."""
    values = {measure.name: list(_only(scores.by_topic[measure.name], topics).values()) for measure in measures}
    return {m.name: m.summary(values[m.name]) if values[m.name] else math.nan for m in measures}


def _tested(
    by_topic: Mapping[str, Mapping[str, float]],
    baseline: str,
    test: Test,
    seed: int,
    parts: Mapping[str, Collection[str]],
) -> dict[str, float]:
    """p of each other run against the baseline on their common topics, corrected for multiple tests.

    With `parts` topics are weighted so that their mean is the mean of the parts' means.
    """
    if test == "tukey":
        shared = [topic for topic in by_topic[baseline] if all(topic in values for values in by_topic.values())]
        if not shared:
            raise MismatchError("the runs have no topic in common, so nothing can be tested")
        weights = _weights(shared, parts)
        table = {run: [values[t] * w for t, w in weights.items()] for run, values in by_topic.items()}
        return significance.tukey_hsd(table, baseline) if len(table) > 1 else {}
    p = {}
    for run, values in by_topic.items():
        if run == baseline:
            continue
        weights = _weights([topic for topic in by_topic[baseline] if topic in values], parts)
        if not weights:
            raise MismatchError(f"{run} and {baseline} have no topic in common, so nothing can be tested")
        differences = [weight * (by_topic[baseline][topic] - values[topic]) for topic, weight in weights.items()]
        # The difference of two infinite ranks is 0, not nan.
        differences = [0.0 if math.isnan(difference) else difference for difference in differences]
        p[run] = significance.t_test(differences) if test == "t" else significance.randomization(differences, seed)
    return significance.holm(p)


def _weights(topics: Sequence[str], parts: Mapping[str, Collection[str]]) -> dict[str, float]:
    """Topic -> weight: 1, or with parts a weight that gives each part equal weight."""
    if not parts:
        return dict.fromkeys(topics, 1.0)
    weights: dict[str, float] = {}
    shares = [found for of in parts.values() if (found := [topic for topic in topics if topic in of])]
    for found in shares:
        weights |= dict.fromkeys(found, len(topics) / len(shares) / len(found))
    return weights


def rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Column names and one row per run, for a terminal, with p after the mean of each measure."""
    tested = len(report.entries) > 1
    columns = ["run"]
    for measure in report.measures:
        columns += [_heading(report, measure, part) for part in report.parts]
        columns += [_heading(report, measure), "p"] if tested else [_heading(report, measure)]
    lines = []
    for entry in report.entries:
        line = [entry.run]
        for measure in report.measures:
            line += [_cell(entry.columns[part].means[measure.name]) for part in report.parts]
            line.append(_cell(entry.scores.means[measure.name]))
            if tested:
                line.append(_p_cell(entry.p.get(measure.name)))
        lines.append(line)
    return columns, lines


def _heading(report: Report, measure: Measure, part: str = "") -> str:
    """The name of a column: its measure, its qrels, or both if there are several of both."""
    if not report.parts:
        return measure.name
    return (f"{measure.name} " if len(report.measures) > 1 else "") + (part or mean_name(list(report.parts)))


def caption(report: Report) -> str:
    """A caption of the table: the measure, if columns are named by qrels, and the test; may be ""."""
    measure = report.measures[0].name if report.parts and len(report.measures) == 1 else ""
    tested = f"p against {report.baseline}: {TESTS[report.test]}" if report.baseline else ""
    return "; ".join(filter(None, [measure, tested]))


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _p_cell(p: float | None) -> str:
    return "" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}"


def topic_rows(report: Report) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Titled tables of per-topic values, which end in the means: measures side by side for one run, else the runs for
    each measure, with their p."""
    if len(report.entries) == 1:
        (entry,) = report.entries
        yield (
            entry.run,
            ["topic", *(m.name for m in report.measures)],
            _topic_lines(report, [(entry, measure) for measure in report.measures]),
        )
        return
    for measure in report.measures:
        lines = _topic_lines(report, [(entry, measure) for entry in report.entries])
        lines.append(["p", *(_p_cell(entry.p.get(measure.name)) for entry in report.entries)])
        title = f"{measure.name}; p against {report.baseline}: {TESTS[report.test]}"
        yield title, ["topic", *(entry.run for entry in report.entries)], lines


def _topic_lines(report: Report, columns: Sequence[tuple[RunEntry, Measure]]) -> list[list[str]]:
    """One row per topic, followed by the means of each qrels and of all topics."""
    values = [entry.scores.by_topic[measure.name] for entry, measure in columns]
    topics = sorted(set().union(*values), key=lambda topic: (len(topic), topic))
    lines = []
    for part in report.parts or [""]:
        some = [topic for topic in topics if not part or topic in report.parts[part]]
        lines += [[topic, *(_cell(own.get(topic, math.nan)) for own in values)] for topic in some]
        if part:
            lines.append([part, *(_cell(entry.columns[part].means[m.name]) for entry, m in columns)])
    name = mean_name(list(report.parts)) if report.parts else "all"
    return [*lines, [name, *(_cell(entry.scores.means[measure.name]) for entry, measure in columns)]]


def as_json(report: Report, by_topic: bool, agreed: Sequence[tuple[str, float, float]] = ()) -> str:
    """The whole report; values in full precision."""
    content: dict[str, Any] = {"measures": [measure.name for measure in report.measures]}
    if report.parts:
        content |= {"qrels": list(report.parts), "mean": mean_name(list(report.parts))}
    if report.baseline:
        content |= {"baseline": report.baseline, "test": report.test}
    content["runs"] = [_json_entry(entry, by_topic) for entry in report.entries]
    if agreed:
        content["agreement"] = {name: {"tau": tau, "tau_ap": tau_ap} for name, tau, tau_ap in agreed}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _json_entry(entry: RunEntry, by_topic: bool) -> dict[str, Any]:
    gaps = entry.scores.gaps
    content: dict[str, Any] = {"run": entry.run, "scores": _finite(entry.scores.means)}
    if entry.p:
        content["p"] = entry.p
    if entry.columns:
        content["qrels"] = {
            part: {"scores": _finite(column.means)} | ({"p": column.p} if column.p else {})
            for part, column in entry.columns.items()
        }
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
    """None for infinity and NaN, which JSON does not have."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def as_csv(report: Report, by_topic: bool) -> str:
    """`run,topic,measure,value,p`, the topic `all` being the mean; values in full precision.

    With several qrels, topics of their names are the means on them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "topic", "measure", "value", "p"])
    for entry in report.entries:
        for measure in report.measures:
            if by_topic:
                for topic, value in entry.scores.by_topic[measure.name].items():
                    writer.writerow([entry.run, topic, measure.name, value, ""])
            for part, column in entry.columns.items():
                value = column.means[measure.name]
                writer.writerow([entry.run, part, measure.name, value, column.p.get(measure.name, "")])
            value = entry.scores.means[measure.name]
            writer.writerow([entry.run, "all", measure.name, value, entry.p.get(measure.name, "")])
    return text.getvalue()


def as_latex(report: Report) -> str:
    """A table for a paper: the best value of each column is bold, a dagger marks p < 0.05 against the baseline."""
    wanted = [(measure, part) for measure in report.measures for part in (*report.parts, "")]
    lines = [f"\\begin{{tabular}}{{l{'r' * len(wanted)}}}", "\\hline"]
    lines += [" & ".join(["Run", *(_latex(_heading(report, *column)) for column in wanted)]) + r" \\", "\\hline"]
    for entry in report.entries:
        cells = [_latex(entry.run)]
        for measure, part in wanted:
            column = entry.columns[part] if part else QrelsValues(entry.scores.means, entry.p)
            value = column.means[measure.name]
            cell = f"\\textbf{{{value:.4f}}}" if value == report.best(measure, part) else _cell(value) or "--"
            cells.append(cell + ("$^{\\dagger}$" if column.p.get(measure.name, 1.0) < 0.05 else ""))
        lines.append(" & ".join(cells) + r" \\")
    lines += ["\\hline", "\\end{tabular}"]
    if report.baseline:
        lines.append(f"% dagger: p < 0.05 against {report.baseline}, {TESTS[report.test]}")
    if report.parts and len(report.measures) == 1:
        lines.append(f"% values: {report.measures[0].name}")
    return "\n".join(lines) + "\n"


TESTS = {
    "randomization": "paired randomization test, Holm-corrected",
    "t": "paired t-test, Holm-corrected",
    "tukey": "Tukey's HSD",
}


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}
    return "".join(special.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def as_nist(scores: Scores, by_topic: bool) -> str:
    """The rows of NIST's `sample_eval.pl`; `scores` holds the measures of `NIST_ROWS`."""
    lines = []
    topics = next(iter(scores.by_topic.values())) if by_topic else {}
    for topic in topics:
        # NIST prints the 11 points only for the mean.
        shown = [(row, name) for row, name in NIST_ROWS if not name.startswith("iprec")]
        lines += [row.format(topic, scores.by_topic[name][topic]) for row, name in shown]
    lines += [row.format("all", scores.means[name]) for row, name in NIST_ROWS]
    return "".join(f"{line}\n" for line in lines)


def system_agreement(report: Report, truth: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """For each measure, Kendall's tau and tau_AP of its ranking of the runs with that by `truth` (higher is better).

    Raises MismatchError if `truth` lacks a run.
    """
    absent = [entry.run for entry in report.entries if entry.run not in truth]
    if absent:
        raise MismatchError(f"no score for the run {absent[0]!r} ({len(absent)} of {len(report.entries)} are missing)")
    partial = [entry.run for entry in report.entries if any(map(math.isnan, entry.scores.means.values()))]
    if partial:
        raise MismatchError(f"{partial[0]} has no topic of some of the qrels, so its mean has no rank among the others")
    believed = {entry.run: truth[entry.run] for entry in report.entries}
    found = []
    for measure in report.measures:
        sign = -1 if measure.ascending else 1
        values = {entry.run: sign * entry.scores.means[measure.name] for entry in report.entries}
        found.append((measure.name, *significance.agreement(believed, values)))
    return found


def names(paths: Sequence[str]) -> list[str]:
    """Names of runs by path: the name of the file without suffixes, or the whole path if that is not unique."""
    short = [_stem(path) for path in paths]
    return [name if short.count(name) == 1 else path for name, path in zip(short, paths, strict=True)]


def qrels_names(paths: Sequence[str]) -> list[str]:
    """Names of qrels: TV19 for tv19.qrels and avs.qrels.main.tv19; the path if that is not unique."""
    short = [_year(path) for path in paths]
    return [name if short.count(name) == 1 else path for name, path in zip(short, paths, strict=True)]


def _year(path: str) -> str:
    stem = path.rstrip("/").rpartition("/")[2].removesuffix(".gz")
    name = ".".join(piece for piece in stem.split(".") if piece.lower() not in _COMMON) or stem
    return name.upper() if re.fullmatch(r"tv[0-9]+", name) else name


# Common parts of the names of qrels files.
_COMMON = ("avs", "main", "qrel", "qrels", "trec", "txt")


def mean_name(names: Sequence[str]) -> str:
    """The name of the mean over several qrels: MEAN(TV19–21) for consecutive names, else MEAN."""
    found = [re.fullmatch(r"(.*?)([0-9]+)", name) for name in names]
    if not all(found) or len({one[1] for one in found if one}) > 1:
        return "MEAN"
    prefix, numbers = found[0][1] if found[0] else "", [int(one[2]) for one in found if one]
    pieces: list[list[int]] = []
    for number in sorted(numbers):
        if pieces and number == pieces[-1][-1] + 1:
            pieces[-1].append(number)
        else:
            pieces.append([number])
    width = min(len(one[2]) for one in found if one)
    ranges = [f"{prefix}{piece[0]:0{width}}" + (f"–{piece[-1]:0{width}}" if piece[1:] else "") for piece in pieces]
    return f"MEAN({', '.join(ranges)})"


def _stem(path: str) -> str:
    name = path.rstrip("/").rpartition("/")[2].removesuffix(".gz")
    for ending in (".trec", ".run", ".txt"):
        name = name.removesuffix(ending)
    return name or path
