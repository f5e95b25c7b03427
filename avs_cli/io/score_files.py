"""Score files of RUC's tools (`id.sent.score.txt`): a topic per line, then shot and score in turn."""

import math

from avs_cli.errors import FormatError
from avs_cli.io.pipe import read_text
from avs_cli.types import Run


def read_scores(path: str) -> Run:
    """The shots and scores of each topic.

    Raises FormatError, with the line, for a shot without a score, a score that is not a finite number, and a topic, or
    a topic's shot, that comes twice.
    """
    return parse_scores(path, read_text(path))


def parse_scores(path: str, text: str) -> Run:
    """As `read_scores`, from a text that is read already."""
    run: Run = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        topic, *pairs = line.split()
        if topic in run:
            raise FormatError(path, f"topic {topic!r} is there twice", number)
        if len(pairs) % 2 or not pairs:
            raise FormatError(path, "a line is a topic, then shot and score in turn", number)
        scores = run[topic] = {}
        for shot, score in zip(pairs[::2], pairs[1::2], strict=True):
            if shot in scores:
                raise FormatError(path, f"shot {shot!r} is in topic {topic} a second time", number)
            scores[shot] = _score(path, number, score)
    if not run:
        raise FormatError(path, "no lines in it (topic shot score shot score …)")
    return run


def are_scores(text: str) -> bool:
    """Whether the content of a file looks like scores: behind the topic, shots and numbers in turn."""
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
