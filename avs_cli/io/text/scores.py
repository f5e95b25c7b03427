"""Score files of RUC's tools (`id.sent.score.txt`): one topic per line, then alternating shots and scores."""

import math

from avs_cli.errors import FormatError
from avs_cli.io.pipe import read_text
from avs_cli.types import Run


def read_scores(path: str) -> Run:
    """The shots and scores of each topic.

    Raises FormatError, with the line, for a shot without a score, a score that is not a finite number, a duplicate
    topic, and a duplicate shot of a topic.
    """
    return parse_scores(path, read_text(path))


def parse_scores(path: str, text: str) -> Run:
    """As `read_scores`, from the content of the file."""
    run: Run = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        topic, *pairs = line.split()
        if topic in run:
            raise FormatError(path, f"duplicate topic {topic!r}", number)
        if len(pairs) % 2 or not pairs:
            raise FormatError(path, "expected a topic, then alternating shots and scores", number)
        scores = run[topic] = {}
        for shot, score in zip(pairs[::2], pairs[1::2], strict=True):
            if shot in scores:
                raise FormatError(path, f"duplicate shot {shot!r} in topic {topic}", number)
            scores[shot] = _score(path, number, score)
    if not run:
        raise FormatError(path, "contains no lines (topic shot score shot score …)")
    return run


def read_verdicts(path: str) -> Run:
    """Topic -> shot -> score, from a run, a score file of RUC's tools, verdicts of a judge, lines of topic, shot and
    score, or lines of shot and score. The latter apply to all topics and have the topic "".

    Raises FormatError, with the line, for another number of columns, a score that is not a finite number, and a
    duplicate shot of a topic.
    """
    from avs_cli.io.text.trec import parse_run
    from avs_cli.io.text.verdicts import are_verdicts, parse_verdicts

    text = read_text(path)
    if are_verdicts(text):
        return parse_verdicts(path, text)
    width = len(text.lstrip().partition("\n")[0].split())
    if width == 6:
        return parse_run(path, text)
    if width not in (2, 3):
        return parse_scores(path, text)
    run: Run = {}
    for number, line in enumerate(text.split("\n"), start=1):
        columns = line.split()
        if not columns:
            continue
        if len(columns) != width:
            raise FormatError(path, f"{len(columns)} columns, but {width} in the first line", number)
        *topic, shot, score = columns
        scores = run.setdefault("".join(topic), {})
        if shot in scores:
            raise FormatError(path, f"duplicate shot {shot!r}", number)
        scores[shot] = _score(path, number, score)
    return run


def are_scores(text: str) -> bool:
    """Whether a text begins like a score file: a topic, then alternating shots and numbers."""
    first = text.lstrip().partition("\n")[0].split()
    return len(first) >= 3 and len(first) % 2 == 1 and _number(first[2]) is not None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _score(path: str, line: int, text: str) -> float:
    score = _number(text)
    if score is None:
        raise FormatError(path, f"score {text!r} is not a finite number", line)
    return score
