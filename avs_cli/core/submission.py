"""NIST's rules for submissions to ad-hoc video search.

The rules of the guidelines and checks of TRECVID, 2016 to 2025: a run declares its training type and class, and has
each topic once, with at most 1000 existing shots in order; the number of runs per team is limited, and they have
priorities.
"""

import re
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence

from avs_cli.errors import SpecError, few
from avs_cli.types import Run, Submission, TopicResult, ranked

DEPTH = 1000
FIRST_YEAR = 2016
# Maximum number of runs per task and class, and of additional runs without annotation (training types E and F).
RUNS, MORE_RUNS = 4, 2

_SHOT = re.compile(r"shot\d+_\d+")
_PRIORITIES = tuple(str(number) for number in range(1, 11))


def attribute_values(year: int) -> dict[str, tuple[str, ...] | None]:
    """The attributes of a run in a year, in NIST's order, and their allowed values; None allows any text.

    trType   A, D, E, F: the guidelines' letters for what the system was trained on
    class    F fully automatic, M manually assisted, R relevance feedback (from 2018)
    task     M main, P progress (from 2019)
    novelty  N a run that looks for shots which others miss, C a common run (from 2019)
    """
    if year < FIRST_YEAR:
        raise SpecError(f"ad-hoc video search began in {FIRST_YEAR}, so there is no run of {year}")
    values: dict[str, tuple[str, ...] | None] = {
        "trType": ("A", "D", "E", "F"),
        "class": ("M", "F", "R") if year >= 2018 else ("M", "F"),
    }
    if year >= 2019:
        values |= {"task": ("M", "P"), "novelty": ("N", "C")}
    return values | {"pid": None, "priority": _PRIORITIES, "desc": None}


def submission(
    run: Run, attributes: Mapping[str, str], seconds: Mapping[str, str], depth: int | None = DEPTH
) -> Submission:
    """A run as a submission: the top `depth` shots of each topic, under its three-digit number.

    seconds  topic -> elapsed time in the XML; "" for a topic without one
    """
    results = []
    for topic, scores in run.items():
        items = [(str(number), shot) for number, shot in enumerate(ranked(scores)[:depth], 1)]
        results.append(TopicResult(xml_number(topic), seconds.get(topic, ""), items))
    return Submission(dict(attributes), results)


def as_run(answer: Submission) -> Run:
    """A submission as a run: scores decrease by 1 per rank, to 1 for the last shot.

    A duplicate shot or topic keeps its better rank; see `violations`.
    """
    run: Run = {}
    for result in answer.results:
        scores = run.setdefault(result.number, {})
        for place, (_, shot) in enumerate(result.items):
            scores.setdefault(shot, float(len(result.items) - place))
    return run


def xml_number(topic: str) -> str:
    """731 for topic 1731 of the qrels; other ids are kept."""
    return topic[1:] if re.fullmatch(r"1\d{3}", topic) else topic


def file_name(year: int, attributes: Mapping[str, str]) -> str:
    """The file name by NIST's rules: F_M_C_D_TEAM.23_1.xml; without task and novelty before 2019."""
    parts = [attributes[name] for name in ("class", "task", "novelty", "trType") if name in attribute_values(year)]
    return "_".join([*parts, f"{attributes['pid']}.{year % 100:02}", attributes["priority"]]) + ".xml"


def violations(
    answer: Submission,
    year: int,
    topics: Collection[str] | None = None,
    shots: Container[str] | None = None,
    excluded: Container[str] = (),
) -> list[str]:
    """All violations of NIST's rules by a run, one sentence each.

    topics    ids of the topics to answer, three digits; None: not known
    shots     ids of the shots that exist; None: not known
    excluded  ids of shots that are not to be returned
    """
    return [*_in_attributes(answer.attributes, year), *violations_in_results(answer.results, topics, shots, excluded)]


def violations_in_results(
    results: Sequence[TopicResult],
    topics: Collection[str] | None = None,
    shots: Container[str] | None = None,
    excluded: Container[str] = (),
) -> list[str]:
    """Violations in the results of topics: each reason once, with topics and examples."""
    answered = Counter(result.number for result in results)
    wanted = answered if topics is None else dict.fromkeys(topics)
    lists = {
        "answered more than once": [number for number, times in answered.items() if times > 1],
        "not among the topics": [number for number in answered if number not in wanted],
        "not answered": [number for number in wanted if number not in answered],
    }
    reasons: dict[str, dict[str, list[str]]] = {
        what: {number: [] for number in numbers} for what, numbers in lists.items() if numbers
    }
    for result in results:
        for what, examples in _in_result(result, shots, excluded):
            reasons.setdefault(what, {}).setdefault(result.number, []).extend(examples)
    return [*([] if results else ["no topics"]), *(_sentence(*reason) for reason in reasons.items())]


