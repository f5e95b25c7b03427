"""What NIST takes as a run of ad-hoc video search, and what it sends back.

The rules are those of TRECVID's guidelines and checks, 2016 to 2025: a run says how it was trained and made, and
answers every topic once, with at most 1000 shots that exist, in order.
"""

import re
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence

from avs_cli.errors import SpecError
from avs_cli.types import Run, Submission, TopicResult, ranked

DEPTH = 1000
FIRST_YEAR = 2016

_SHOT = re.compile(r"shot\d+_\d+")
_PRIORITIES = tuple(str(number) for number in range(1, 11))


def attribute_values(year: int) -> dict[str, tuple[str, ...] | None]:
    """The attributes that a run of that year has, in NIST's order, and their values; None is any text.

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


def submission(run: Run, attributes: Mapping[str, str], elapsed: str, depth: int | None = DEPTH) -> Submission:
    """A run as its XML will hold it: the best `depth` shots of each topic, under the three digits that XML wants."""
    results = [
        TopicResult(xml_number(topic), elapsed, [(str(n), shot) for n, shot in enumerate(ranked(scores)[:depth], 1)])
        for topic, scores in run.items()
    ]
    return Submission(dict(attributes), results)


def as_run(answer: Submission) -> Run:
    """The ranking of a submission as scores that fall by 1 from rank to rank, the last shot's being 1.

    A shot or topic that comes twice keeps its better rank; `violations` names it.
    """
    run: Run = {}
    for result in answer.results:
        scores = run.setdefault(result.number, {})
        for place, (_, shot) in enumerate(result.items):
            scores.setdefault(shot, float(len(result.items) - place))
    return run


def xml_number(topic: str) -> str:
    """731 for a topic that qrels call 1731; every other id stays."""
    return topic[1:] if re.fullmatch(r"1\d{3}", topic) else topic


def file_name(year: int, attributes: Mapping[str, str]) -> str:
    """NIST's name for the file: F_M_C_D_TEAM.23_1.xml; without task and novelty before 2019."""
    parts = [attributes[name] for name in ("class", "task", "novelty", "trType") if name in attribute_values(year)]
    return "_".join([*parts, f"{attributes['pid']}.{year % 100:02}", attributes["priority"]]) + ".xml"


def violations(
    answer: Submission, year: int, topics: Collection[str] | None = None, shots: Container[str] | None = None
) -> list[str]:
    """Everything for which NIST would reject the run, a sentence each.

    topics  ids of the topics to answer, three digits; None: not known
    shots   ids of the shots that exist; None: not known
    """
    return [*_in_attributes(answer.attributes, year), *violations_in_results(answer.results, topics, shots)]


def violations_in_results(
    results: Sequence[TopicResult], topics: Collection[str] | None = None, shots: Container[str] | None = None
) -> list[str]:
    """What is wrong with the answers, whatever file they come in."""
    found = [] if results else ["it answers no topic"]
    answered = Counter(result.number for result in results)
    wanted = answered if topics is None else dict.fromkeys(topics)
    lists = {
        "answered more than once": [number for number, times in answered.items() if times > 1],
        "not among the topics": [number for number in answered if number not in wanted],
        "not answered": [number for number in wanted if number not in answered],
    }
    for result in results:
        for what in _in_result(result, shots):
            lists.setdefault(what, []).append(result.number)
    return found + [f"topic {_few(numbers)}: {what}" for what, numbers in lists.items() if numbers]


def _in_attributes(attributes: Mapping[str, str], year: int) -> list[str]:
    allowed = attribute_values(year)
    found = []
    for name, values in allowed.items():
        value = attributes.get(name)
        if value is None:
            found.append(f"{name} is missing")
        elif values is not None and value not in values:
            found.append(f"{name} is {value!r} instead of one of {', '.join(values)}")
    if not re.fullmatch(r"[\w-]+", attributes.get("pid", "-")):
        found.append(f"pid is {attributes['pid']!r}, but a team's short name is one word of letters, digits, - and _")
    if "algo" in attributes and (year < 2023 or attributes["algo"] not in ("C", "V")):
        found.append(f"algo is {attributes['algo']!r}; it is C or V, and of 2023 at the earliest")
    return found + [f"unknown attribute {name}" for name in attributes if name not in allowed and name != "algo"]


def _in_result(result: TopicResult, shots: Container[str] | None) -> list[str]:
    found = []
    if not re.fullmatch(r"[0-9]+", result.elapsed):
        found.append(f"elapsedTime is {result.elapsed!r} instead of whole seconds")
    if not result.items:
        found.append("no shots")
    if len(result.items) > DEPTH:
        found.append(f"{len(result.items)} shots, but the limit is {DEPTH}")
    if [number for number, _ in result.items] != [str(n) for n in range(1, len(result.items) + 1)]:
        found.append(f"seqNum does not run from 1 to {len(result.items)}")
    repeated = [shot for shot, times in Counter(shot for _, shot in result.items).items() if times > 1]
    if repeated:
        found.append(f"more than once: {_few(repeated)}")
    malformed = [shot for _, shot in result.items if not _SHOT.fullmatch(shot)]
    if malformed:
        found.append(f"no shot ids like shot00001_1: {_few(malformed)}")
    elif shots is not None:
        absent = [shot for _, shot in result.items if shot not in shots]
        if absent:
            found.append(f"not in the shot table: {_few(absent)}")
    return found


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
