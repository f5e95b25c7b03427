"""Query expansion: a prompt that asks a language model for variants of a topic, and the variants in its answer."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from avs_cli.errors import SpecError
from avs_cli.types import Topic

PROMPT = """\
Rewrite this query to a video search engine in {count} different ways.
Keep its meaning: the same people, objects, actions and places, and the same number of them. Add nothing.
Use other words, and describe what the video shows.
Write one query per line, without numbers and without comments.

Query: {query}
Queries:
"""
"""The default prompt. Of a prompt, `{query}`, `{count}` and `{narrative}` are replaced; it must have the first."""

# What models write before a wording: list marks, numbers and labels.
_AROUND = re.compile(
    r"^(?:[-*•–—]+|\(?\d{1,3}[.):]\)?(?!\d)|\(?[a-zA-Z]\)|#+"
    r"|(?:query|rewrite|variant|variation|version|paraphrase|alternative|option)\s*#?\d*\s*:)\s*",
    re.IGNORECASE,
)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_OPENING, _CLOSING = "\"'`\u201c\u2018«", "\"'`\u201d\u2019»"


class TextGenerator(Protocol):
    """A language model: one answer per prompt, which does not depend on the other prompts.

    provenance  what determines the answers, for the file of variants
    """

    @property
    def provenance(self) -> Mapping[str, str | int | float]: ...

    def answers(self, prompts: Sequence[str]) -> list[str]:
        """The answer to each prompt."""
        ...


def check_prompt(prompt: str) -> None:
    """Raises SpecError for a prompt without the place of the query."""
    if "{query}" not in prompt:
        raise SpecError("the prompt has no {query}, where the text of a topic goes")


def prompt_of(prompt: str, topic: Topic, count: int) -> str:
    """The prompt for a topic; other braces than those of its three fields stay as they are."""
    fields = {"{query}": topic.query, "{count}": str(count), "{narrative}": topic.narrative}
    return re.sub(r"\{(?:query|count|narrative)\}", lambda found: fields[found[0]], prompt)


def variants_in(answer: str, known: Iterable[str], count: int) -> list[str]:
    """The first `count` wordings of an answer, one per line or in a JSON list, without list marks and quotation marks.

    known  wordings that are left out, as are repeated ones: compared without case, punctuation and accents
    Lines that end with a colon, such as "Here are five queries:", and lines without a letter are no wordings.
    """
    seen = set(map(_plain, known))
    found: list[str] = []
    for line in _lines(answer):
        text = _bare(line)
        if text.endswith(":") or not any(map(str.isalpha, text)) or _plain(text) in seen:
            continue
        seen.add(_plain(text))
        found.append(text)
    return found[:count]


def _lines(answer: str) -> Iterator[str]:
    text = _THOUGHT.sub("", answer).strip()
    text = re.sub(r"^```\w*\n|\n?```$", "", text)
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = None
    if isinstance(listed, list):
        yield from (one for one in listed if isinstance(one, str))
    else:
        yield from text.splitlines()


def _bare(line: str) -> str:
    """A line without what is around its wording, and with single spaces."""
    text, before = " ".join(line.replace("**", "").split()), ""
    while text != before:
        before = text
        text = _AROUND.sub("", text, count=1).rstrip(",; ")
        if text[:1] in _OPENING and text[-1:] in _CLOSING:
            text = text[1:-1].strip()
    return text


def _plain(text: str) -> str:
    """A wording to compare with others."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    return " ".join("".join(one if one.isalnum() else " " for one in letters if not unicodedata.combining(one)).split())
