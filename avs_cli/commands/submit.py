"""`avs submit`: write and check submissions to NIST."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from avs_cli import applies, options
from avs_cli.console import TERMINAL
from avs_cli.errors import SpecError
from avs_cli.outputs import WRITES

# Options without effect on existing files, on TREC runs and on XML.
ATTRIBUTES = ("pid", "training", "kind", "task", "novelty", "priority", "desc", "algo", "elapsed")
NO_CHECK = (*ATTRIBUTES, "format", "tag", "dropped", "output")
NO_TREC = (*ATTRIBUTES, "dtd", "year")


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
    _check_options(context, check, format, year)
    elapsed = elapsed or []
    if [*run, *elapsed, topics, exclude, shots].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    if len(run) > 1 and not check:
        raise SpecError("only one run is written at a time; several runs need --check")
    if len(set(run)) < len(run):
        raise SpecError(f"{next(path for path in run if run.count(path) > 1)} is given more than once")
    from avs_cli.stages import submit as stage

    if check:
        stage.check(run, topics=topics, shots=shots, exclude=exclude, dtd=dtd, year=year, report=TERMINAL)
        return
    stage.submit(
        run[0],
        output,
        topics=topics,
        shots=shots,
        exclude=exclude,
        dropped=dropped,
        format=format,
        dtd=dtd,
        year=year,
        pid=pid,
        training=training,
        kind=kind,
        task=task,
        novelty=novelty,
        priority=priority,
        desc=desc,
        algo=algo,
        elapsed=elapsed,
        tag=tag,
        report=TERMINAL,
    )


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
