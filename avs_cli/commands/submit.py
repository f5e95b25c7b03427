"""avs submit: a run as NIST takes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from avs_cli import options
from avs_cli.commands import _applies
from avs_cli.console import note
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from avs_cli.io.lists import Dropped
    from avs_cli.types import Run

# The options that give what a submission may lack.
CURES = {"trType is missing": "--training", "pid is missing": "--pid", "elapsedTime is missing": "--elapsed"}
# What has no effect: on a file that exists, on a TREC run, and on XML.
ATTRIBUTES = ("pid", "training", "kind", "task", "novelty", "priority", "desc", "algo", "elapsed")
NO_CHECK = (*ATTRIBUTES, "format", "tag", "dropped", "output")
NO_TREC = (*ATTRIBUTES, "dtd", "year")


class Rules(NamedTuple):
    """What a submission is checked against.

    topics    ids of three digits; None: not known
    shots     None: not known
    excluded  shots that are not to be returned
    dtd       "" for none
    """

    year: int
    topics: list[str] | None
    shots: set[str] | None
    excluded: set[str]
    dtd: str


def submit(
    context: typer.Context,
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="A TREC run; with --check the files to submit, XML or TREC: all runs of a team."
        ),
    ],
    topics: Annotated[
        str,
        typer.Option(
            metavar="FILE|RANGE",
            help="The task's topics, all of which a run answers: a topics file, or ids and ranges such as 731-750. "
            "Other topics of the run are left out.",
        ),
    ] = "",
    shots: Annotated[
        str, typer.Option(metavar="TABLE", help="The shots that exist: a shot table, or V3C's folder.")
    ] = "",
    exclude: Annotated[
        str, typer.Option(metavar="FILE", help="Shots to leave out, one id a line, as NIST's lists of dropped shots.")
    ] = "",
    dropped: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Leave out shots that the shot table lacks, instead of refusing the run, and list here all shots of "
            "the run that are not submitted, with the reason (TSV).",
        ),
        WRITES,
    ] = "",
    format: Annotated[Literal["xml", "trec"], typer.Option(help="TRECVID's XML, or a TREC run.")] = "xml",
    check: Annotated[bool, typer.Option("--check", help="Check the files and write nothing.")] = False,
    dtd: Annotated[str, typer.Option(metavar="FILE", help="Validate the XML against this DTD too.")] = "",
    year: Annotated[int, typer.Option(help="The benchmark's year, from 2016: it decides the attributes.")] = 2025,
    pid: Annotated[str, typer.Option(metavar="TEAM", help="The team's short name at NIST.")] = "",
    training: Annotated[
        Literal["A", "D", "E", "F"] | None,
        typer.Option(
            help="Training type: A, annotated data of the collection only; D, any annotated data; E, data collected "
            "automatically by the topics' text; F, by queries made from it."
        ),
    ] = None,
    kind: Annotated[
        Literal["F", "M", "R"],
        typer.Option("--class", help="Fully automatic, manually assisted, or relevance feedback (from 2018)."),
    ] = "F",
    task: Annotated[Literal["M", "P"], typer.Option(help="Main or progress task, from 2019.")] = "M",
    novelty: Annotated[Literal["C", "N"], typer.Option(help="Common or novelty run, from 2019.")] = "C",
    priority: Annotated[int, typer.Option(min=1, max=10, help="1 to 10, 1 being judged first.")] = 1,
    desc: Annotated[str, typer.Option(metavar="TEXT", help="What the run is, in a sentence.")] = "",
    algo: Annotated[
        Literal["C", "V"] | None, typer.Option(help="Concept-based or other, from 2023; left out if not given.")
    ] = None,
    elapsed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECONDS|FILE",
            help="Search time of each topic, rounded up: one number for all, or a file with lines of a topic and its "
            "seconds, as avs search --times writes it; repeatable, as for the runs of a fused one: times add up.",
        ),
    ] = None,
    tag: options.Tag = "avs",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File, or folder (made if it ends in /); by default NIST's name, here.",
        ),
        WRITES,
    ] = "",
) -> None:
    """Write a run for TRECVID or TREC: the best 1000 shots of each topic, checked by NIST's rules.

    What would be rejected is not written; stderr names each reason once, with the topics. --check takes all runs of a
    team, and checks them together too: one team; for each task and class at most 4 runs, or 6 if 2 of them are of
    training type E or F and 4 are not, with priorities from 1 without gaps; one novelty run at most; the same topics
    in all runs of a task.
    """
    from avs_cli.errors import SpecError

    _check_options(context, check, format, year)
    elapsed = elapsed or []
    if [*run, *elapsed, topics, exclude, shots].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    if len(run) > 1 and not check:
        raise SpecError("one run is written at a time; --check takes several")
    if len(set(run)) < len(run):
        raise SpecError(f"{next(path for path in run if run.count(path) > 1)} is given twice")
    if not (topics or check):
        raise SpecError("a submission is checked against its topics; give their file with --topics")
    ids = _topic_ids(topics)
    rules = _rules(year, ids, shots, exclude, dtd)
    if check:
        _check(run, rules)
        return
    given: dict[str, str] = {"trType": training or "", "class": kind, "task": task, "novelty": novelty}
    given |= {"pid": pid, "priority": str(priority), "desc": desc} | ({"algo": algo} if algo else {})
    _write(run[0], ids, rules, format, given, elapsed, dropped, tag, output)


def _check_options(context: typer.Context, check: bool, format: str, year: int) -> None:
    """Refuse what was written on the command line and has no effect."""
    xml = not check and format == "xml"
    _applies.refuse(
        context,
        (check, NO_CHECK, "with --check"),
        (not check and format == "trec", NO_TREC, "on a TREC run"),
        (xml, ["tag"], "on XML; --desc describes the run"),
        (xml and year < 2019, ["task", "novelty"], "before 2019"),
    )


def _rules(year: int, ids: Sequence[str], shots: str, exclude: str, dtd: str) -> Rules:
    from avs_cli.core.submission import xml_number
    from avs_cli.io.lists import read_ids
    from avs_cli.io.shots import read_shots

    table = {shot.id for shot in read_shots(shots)} if shots else None
    excluded = read_ids(exclude) if exclude else set()
    return Rules(year, list(map(xml_number, ids)) if ids else None, table, excluded, dtd)


def _topic_ids(topics: str) -> list[str]:
    from avs_cli.io.topics import topic_ids

    return topic_ids(topics) if topics else []


def _check(paths: Sequence[str], rules: Rules) -> None:
    """Check files of XML or TREC, each alone and, where they are several, together."""
    from avs_cli.core import submission
    from avs_cli.errors import MismatchError
    from avs_cli.io.pipe import read_text
    from avs_cli.io.topics import align_topics
    from avs_cli.io.trec import parse_run
    from avs_cli.io.trecvid_xml import dtd_violations, submission_in

    answers, named = {}, {}
    reasons: list[tuple[str, str]] = []
    for path in paths:
        text = read_text(path)
        what = (rules.topics, rules.shots, rules.excluded)
        if text.lstrip().startswith("<"):
            answers[path] = named[path] = answer = submission_in(path, text)
            found = submission.violations(answer, rules.year, *what)
            found += dtd_violations(rules.dtd, path, text) if rules.dtd else []
        else:
            ranking, renamed = align_topics(parse_run(path, text), rules.topics or [])
            if renamed:
                note(f"{path}: {renamed}")
            answers[path] = answer = submission.submission(ranking, {}, dict.fromkeys(ranking, "0"), None)
            found = submission.violations_in_results(answer.results, *what)
        reasons += [(path, violation) for violation in found]
    for path, violation in reasons:
        note(f"{path}: {violation}")
    together = submission.team_violations(named) if len(named) > 1 else []
    if named and len(named) < len(paths):
        together.append(f"{len(paths) - len(named)} of {len(paths)} files are TREC runs, the others XML")
    for violation in together:
        note(violation)
    if count := len(reasons) + len(together):
        wrong = len({path for path, _ in reasons})
        where = paths[0] if len(paths) == 1 else f"{wrong} of {len(paths)} files" if wrong else f"{len(paths)} files"
        raise MismatchError(
            f"{where}: {count} reason{'s' * (count > 1)} for NIST to reject {'it' if len(paths) == 1 else 'them'}"
        )
    for path, answer in answers.items():
        note(f"{path}: nothing to reject in {_count(answer.results)}")


def _write(
    path: str,
    ids: Sequence[str],
    rules: Rules,
    format: str,
    given: Mapping[str, str],
    elapsed: Sequence[str],
    dropped: str,
    tag: str,
    output: str,
) -> None:
    """Write the submission of a run, unless there is a reason to reject it."""
    from avs_cli.core import submission
    from avs_cli.io.atomic import writing
    from avs_cli.io.lists import write_dropped
    from avs_cli.io.trec import read_run, write_run
    from avs_cli.io.trecvid_xml import dtd_violations, submission_text

    ranking = _selected(path, read_run(path), ids)
    left: list[Dropped] = []
    if dropped or rules.excluded:
        ranking, left = _without(ranking, rules, bool(dropped))
    if format == "trec":
        answer = submission.submission(ranking, {}, dict.fromkeys(ranking, "0"))
        found = submission.violations_in_results(answer.results, rules.topics, rules.shots)
    else:
        names = [*submission.attribute_values(rules.year), "algo"]
        attributes = {name: given[name] for name in names if name in given}
        answer = submission.submission(ranking, attributes, _seconds(elapsed, ranking))
        written = submission_text(answer, rules.year)
        found = submission.violations(answer, rules.year, rules.topics, rules.shots)
        found += dtd_violations(rules.dtd, path, written) if rules.dtd else []
    _refuse(path, found)
    if dropped:
        write_dropped(dropped, left)
    if left:
        from collections import Counter

        reasons = Counter(each.reason for each in left)
        note(f"{path}: left out {', '.join(f'{count} shots {reason}' for reason, count in reasons.items())}")
    if format == "trec":
        write_run(_target(output, f"{tag}.run") if output else "-", ranking, tag, submission.DEPTH)
        return
    target = _target(output or ".", submission.file_name(rules.year, attributes))
    with writing(target) as out:
        out.write(written)
    note(f"{target}: {_count(answer.results)}")


def _target(output: str, name: str) -> str:
    """The file to write: `name` in a folder, which is made where it is absent and its path ends in a slash."""
    if output == "-":
        return output
    path = Path(output)
    if output.endswith("/"):
        path.mkdir(parents=True, exist_ok=True)
    return str(path / name if path.is_dir() else path)


def _selected(path: str, run: Run, ids: Sequence[str]) -> Run:
    """The topics of the task, under its ids."""
    from avs_cli.errors import MismatchError, few
    from avs_cli.io.topics import align_topics

    run, renamed = align_topics(run, ids)
    if renamed:
        note(f"{path}: {renamed}")
    wanted = set(ids)
    others = [topic for topic in run if topic not in wanted]
    if len(others) == len(run):
        raise MismatchError(f"{path} has none of the task's topics: it has {few(run)}, --topics has {few(ids)}")
    if others:
        note(
            f"{path}: left out {len(others)} topic{'s' * (len(others) > 1)} that --topics does not have: {few(others)}"
        )
    return {topic: scores for topic, scores in run.items() if topic in wanted}


def _without(run: Run, rules: Rules, listed: bool) -> tuple[Run, list[Dropped]]:
    """The run without excluded shots, and what was left out.

    listed  whether shots that the table lacks are left out too, and those below the depth listed
    """
    from avs_cli.core.submission import DEPTH
    from avs_cli.io.lists import Dropped
    from avs_cli.types import ranked

    kept: Run = {}
    left = []
    for topic, scores in run.items():
        kept[topic] = {}
        for rank, shot in enumerate(ranked(scores), start=1):
            if shot in rules.excluded:
                reason = "excluded"
            elif listed and rules.shots is not None and shot not in rules.shots:
                reason = "not in the shot table"
            elif len(kept[topic]) < DEPTH:
                kept[topic][shot] = scores[shot]
                continue
            elif listed:
                reason = f"below rank {DEPTH}"
            else:
                continue
            left.append(Dropped(topic, rank, shot, reason))
    return kept, left


def _seconds(elapsed: Sequence[str], topics: Mapping[str, object]) -> dict[str, str]:
    """Topic -> whole seconds as the XML has them, the sum of all times, rounded up; none where no times are given."""
    import math

    from avs_cli.errors import MismatchError, SpecError, few
    from avs_cli.io.lists import read_times
    from avs_cli.io.topics import align_topics

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
                raise MismatchError(f"{given}: no time for {len(absent)} of the topics: {few(absent)}") from None
            least = 1  # a search that took no time to speak of took some
        else:
            if not 0 <= number < 1e9:
                raise SpecError(f"--elapsed {given}: seconds are a number from 0 on, or a file of topics and seconds")
            times = dict.fromkeys(topics, number)
        total = {topic: seconds + times[topic] for topic, seconds in total.items()}
    # Times have six decimals; what a sum has beyond them is no time.
    return {topic: str(max(least, math.ceil(round(seconds, 6)))) for topic, seconds in total.items()}


def _count(results: Sequence[tuple[str, str, list[tuple[str, str]]]]) -> str:
    return f"{len(results)} topics, {sum(len(items) for _, _, items in results)} shots"


def _refuse(path: str, violations: list[str]) -> None:
    from avs_cli.errors import MismatchError

    for violation in violations:
        cure = next((option for what, option in CURES.items() if violation.endswith(what)), "")
        note(f"{path}: {violation}" + (f"; give {cure}" if cure else ""))
    if violations:
        count = len(violations)
        raise MismatchError(f"{path}: {count} reason{'s' * (count > 1)} for NIST to reject it; nothing was written")
