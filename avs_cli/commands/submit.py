"""`avs submit`: write and check submissions to NIST."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from avs_cli import applies, options
from avs_cli.console import note
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from avs_cli.io.text.lists import Dropped
    from avs_cli.types import Run

# The option that supplies each attribute.
CURES = {"trType is missing": "--training", "pid is missing": "--pid", "elapsedTime is missing": "--elapsed"}
# Options without effect on existing files, on TREC runs and on XML.
ATTRIBUTES = ("pid", "training", "kind", "task", "novelty", "priority", "desc", "algo", "elapsed")
NO_CHECK = (*ATTRIBUTES, "format", "tag", "dropped", "output")
NO_TREC = (*ATTRIBUTES, "dtd", "year")


class Rules(NamedTuple):
    """The rules for a submission.

    topics    three-digit ids; None: unknown
    shots     None: unknown
    excluded  shots that must not be returned
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
        typer.Argument(metavar="RUN...", help="A TREC run; with --check, all files of a team, XML or TREC."),
    ],
    topics: Annotated[
        str,
        typer.Option(
            metavar="FILE|RANGE",
            help="Topics of the task, which a run must cover: a topics file, or ids and ranges such as 731-750. Other "
            "topics of the run are dropped.",
        ),
    ] = "",
    shots: Annotated[
        str, typer.Option(metavar="TABLE", help="Shots of the collection: a shot table, or the folder of V3C's tables.")
    ] = "",
    exclude: Annotated[
        str,
        typer.Option(metavar="FILE", help="Shots to exclude, one id per line, as in NIST's lists of dropped shots."),
    ] = "",
    dropped: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Drop shots that are not in the shot table instead of rejecting the run, and list all dropped shots "
            "with the reason in FILE (TSV).",
        ),
        WRITES,
    ] = "",
    format: Annotated[Literal["xml", "trec"], typer.Option(help="Output format: TRECVID XML or a TREC run.")] = "xml",
    check: Annotated[bool, typer.Option("--check", help="Check files only; write nothing.")] = False,
    dtd: Annotated[str, typer.Option(metavar="FILE", help="DTD to validate the XML against.")] = "",
    year: Annotated[int, typer.Option(help="Year of the benchmark, from 2016; it determines the attributes.")] = 2025,
    pid: Annotated[str, typer.Option(metavar="TEAM", help="Short team name at NIST.")] = "",
    training: Annotated[
        Literal["A", "D", "E", "F"] | None,
        typer.Option(
            help="Training type: A, only annotated data of the collection; D, any annotated data; E, data collected "
            "automatically with the topic text; F, with queries derived from it."
        ),
    ] = None,
    kind: Annotated[
        Literal["F", "M", "R"],
        typer.Option(
            "--class", help="Run class: F, fully automatic; M, manually assisted; R, relevance feedback (from 2018)."
        ),
    ] = "F",
    task: Annotated[Literal["M", "P"], typer.Option(help="Main (M) or progress (P) task, from 2019.")] = "M",
    novelty: Annotated[Literal["C", "N"], typer.Option(help="Common (C) or novelty (N) run, from 2019.")] = "C",
    priority: Annotated[int, typer.Option(min=1, max=10, help="Priority for judging, 1 (highest) to 10.")] = 1,
    desc: Annotated[str, typer.Option(metavar="TEXT", help="Description of the run, one sentence.")] = "",
    algo: Annotated[
        Literal["C", "V"] | None,
        typer.Option(help="Algorithm: C, concept-based; V, other; from 2023.", show_default="omitted"),
    ] = None,
    elapsed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECONDS|FILE",
            help="Search time per topic in seconds, rounded up: one number for all topics, or a file from avs search "
            "--times; repeatable, for fused runs: times are summed.",
        ),
    ] = None,
    tag: options.Tag = "avs",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Output file or folder; a name with a final / is created as a folder.",
            show_default="the file name that NIST expects",
        ),
        WRITES,
    ] = "",
) -> None:
    """Write a submission to TRECVID or TREC: the top 1000 shots per topic, checked against NIST's rules.

    A run that NIST would reject is not written; each reason is reported once, with its topics. --check also checks
    the runs of a team together: one team; per task and class at most 4 runs, or 6 if 2 of them have training type E
    or F and 4 do not, with priorities from 1 without gaps; at most one novelty run; the same topics in all runs of a
    task.

    \b
    Examples:
      avs submit tv22.run --topics tv22.txt --pid TEAM --training D --elapsed tv22.times -o submissions/
      avs submit --check submissions/*.xml --topics tv22.txt
    """
    from avs_cli.errors import SpecError

    _check_options(context, check, format, year)
    elapsed = elapsed or []
    if [*run, *elapsed, topics, exclude, shots].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    if len(run) > 1 and not check:
        raise SpecError("only one run is written at a time; several runs need --check")
    if len(set(run)) < len(run):
        raise SpecError(f"{next(path for path in run if run.count(path) > 1)} is given more than once")
    if not (topics or check):
        raise SpecError("a submission is checked against the topics of its task; give --topics FILE")
    ids = _topic_ids(topics)
    rules = _rules(year, ids, shots, exclude, dtd)
    if check:
        _check(run, rules)
        return
    given: dict[str, str] = {"trType": training or "", "class": kind, "task": task, "novelty": novelty}
    given |= {"pid": pid, "priority": str(priority), "desc": desc} | ({"algo": algo} if algo else {})
    _write(run[0], ids, rules, format, given, elapsed, dropped, tag, output)


