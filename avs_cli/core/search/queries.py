"""Queries with structure, in one line of text: what is to be absent, several sentences, examples, sequences.

    query = step {">" step ["<" SECONDS "s"]}       each shot follows the one before it within the time
    step  = part {part}                             the parts are weighed and added up
    part  = ["+" | "-"] (SENTENCE | "like:"NAME) ["^"WEIGHT]

    a dog runs -people > it jumps into water < 20s
    a beach +the sea at sunset ^0.5 like:beach_12

A part after - is to be absent; one after "like:" is an example, a shot or a picture. Weights are 1, after - they are
`ABSENT` and `DISLIKE`, times are `WITHIN`, unless given. Only the first sentence of a step has no sign.
Signs and words of the grammar follow white space (or begin the query); `>`, `<` and `^` are followed by it or by a
number, + and - by a letter or digit, so that "t-shirt", "5 - 3" and ":-)" are text. Nothing between double quotes is
of the grammar: quotes stay in a sentence, where features of texts read them as phrases, and hold together a NAME that
has white space. Text without any of these is one sentence.
"""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from avs_cli.core.search.tokens import QUOTED
from avs_cli.errors import SpecError
from avs_cli.types import QueryPart, QueryStep

# Weight of a sentence that is to be absent, beside 1 for what is asked for: the best of seven for captions of photos
# (tests/benchmarks/bench_structure.py). Of an example it is that of `feedback`, which takes longer to import.
ABSENT, DISLIKE = 0.3, 0.5
# Seconds from a shot to the one that follows.
WITHIN = 30.0
LIKE = "like:"

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})"
_WEIGHT = re.compile(rf"\^{_NUMBER}(?=\s|$)")
_SECONDS = re.compile(rf"<\s*{_NUMBER}\s*s(?=\s|$)")


class _Token(NamedTuple):
    """A piece of a query.

    kind    "sentence", "example", "weight", "time" or "next"
    number  1 or -1 for a sentence or example that has a sign, 0 for one without; the weight, or the seconds
    """

    kind: str
    start: int
    end: int
    number: float = 0.0


def parse(text: str, name: str = "query") -> tuple[QueryStep, ...]:
    """The steps of a query; for plain text, one step of one sentence.

    name  of the query, for errors
    Raises SpecError, with the position, for text that is not of the grammar.
    """
    steps: list[QueryStep] = []
    parts: list[QueryPart] = []
    within, before = WITHIN, ""
    for token in _tokens(text):
        what = " ".join(text[token.start : token.end].split())
        if refusal := _refusal(token.kind, token.number, before, bool(steps)):
            raise SpecError(f"{name}, character {token.start + 1}: {what!r}: {refusal}")
        if token.kind in ("sentence", "example"):
            is_example = token.kind == "example"
            parts.append(QueryPart(_usual(token.number < 0, is_example), _named(what, token), is_example))
        elif token.kind == "weight":
            parts[-1] = parts[-1]._replace(weight=math.copysign(token.number, parts[-1].weight))
        elif token.kind == "time":
            within = token.number
        else:
            steps.append(QueryStep(tuple(parts), within))
            parts, within = [], WITHIN
        before = token.kind
    if before == "next":
        raise SpecError(f"{name}, character {len(text.rstrip())}: '>': nothing follows it")
    return (*steps, QueryStep(tuple(parts), within))


def _usual(absent: bool, example: bool) -> float:
    """The weight of a part that has none in its query."""
    return 1.0 if not absent else -DISLIKE if example else -ABSENT


def _refusal(kind: str, number: float, before: str, follows: bool) -> str:
    """Why a piece may not be here; "" where it may.

    before   the kind of the piece before it; "" at the beginning
    follows  whether the step is not the first
    """
    if kind in ("sentence", "example"):
        if before == "time":
            return "expected > or the end after a time"
        unsigned = kind == "sentence" and not number
        return f"expected +, -, {LIKE}, > or the end here" if unsigned and before not in ("", "next") else ""
    if kind == "weight":
        if before not in ("sentence", "example"):
            return "a weight follows a sentence or an example, once"
        return "" if number else "a weight is above 0; - is for what is to be absent"
    if before in ("", "next"):
        return "nothing precedes it" if kind == "next" else "a time follows what is to be within it"
    if kind == "next":
        return ""
    if not follows:
        return "a time follows the second step, as in: a dog > a cat < 20s"
    if before == "time":
        return "a step has one time"
    return "expected seconds, as in < 20s" if number < 0 else ""


def _tokens(text: str) -> list[_Token]:
    # What is in quotes is masked, and keeps its place.
    masked = QUOTED.sub(lambda quoted: "x" * len(quoted[0]), text)
    found: list[_Token] = []
    done, follows = 0, False
    for word in re.finditer(r"\S+", masked):
        start, end = word.span()
        if start < done:
            continue
        sign = {"+": 1, "-": -1}.get(masked[start], 0)
        signed = bool(sign) and masked[start + 1 : start + 2].isalnum()
        bare = masked[start + signed : end]
        if bare.startswith(LIKE) and len(bare) > len(LIKE):
            token = _Token("example", start, end, sign)
        elif signed:
            token = _Token("sentence", start, end, sign)
        elif weight := _WEIGHT.match(masked, start):
            token = _Token("weight", *weight.span(), float(weight[1]))
        elif seconds := _SECONDS.match(masked, start):
            token = _Token("time", *seconds.span(), float(seconds[1]))
        elif masked[start:end] == ">":
            token = _Token("next", start, end)
        elif follows and masked[start:end] == "<":
            token = _Token("time", start, end, -1)
        elif found and found[-1].kind == "sentence":
            token = found.pop()._replace(end=end)
        else:
            token = _Token("sentence", start, end)
        found.append(token)
        done, follows = token.end, follows or token.kind == "next"
    return found


def _named(what: str, token: _Token) -> str:
    """The sentence or the name of an example, without sign and `like:`."""
    text = what[token.number != 0 :]
    if token.kind == "sentence":
        return text
    name = text.removeprefix(LIKE)
    return name[1:-1] if QUOTED.fullmatch(name) and len(name) > 2 else name


def line(steps: Sequence[QueryStep]) -> str:
    """The text that `parse` reads as these steps."""
    written: list[str] = []
    for step in steps:
        pieces = [_written(part, first=not place) for place, part in enumerate(step.parts)]
        pieces += [f"< {_decimal(step.within)}s"] if written and step.within != WITHIN else []
        written.append(" ".join(pieces))
    return " > ".join(written)


def _written(part: QueryPart, first: bool) -> str:
    usual = _usual(part.weight < 0, part.example)
    sign = "-" if part.weight < 0 else "" if first or part.example else "+"
    text = part.text
    if part.example:
        text = LIKE + (f'"{text}"' if re.search(r"\s", text) and '"' not in text else text)
    return f"{sign}{text}" + (f" ^{_decimal(abs(part.weight))}" if part.weight != usual else "")


def _decimal(number: float) -> str:
    return format(Decimal(repr(number)).normalize(), "f")


def is_plain(steps: Sequence[QueryStep]) -> bool:
    """Whether a query is one sentence."""
    return len(steps) == 1 and [(part.weight, part.example) for part in steps[0].parts] in ([], [(1.0, False)])


def words_of(text: str) -> str:
    """The sentences that a query asks for in its first step, without what is to be absent."""
    return " ".join(part.text for part in parse(text)[0].parts if part.weight > 0 and not part.example)
