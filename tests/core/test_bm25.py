"""BM25 and its tokens: the formula as it is printed, and words of every script."""

import math
import random
import unicodedata
from collections import Counter

import numpy as np
import pytest

from avs_cli.core.search.bm25 import bm25
from avs_cli.core.search.tokens import TextQuery, parse_query, terms, units
from avs_cli.types import Piece


def texts(*listed: str) -> list[tuple[str, list[Piece]]]:
    """Shots s0, s1 …; a line break begins another piece."""
    return [
        (f"s{n}", [Piece(line, k, k + 1.0) for k, line in enumerate(text.split("\n")) if line])
        for n, text in enumerate(listed)
    ]


def by_hand(words: list[list[str]], query: list[str]) -> list[float]:
    """The scores of all texts: the formula of the docstring, written out."""
    held = [one for one in words if one]
    mean = sum(map(len, held)) / len(held)
    found = []
    for one in words:
        score = 0.0
        for term in query:
            n = sum(term in other for other in held)
            f = one.count(term)
            score += (
                math.log(1 + (len(held) - n + 0.5) / (n + 0.5)) * f / (f + 1.2 * (1 - 0.75 + 0.75 * len(one) / mean))
            )
        found.append(score)
    return found


def test_scores_are_the_formula_and_those_of_bm25s() -> None:
    chance = random.Random(0)
    vocabulary = [f"w{number}" for number in range(60)]
    words = [chance.choices(vocabulary, [1 / (n + 1) for n in range(60)], k=chance.randrange(12)) for _ in range(80)]
    shots = texts(*map(" ".join, words))
    queries = [chance.sample(vocabulary, chance.choice([1, 2, 5])) for _ in range(20)]
    found = bm25(shots, [TextQuery(tuple(query)) for query in queries])
    expected = [by_hand(words, query) for query in queries]
    for hits, scores in zip(found, expected, strict=True):
        assert dict(zip(hits.shots, hits.scores.tolist(), strict=True)) == pytest.approx(
            {f"s{n}": score for n, score in enumerate(scores) if score}, abs=1e-12
        )
    peer = pytest.importorskip("bm25s")
    index = peer.BM25(k1=1.2, b=0.75, method="lucene", dtype="float64", backend="numpy", csc_backend="numpy")
    held = [n for n, one in enumerate(words) if one]
    index.index([words[n] for n in held], show_progress=False)
    for query, scores in zip(queries, expected, strict=True):
        known = [term for term in query if any(term in one for one in words)]
        ours = [scores[n] for n in held]
        np.testing.assert_allclose(index.get_scores(known) if known else np.zeros(len(held)), ours, atol=1e-12)


def test_coverage_weighs_rare_words_and_words_that_nobody_says_most() -> None:
    shots = texts("quarterly results", "results of a match", "the match", "")
    (hits,) = bm25(shots, [parse_query("quarterly results slide")])
    weights = {n: math.log(1 + (3 - n + 0.5) / (n + 0.5)) for n in (0, 1, 2)}
    whole = weights[0] + weights[1] + weights[2]
    assert hits.shots == ["s0", "s1"]
    assert hits.coverage.tolist() == pytest.approx([(weights[1] + weights[2]) / whole, weights[2] / whole])


def test_a_phrase_is_in_a_shot_word_for_word_also_across_pieces() -> None:
    shots = texts("not today", "today not", "it is not\nToday!", "nottoday", "not to day", "not, today")
    (hits,) = bm25(shots, [parse_query('a mug that says "Not Today"')])
    assert hits.shots == ["s0", "s2", "s5"] and hits.coverage.tolist() == [1, 1, 1]
    (both,) = bm25(shots, [parse_query('"it is" “not today”')])
    assert both.shots == ["s2"]
    (chinese,) = bm25(texts("我爱北京", "北方和京城", "北 京"), [parse_query('"北京"')])
    assert chinese.shots == ["s0", "s2"]


def test_pieces_of_words_tolerate_the_errors_of_ocr() -> None:
    shots = texts("quarterIy results", "something else")
    words, grams = (bm25(shots, [parse_query("quarterly results", n)], n)[0] for n in (0, 3))
    assert words.coverage[0] < 0.4 and grams.coverage[0] > 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, I\u2019m FINE \u2013 \ufb01ne \uff12\uff10\uff12\uff14", "dont stop im fine fine 2024"),
        ("STRASSE Straße ΣΊΣΥΦΟΣ", "strasse strasse σίσυφοσ"),
        ("caf\u00e9 cafe\u0301", "café café"),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
        ("שָׁלוֹם עולם", unicodedata.normalize("NFKC", "שָׁלוֹם עולם")),
        ("مَرْحَبًا بك", "مَرْحَبًا بك"),
        ("नम\u200cस्ते co\u00adoperate", "नमस्ते cooperate"),
        ("你好world", "你 好 world"),
        ("ひらがなカタカナ", "ひ ら が な カ タ カ ナ"),
        ("안녕하세요", "안 녕 하 세 요"),
        ("ที่นี่", "ที่ นี่"),
        ("I \u2764\ufe0f \U0001f469\u200d\U0001f467", "i \u2764 \U0001f469 \U0001f467"),
        ("a_b-c.d 3.14", "a b c d 3 14"),
        ("", ""),
    ],
)
def test_words_of_every_script_are_units(text: str, expected: str) -> None:
    assert units(text) == expected.split()


def test_scripts_without_spaces_give_pairs_too_and_only_of_neighbours() -> None:
    assert Counter(terms("北京 上海")) == Counter(["北", "京", "北京", "上", "海", "上海"])
    assert terms("ab", 3) == ["\x02ab", "ab\x03"] and terms("a", 9) == ["\x02a\x03"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the slide with the results", TextQuery(("slide", "results"))),
        ("to be or not to be", TextQuery(("not",))),
        ("to be", TextQuery(("to", "be"))),
        ('the "to be" of it', TextQuery(("to", "be"), (("to", "be"),))),
        ('5" screen', TextQuery(("5", "screen"))),
        ('"" «один два» dog', TextQuery(("dog", "один", "два"), (("один", "два"),))),
        ("...", TextQuery(())),
    ],
)
def test_a_query_is_words_and_quoted_phrases(text: str, expected: TextQuery) -> None:
    assert parse_query(text) == expected