def _check_options(context: typer.Context, check: bool, format: str, year: int) -> None:
    """Reject options on the command line that have no effect."""
    xml = not check and format == "xml"
    applies.refuse(
        context,
        (check, NO_CHECK, "with --check"),
        (not check and format == "trec", NO_TREC, "on a TREC run"),
        (xml, ["tag"], "on XML; --desc describes the run"),
        (xml and year < 2019, ["task", "novelty"], "before 2019"),
    )


def _rules(year: int, ids: Sequence[str], shots: str, exclude: str, dtd: str) -> Rules:
    from avs_cli.core.submission import xml_number
    from avs_cli.io.text.lists import read_ids
    from avs_cli.io.text.shots import read_shots

    table = {shot.id for shot in read_shots(shots)} if shots else None
    excluded = read_ids(exclude) if exclude else set()
    return Rules(year, list(map(xml_number, ids)) if ids else None, table, excluded, dtd)


def _topic_ids(topics: str) -> list[str]:
    from avs_cli.io.text.topics import topic_ids

    return topic_ids(topics) if topics else []


def _check(paths: Sequence[str], rules: Rules) -> None:
    """Check XML files or TREC runs, individually and together."""
    from avs_cli.core import submission
    from avs_cli.errors import MismatchError
    from avs_cli.io.pipe import read_text
    from avs_cli.io.text.topics import align_topics
    from avs_cli.io.text.trec import parse_run
    from avs_cli.io.text.trecvid_xml import dtd_violations, submission_in

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
        note(f"{path}: valid, {_count(answer.results)}")


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
    """Write the submission of a run, unless NIST would reject it."""
    from avs_cli.core import submission
    from avs_cli.io.atomic import writing
    from avs_cli.io.text.lists import write_dropped
    from avs_cli.io.text.trec import read_run, write_run
    from avs_cli.io.text.trecvid_xml import dtd_violations, submission_text

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
        note(f"{path}: dropped {', '.join(f'{count} shots {reason}' for reason, count in reasons.items())}")
    if format == "trec":
        write_run(_target(output, f"{tag}.run") if output else "-", ranking, tag, submission.DEPTH)
        return
    target = _target(output or ".", submission.file_name(rules.year, attributes))
    with writing(target) as out:
        out.write(written)
    note(f"{target}: {_count(answer.results)}")


def _target(output: str, name: str) -> str:
    """The file to write: `name` in a folder, which is created if its path ends in a slash."""
    if output == "-":
        return output
    path = Path(output)
    if output.endswith("/"):
        path.mkdir(parents=True, exist_ok=True)
    return str(path / name if path.is_dir() else path)


def _selected(path: str, run: Run, ids: Sequence[str]) -> Run:
    """The topics of the task, with the ids of the task."""
    from avs_cli.errors import MismatchError, few
    from avs_cli.io.text.topics import align_topics

    run, renamed = align_topics(run, ids)
    if renamed:
        note(f"{path}: {renamed}")
    wanted = set(ids)
    others = [topic for topic in run if topic not in wanted]
    if len(others) == len(run):
        raise MismatchError(f"{path}: no topic of the task: the run has {few(run)}, --topics has {few(ids)}")
    if others:
        note(f"{path}: dropped {len(others)} topic{'s' * (len(others) > 1)} not in --topics: {few(others)}")
    return {topic: scores for topic, scores in run.items() if topic in wanted}


def _without(run: Run, rules: Rules, listed: bool) -> tuple[Run, list[Dropped]]:
    """The run without excluded shots, and the dropped shots.

    listed  whether to drop shots that are not in the table too, and to report shots below the depth
    """
    from avs_cli.core.submission import DEPTH
    from avs_cli.io.text.lists import Dropped
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
    """Topic -> seconds for the XML: the sum of all times, rounded up; empty without times."""
    import math

    from avs_cli.errors import MismatchError, SpecError, few
    from avs_cli.io.text.lists import read_times
    from avs_cli.io.text.topics import align_topics

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
