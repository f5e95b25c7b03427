"""Submissions to TRECVID or TREC: a run as NIST's XML, checked against NIST's rules before it is written.

submit("tv22.run", "submissions/", topics="tv22.txt", pid="TEAM", training="D", elapsed=["tv22.times"])
check(["submissions/F_M_C_D_TEAM.22_1.xml"], topics="tv22.txt")
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from avs_cli.core import submission
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text
from avs_cli.io.text.lists import Dropped, read_ids, read_times, write_dropped
from avs_cli.io.text.shots import read_shots
from avs_cli.io.text.topics import align_topics, topic_ids
from avs_cli.io.text.trec import parse_run, write_run
from avs_cli.io.text.trecvid_xml import dtd_violations, submission_in, submission_text
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, Paths, given_runs, path_names
from avs_cli.types import Run, Submission, ranked

# What supplies each attribute.
CURES = {"trType is missing": "--training", "pid is missing": "--pid", "elapsedTime is missing": "--elapsed"}
YEAR = 2025


class Rules(NamedTuple):
    """The rules for a submission.

    ids       of the task's topics, as given; empty if unknown
    shots     None: unknown
    excluded  shots that must not be returned
    dtd       "" for none
    """

    year: int
    ids: list[str]
    shots: set[str] | None
    excluded: set[str]
    dtd: str

    @property
    def numbers(self) -> list[str] | None:
        """The topics' three-digit numbers; None if unknown."""
        return list(map(submission.xml_number, self.ids)) if self.ids else None


def submit(
    run: FilePath | Run,
    output: FilePath = "",
    *,
    topics: str,
    shots: str = "",
    exclude: str = "",
    dropped: str = "",
    format: Literal["xml", "trec"] = "xml",
    dtd: str = "",
    year: int = YEAR,
    pid: str = "",
    training: Literal["A", "D", "E", "F"] | None = None,
    kind: Literal["F", "M", "R"] = "F",
    task: Literal["M", "P"] = "M",
    novelty: Literal["C", "N"] = "C",
    priority: int = 1,
    desc: str = "",
    algo: Literal["C", "V"] | None = None,
    elapsed: Sequence[str | float] = (),
    tag: str = "avs",
    report: Reporter = LOGGED,
) -> str:
    """Write the top 1000 shots of each topic as XML or as a TREC run, and return the path.

    output   a file, or a folder (a name with a final / is created), where the file gets the name that NIST expects;
             by default the working folder for XML and stdout for a TREC run
    topics   of the task, which the run must cover: a topics file, or ids and ranges such as "731-750"; others are
             dropped
    shots    the collection: a shot table, or the folder of V3C's tables
    exclude  a file of shots that must not be returned
    dropped  a file to list dropped shots in: shots that are not in the collection are then dropped too
    elapsed  seconds per topic: numbers and files of `avs search --times`, which are summed

    Raises MismatchError, and writes nothing, for a run that NIST would reject; each reason is reported.
    """
    if not topics:
        raise SpecError("a submission is checked against the topics of its task; give --topics FILE")
    given: dict[str, str] = {"trType": training or "", "class": kind, "task": task, "novelty": novelty}
    given |= {"pid": pid, "priority": str(priority), "desc": desc} | ({"algo": algo} if algo else {})
    rules = _rules(year, topics, shots, exclude, dtd)
    source = given_runs({"the run": run} if isinstance(run, dict) else run)[0]
    path = source.where
    ranking = _of_task(path, source.read(), rules.ids, report)
    left: list[Dropped] = []
    if dropped or rules.excluded:
        ranking, left = _without(ranking, rules, bool(dropped))
    attributes: dict[str, str] = {}
    document = ""
    if format == "trec":
        answer = submission.submission(ranking, {}, dict.fromkeys(ranking, "0"))
        violations = submission.violations_in_results(answer.results, rules.numbers, rules.shots)
    else:
        names = [*submission.attribute_values(year), "algo"]
        attributes = {name: given[name] for name in names if name in given}
        answer = submission.submission(ranking, attributes, _seconds(list(map(str, elapsed)), ranking))
        document = submission_text(answer, year)
        violations = submission.violations(answer, year, rules.numbers, rules.shots)
        violations += dtd_violations(dtd, path, document) if dtd else []
    _refuse(path, violations, report)
    if dropped:
        write_dropped(dropped, left)
    if left:
        reasons = Counter(each.reason for each in left)
        listed = ", ".join(f"{count} shots {reason}" for reason, count in reasons.items())
        report.note(f"{path}: dropped {listed}")
    if format == "trec":
        target = _target(str(output), f"{tag}.run") if output else "-"
        write_run(target, ranking, tag, submission.DEPTH)
        return target
    target = _target(str(output) or ".", submission.file_name(year, attributes))
    with writing(target) as out:
        out.write(document)
    report.note(f"{target}: {_count(answer)}")
    return target