def team_violations(runs: Mapping[str, Submission]) -> list[str]:
    """Violations by the runs of a team as a whole, one sentence each.

    All are of one team. Each task and class has `RUNS` runs, `MORE_RUNS` more if these were trained without annotation
    and the others were not, and priorities from 1 without gaps. One novelty run may come on top, and may take part in
    the numbering. Runs of one task answer the same topics.

    runs  file -> run
    """
    found = []
    teams = _grouped(runs, "pid")
    if len(teams) > 1:
        found.append(f"runs of {len(teams)} teams: {', '.join(f'{pid} ({few(of)})' for (pid,), of in teams.items())}")
    novel = [path for path, run in runs.items() if run.attributes.get("novelty") == "N"]
    if len(novel) > 1:
        found.append(f"{len(novel)} novelty runs ({few(novel)}), but a team may submit at most one")
    for (task, kind), files in _grouped(runs, "task", "class").items():
        name = f"task {task}, class {kind}" if task else f"class {kind}"
        common = [path for path in files if path not in novel]
        free = sum(runs[path].attributes.get("trType") in ("E", "F") for path in common)
        most = RUNS + (min(free, MORE_RUNS) if len(common) - free == RUNS else 0)
        if len(common) > most:
            found.append(
                f"{name}: {len(common)} runs ({few(common)}), but a team submits {RUNS}, and {MORE_RUNS} more of "
                "training type E or F if the others are of type A or D"
            )
        found += [f"{name}: {problem}" for problem in _in_priorities(runs, files, common)]
    for (task,), files in _grouped(runs, "task").items():
        found += _in_topics(runs, files, f" of task {task}" if task else "")
    return found


def _grouped(runs: Mapping[str, Submission], *names: str) -> dict[tuple[str, ...], list[str]]:
    """The files grouped by the values of attributes."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for path, run in runs.items():
        groups.setdefault(tuple(run.attributes.get(name, "") for name in names), []).append(path)
    return groups


def _in_priorities(runs: Mapping[str, Submission], files: Sequence[str], common: Sequence[str]) -> Iterator[str]:
    """Violations in the priorities of the runs of one task and class; `common` excludes the novelty run."""
    given = {path: runs[path].attributes.get("priority", "") for path in files}
    twice = [value for value, times in Counter(given[path] for path in common).items() if times > 1]
    for value in twice:
        yield f"priority {value} of {few(path for path in common if given[path] == value)}; priorities must differ"
    absent = [str(number) for number in range(1, len(common) + 1) if str(number) not in given.values()]
    if absent and not twice:
        yield f"no run has priority {few(absent)}; {len(common)} runs have 1 to {len(common)}"


def _in_topics(runs: Mapping[str, Submission], files: Sequence[str], of: str) -> Iterator[str]:
    """Runs of one task whose topics differ from those of most runs."""
    topics = {path: frozenset(result.number for result in runs[path].results) for path in files}
    usual = Counter(topics.values()).most_common(1)[0][0]
    model = next(path for path in files if topics[path] == usual)
    for path in files:
        if topics[path] != usual:
            lacks, more = sorted(usual - topics[path]), sorted(topics[path] - usual)
            parts = [f"lacks {len(lacks)} ({few(lacks)})"] * bool(lacks) + [
                f"has {len(more)} more ({few(more)})"
            ] * bool(more)
            yield f"{path}: answers other topics than {model}: {', '.join(parts)}; all runs{of} answer the same"


def _sentence(what: str, by_topic: Mapping[str, Sequence[str]]) -> str:
    """A reason with its topics and some examples."""
    topics = list(by_topic)
    where = f"topic {topics[0]}" if len(topics) == 1 else f"{len(topics)} topics ({few(topics)})"
    examples = dict.fromkeys(example for several in by_topic.values() for example in several)
    return f"{where}: {what}" + (f": {_few(examples)}" if examples else "")


def _in_attributes(attributes: Mapping[str, str], year: int) -> list[str]:
    allowed = attribute_values(year)
    found = []
    for name, values in allowed.items():
        value = attributes.get(name)
        if value is None or (value == "" and name != "desc"):
            found.append(f"{name} is missing")
        elif values is not None and value not in values:
            found.append(f"{name} is {value!r} instead of one of {', '.join(values)}")
    if not re.fullmatch(r"[\w-]+", attributes.get("pid") or "-"):
        found.append(f"pid is {attributes['pid']!r}, but a team's short name is one word of letters, digits, - and _")
    if "algo" in attributes and (year < 2023 or attributes["algo"] not in ("C", "V")):
        found.append(f"algo is {attributes['algo']!r}; it is C or V, and of 2023 at the earliest")
    return found + [f"unknown attribute {name}" for name in attributes if name not in allowed and name != "algo"]


def _in_result(
    result: TopicResult, shots: Container[str] | None, excluded: Container[str]
) -> Iterator[tuple[str, list[str]]]:
    """Violations in the result of one topic, with examples."""
    returned = [shot for _, shot in result.items]
    if not result.elapsed:
        yield "elapsedTime is missing", []
    elif not re.fullmatch(r"[0-9]{1,9}", result.elapsed):
        yield "elapsedTime is not in whole seconds", [repr(result.elapsed)]
    if not returned:
        yield "no shots", []
    if len(returned) > DEPTH:
        yield f"more than {DEPTH} shots", [str(len(returned))]
    if [number for number, _ in result.items] != [str(n) for n in range(1, len(returned) + 1)]:
        yield "seqNum does not run from 1 in steps of 1", []
    if repeated := [shot for shot, times in Counter(returned).items() if times > 1]:
        yield "shots more than once", repeated
    if malformed := [shot for shot in returned if not _SHOT.fullmatch(shot)]:
        yield "no shot ids like shot00001_1", malformed
    elif shots is not None and (absent := [shot for shot in returned if shot not in shots]):
        yield "not in the shot table", absent
    if left := [shot for shot in returned if shot in excluded]:
        yield "excluded shots", left


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
