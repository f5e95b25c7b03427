"""avs submit: a run as NIST takes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avs_cli import options
from avs_cli.console import note
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from avs_cli.types import Run, Topic

Seconds = Annotated[int | None, typer.Option(min=0, help="Search time per topic; the XML wants it.")]


def submit(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A TREC run; with --check the file to submit, XML or TREC.")
    ],
    topics: Annotated[str, typer.Option(metavar="FILE", help="The topics, each of which a run answers.")] = "",
    shots: Annotated[str, typer.Option(metavar="TABLE", help="Shot table, or V3C's folder: what exists.")] = "",
    format: Annotated[Literal["xml", "trec"], typer.Option(help="TRECVID's XML, or a TREC run.")] = "xml",
    check: Annotated[bool, typer.Option("--check", help="Check RUN and write nothing.")] = False,
    dtd: Annotated[str, typer.Option(metavar="FILE", help="Validate the XML against this DTD too.")] = "",
    year: Annotated[int, typer.Option(help="The benchmark's year, from 2016: it decides the attributes.")] = 2025,
    pid: Annotated[str, typer.Option(metavar="TEAM", help="The team's short name at NIST.")] = "",
    training: Annotated[str, typer.Option(metavar="A|D|E|F", help="Training type of the system.")] = "",
    kind: Annotated[
        str, typer.Option("--class", metavar="F|M|R", help="Fully automatic, manually assisted, relevance feedback.")
    ] = "F",
    task: Annotated[str, typer.Option(metavar="M|P", help="Main or progress task, from 2019 on.")] = "M",
    novelty: Annotated[str, typer.Option(metavar="C|N", help="Common or novelty run, from 2019 on.")] = "C",
    priority: Annotated[int, typer.Option(help="1 to 10, 1 being judged first.")] = 1,
    desc: Annotated[str, typer.Option(metavar="TEXT", help="What the run is, in a sentence.")] = "",
    algo: Annotated[
        str, typer.Option(metavar="C|V", help="Concept-based or other, for 2023 on; left out if not given.")
    ] = "",
    elapsed: Seconds = None,
    tag: options.Tag = "avs",
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="File or folder; by default NIST's file name, here."),
        WRITES,
    ] = "",
) -> None:
    """Write a run for TRECVID or TREC: the best 1000 shots of each topic, checked by NIST's rules.

    What would be rejected is not written; every reason is named on stderr.
    """
    from avs_cli.core import submission as rules
    from avs_cli.errors import SpecError
    from avs_cli.io.atomic import writing
    from avs_cli.io.pipe import read_text
    from avs_cli.io.trecvid_xml import dtd_violations, submission_in, submission_text

    text = read_text(run)
    if not (topics or check):
        raise SpecError("a submission is checked against its topics; name their file with --topics")
    known = _topics(topics)
    numbers = [rules.xml_number(topic.id) for topic in known] if topics else None
    table = _shots(shots)
    if check and text.lstrip().startswith("<"):
        answer = submission_in(run, text)
        found = rules.violations(answer, year, numbers, table) + (dtd_violations(dtd, run, text) if dtd else [])
    elif check or format == "trec":
        ranking = _aligned(run, text, known)
        answer = rules.submission(ranking, {}, "0", None if check else rules.DEPTH)
        found = rules.violations_in_results(answer.results, numbers, table)
    else:
        given = {"trType": training, "class": kind, "task": task, "novelty": novelty}
        given |= {"pid": pid, "priority": str(priority), "desc": desc}
        attributes = {name: given[name] for name in rules.attribute_values(year)} | ({"algo": algo} if algo else {})
        answer = rules.submission(_aligned(run, text, known), attributes, "" if elapsed is None else str(elapsed))
        written = submission_text(answer, year)
        found = rules.violations(answer, year, numbers, table)
        found += dtd_violations(dtd, run, written) if dtd else []
    _refuse(run, found)
    count = f"{len(answer.results)} topics, {sum(len(result.items) for result in answer.results)} shots"
    if check:
        note(f"{run}: nothing to reject in {count}")
        return
    if format == "trec":
        from avs_cli.io.trec import write_run

        write_run(output or "-", ranking, tag, rules.DEPTH)
        return
    path = Path(output or ".")
    target = output if output == "-" else str(path / rules.file_name(year, attributes) if path.is_dir() else path)
    with writing(target) as out:
        out.write(written)
    note(f"{target}: {count}")


def _topics(path: str) -> list[Topic]:
    from avs_cli.io.topics import read_topics

    return read_topics(path) if path else []


def _shots(path: str) -> set[str] | None:
    from avs_cli.io.shots import read_shots

    return {shot.id for shot in read_shots(path)} if path else None


def _aligned(path: str, text: str, topics: list[Topic]) -> Run:
    from avs_cli.io.topics import align_topics
    from avs_cli.io.trec import parse_run

    run, renamed = align_topics(parse_run(path, text), [topic.id for topic in topics])
    if renamed:
        note(f"{path}: {renamed}")
    return run


def _refuse(path: str, violations: list[str]) -> None:
    from avs_cli.errors import MismatchError

    for violation in violations:
        note(f"{path}: {violation}")
    if violations:
        count = len(violations)
        raise MismatchError(f"{path}: {count} reason{'s' * (count > 1)} for NIST to reject it; nothing was written")