def check(
    files: Paths,
    *,
    topics: str = "",
    shots: str = "",
    exclude: str = "",
    dtd: str = "",
    year: int = YEAR,
    report: Reporter = LOGGED,
) -> None:
    """Check the XML files or TREC runs of a team, individually and together; the parameters are those of `submit`.

    Raises MismatchError for files that NIST would reject; each reason is reported.
    """
    paths = path_names(files)
    rules = _rules(year, topics, shots, exclude, dtd)
    answers: dict[str, Submission] = {}
    in_xml: dict[str, Submission] = {}
    reasons: list[tuple[str, str]] = []
    for path in paths:
        text = read_text(path)
        expected = (rules.numbers, rules.shots, rules.excluded)
        if text.lstrip().startswith("<"):
            answers[path] = in_xml[path] = answer = submission_in(path, text)
            found = submission.violations(answer, year, *expected)
            found += dtd_violations(dtd, path, text) if dtd else []
        else:
            ranking, renamed = align_topics(parse_run(path, text), rules.numbers or [])
            if renamed:
                report.note(f"{path}: {renamed}")
            answers[path] = answer = submission.submission(ranking, {}, dict.fromkeys(ranking, "0"), None)
            found = submission.violations_in_results(answer.results, *expected)
        reasons += [(path, violation) for violation in found]
    for path, violation in reasons:
        report.note(f"{path}: {violation}")
    together = submission.team_violations(in_xml) if len(in_xml) > 1 else []
    if in_xml and len(in_xml) < len(paths):
        together.append(f"{len(paths) - len(in_xml)} of {len(paths)} files are TREC runs, the others XML")
    for violation in together:
        report.note(violation)
    if count := len(reasons) + len(together):
        wrong = len({path for path, _ in reasons})
        where = paths[0] if len(paths) == 1 else f"{wrong} of {len(paths)} files" if wrong else f"{len(paths)} files"
        raise MismatchError(
            f"{where}: {count} reason{'s' * (count > 1)} for NIST to reject {'it' if len(paths) == 1 else 'them'}"
        )
    for path, answer in answers.items():
        report.note(f"{path}: valid, {_count(answer)}")


def _rules(year: int, topics: str, shots: str, exclude: str, dtd: str) -> Rules:
    ids = topic_ids(topics) if topics else []
    collection = {shot.id for shot in read_shots(shots)} if shots else None
    return Rules(year, ids, collection, read_ids(exclude) if exclude else set(), dtd)


def _target(output: str, name: str) -> str:
    """The file to write: `name` in a folder, which is created if its path ends in a slash."""
    if output == "-":
        return output
    path = Path(output)
    if output.endswith("/"):
        path.mkdir(parents=True, exist_ok=True)
    return str(path / name if path.is_dir() else path)


def _of_task(path: str, run: Run, ids: Sequence[str], report: Reporter) -> Run:
    """The topics of the task, with the ids of the task."""
    run, renamed = align_topics(run, ids)
    if renamed:
        report.note(f"{path}: {renamed}")
    wanted = set(ids)
    others = [topic for topic in run if topic not in wanted]
    if len(others) == len(run):
        raise MismatchError(f"{path}: no topic of the task: the run has {few(run)}, --topics has {few(ids)}")
    if others:
        report.note(f"{path}: dropped {len(others)} topic{'s' * (len(others) > 1)} not in --topics: {few(others)}")
    return {topic: scores for topic, scores in run.items() if topic in wanted}


def _without(run: Run, rules: Rules, listed: bool) -> tuple[Run, list[Dropped]]:
    """The run without excluded shots, and the dropped shots.

    listed  whether to drop shots that are not in the table too, and to report shots below the depth
    """
    kept: Run = {}
    left = []
    for topic, scores in run.items():
        kept[topic] = {}
        for rank, shot in enumerate(ranked(scores), start=1):
            if shot in rules.excluded:
                reason = "excluded"
            elif listed and rules.shots is not None and shot not in rules.shots:
                reason = "not in the shot table"
            elif len(kept[topic]) < submission.DEPTH:
                kept[topic][shot] = scores[shot]
                continue
            elif listed:
                reason = f"below rank {submission.DEPTH}"
            else:
                continue
            left.append(Dropped(topic, rank, shot, reason))
    return kept, left


def _seconds(elapsed: Sequence[str], topics: Mapping[str, object]) -> dict[str, str]:
    """Topic -> seconds for the XML: the sum of all times, rounded up; empty without times."""
    if not elapsed:
        return {}
    total = dict.fromkeys(topics, 0.0)
    least = 0
    for given in elapsed:
        try:
            number = float(given)
        except ValueError:
            times, _ = align_topics(read_times(given), topics)
            if absent := [topic for topic in topics if topic not in times]:
                raise MismatchError(f"{given}: no time for {len(absent)} topics: {few(absent)}") from None
            least = 1  # a search takes at least a second of the XML's whole ones
        else:
            if not 0 <= number < 1e9:
                raise SpecError(
                    f"--elapsed {given}: expected a non-negative number of seconds, or a file of topics and seconds"
                )
            times = dict.fromkeys(topics, number)
        total = {topic: seconds + times[topic] for topic, seconds in total.items()}
    # Times have six decimals; further digits of the sum are rounding errors.
    return {topic: str(max(least, math.ceil(round(seconds, 6)))) for topic, seconds in total.items()}


def _count(answer: Submission) -> str:
    return f"{len(answer.results)} topics, {sum(len(result.items) for result in answer.results)} shots"


def _refuse(path: str, violations: Sequence[str], report: Reporter) -> None:
    """Report what is wrong with a run, each with its cure; raises MismatchError if anything is."""
    for violation in violations:
        cure = next((option for what, option in CURES.items() if violation.endswith(what)), "")
        report.note(f"{path}: {violation}" + (f"; give {cure}" if cure else ""))
    if violations:
        count = len(violations)
        raise MismatchError(f"{path}: {count} reason{'s' * (count > 1)} for NIST to reject it; nothing was written")
