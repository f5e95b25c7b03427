"""Tokens of texts and queries, of any script.

Texts are normalised to NFKC with full case folding (Unicode's NFKC_Casefold): "ﬁ", "FI" and "fi" are one token.
Letters, marks and digits make words; an apostrophe inside a word is left out ("don't" is "dont"), and everything else
separates. Scripts without spaces between words (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese) give their
characters, and pairs of adjacent ones. Emoji and other symbols are tokens of one character. There is no stemming.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from avs_cli.types import Piece

# Words that say little about what is written or said: they count in quotes, and in queries that have no others.
STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "from", "if", "in", "into", "is", "it", "its", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "were", "will",
    "with",
})  # fmt: skip

_ASCII = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
# Stretches in double quotes of any kind; one of the groups is what stands between them.
QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»')
_APOSTROPHES = frozenset("'\u2019\u02bc\uff07")
# Scripts that write words without spaces: (first, last) code points.
_SCRIPTS = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF),
    (0x3100, 0x312F), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)  # fmt: skip
_LETTER, _UNSPACED, _MARK, _SYMBOL, _APOSTROPHE, _FORMAT, _OTHER = range(7)


class TextQuery(NamedTuple):
    """What to look for in texts.

    terms    distinct terms, by which shots are scored
    phrases  words, or characters, that a shot has one after the other
    """

    terms: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...] = ()


def normalised(text: str) -> str:
    """NFKC with full case folding."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def units(text: str) -> list[str]:
    """The words of a text, its characters where a script has no spaces, and its symbols, in order."""
    return [unit for run in runs(text) for unit in run]


def runs(text: str) -> list[list[str]]:
    """As `units`; adjacent characters of scripts without spaces are together, any other unit is by itself."""
    text = normalised(text)
    if text.isascii():
        return [[sys.intern(word.replace("'", ""))] for word in _ASCII.findall(text)]
    return list(_runs(text))


def _runs(text: str) -> Iterator[list[str]]:
    word, characters = "", list[str]()
    for place, sign in enumerate(text):
        kind = _kind(sign)
        if kind == _FORMAT or (kind == _APOSTROPHE and word and _kind(text[place + 1 : place + 2]) == _LETTER):
            continue
        if kind == _MARK and (word or characters):
            if word:
                word += sign
            else:
                characters[-1] += sign
            continue
        if word and kind != _LETTER:
            yield [word]
            word = ""
        if characters and kind != _UNSPACED:
            yield characters
            characters = []
        if kind == _LETTER:
            word += sign
        elif kind == _UNSPACED:
            characters.append(sign)
        elif kind == _SYMBOL:
            yield [sign]
    if word or characters:
        yield [word] if word else characters


@cache
def _kind(sign: str) -> int:
    if not sign or sign in _APOSTROPHES:
        return _APOSTROPHE if sign else _OTHER
    category = unicodedata.category(sign)
    if category[0] in "LN":
        spaced = category == "Nd" or not any(low <= ord(sign) <= high for low, high in _SCRIPTS)
        return _LETTER if spaced else _UNSPACED
    return {"M": _MARK, "S": _SYMBOL}.get(category[0], _FORMAT if category == "Cf" else _OTHER)


def terms(text: str, ngrams: int = 0) -> list[str]:
    """The terms of a text, one for each occurrence: words, or characters and pairs of them.

    ngrams  0, or the length of the pieces of words that are terms instead; the ends of a word count as characters
    """
    found: list[str] = []
    for run in runs(text):
        found += run
        if len(run) > 1:
            found += ("".join(pair) for pair in pairwise(run))
    return found if not ngrams else [gram for term in found for gram in _grams(term, ngrams)]


def _grams(term: str, length: int) -> Iterator[str]:
    padded = f"\x02{term}\x03"
    for place in range(max(1, len(padded) - length + 1)):
        yield padded[place : place + length]


def parse_query(text: str, ngrams: int = 0) -> TextQuery:
    """A query: words in any order, and phrases in double quotes, which a shot must have."""
    quoted = [next(filter(None, match.groups()), "") for match in QUOTED.finditer(text)]
    phrases = dict.fromkeys(phrase for words in quoted if (phrase := tuple(units(words))))
    rest = runs(QUOTED.sub(" ", text))
    telling = [run for run in rest if run[0] not in STOP_WORDS] or ([] if phrases else rest)
    words = " ".join("".join(run) for run in telling)
    return TextQuery(tuple(dict.fromkeys([*terms(words, ngrams), *terms(" ".join(quoted), ngrams)])), tuple(phrases))


def has_phrase(found: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether units of a text have those of a phrase, one after the other."""
    first, length = phrase[0], len(phrase)
    place = -1
    wanted = list(phrase)
    try:
        while True:
            place = found.index(first, place + 1)
            if list(found[place : place + length]) == wanted:
                return True
    except ValueError:
        return False


def matched(pieces: Sequence[Piece], query: str, ngrams: int = 0) -> list[Piece]:
    """Those of the pieces that have a term of a query."""
    wanted = {*parse_query(query, ngrams).terms}
    return [piece for piece in pieces if not wanted.isdisjoint(terms(piece.text, ngrams))]
