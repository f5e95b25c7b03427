"""The grammar of queries: what a line means, where it is wrong, and that sentences are sentences."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avs_cli.core.search import feedback
from avs_cli.core.search.queries import ABSENT, DISLIKE, is_plain, line, parse, words_of
from avs_cli.errors import SpecError
from avs_cli.io.text.captions import read_captions
from avs_cli.types import QueryPart, QueryStep


def one(*parts: QueryPart, within: float = 30.0) -> QueryStep:
    return QueryStep(parts, within)


A, B = QueryPart(1.0, "a dog"), QueryPart(1.0, "a cat")


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a  dog ", [one(A)]),
        ("a dog -people  -a leash ^2", [one(A, QueryPart(-ABSENT, "people"), QueryPart(-2.0, "a leash"))]),
        ("-people", [one(QueryPart(-ABSENT, "people"))]),
        ("a dog ^0.5 +a cat", [one(A._replace(weight=0.5), B)]),
        (
            "a dog like:s_1 ^2 -like:s_2",
            [one(A, QueryPart(2.0, "s_1", True), QueryPart(-DISLIKE, "s_2", True))],
        ),
        ('like:"my photo.jpg" +a dog', [one(QueryPart(1.0, "my photo.jpg", True), A)]),
        ("a dog > a cat", [one(A), one(B)]),
        ("a dog > a cat < 2.5 s > a dog < 5s", [one(A), one(B, within=2.5), one(A, within=5)]),
        ("a dog -x > a cat -y", [one(A, QueryPart(-ABSENT, "x")), one(B, QueryPart(-ABSENT, "y"))]),
        ("", [one()]),
    ],
)
def test_a_line_is_steps_of_parts(text: str, steps: list[QueryStep]) -> None:
    assert [*parse(text)] == steps


@pytest.mark.parametrize(
    "text",
    [
        "a t-shirt",
        "r-b -",
        "5 - 3 + 1",
        "a smiley :-) ^_^",
        'a sign "stop > go -now"',
        "1 < 2",
        "a->b",
        "it looks like: a dog",
    ],
)
def test_signs_within_words_and_quotes_are_text(text: str) -> None:
    assert [*parse(text)] == [one(QueryPart(1.0, text))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("> a", "query, character 1: '>': nothing precedes it"),
        ("a dog > ", "query, character 7: '>': nothing follows it"),
        ("a > > b", "query, character 5: '>': nothing precedes it"),
        ("a < 3s", "query, character 3: '< 3s': a time follows the second step"),
        ("a > < 3s", "query, character 5: '< 3s': a time follows what is to be within it"),
        ("a > b < soon", "query, character 7: '<': expected seconds"),
        ("a > b < 3s -c", "query, character 12: '-c': expected > or the end after a time"),
        ("a > b < 3s < 4s", "query, character 12: '< 4s': a step has one time"),
        ("a ^2 b", "query, character 6: 'b': expected +, -, like:, > or the end here"),
        ("like:x a dog", "query, character 8: 'a dog': expected +, -"),
        ("a ^2 ^3", "query, character 6: '^3': a weight follows a sentence or an example, once"),
        ("a -b ^0", "query, character 6: '^0': a weight is above 0"),
    ],
)
def test_what_is_not_of_the_grammar_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        parse(text)
    assert str(error.value).startswith(message)


PIECES = st.sampled_from(
    [
        "a",
        "dog",
        "-x",
        "+y",
        "-",
        "like:s",
        'like:"a b"',
        "-like:s",
        "^2",
        "^0.25",
        "^",
        ">",
        ">",
        "<",
        "3s",
        "< 4s",
        '"',
        "é",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=12).map(" ".join), st.text(max_size=20)))
def test_a_line_that_is_written_is_read_as_the_same_steps(text: str) -> None:
    try:
        steps = parse(text)
    except SpecError as error:
        assert str(error).startswith("query, character ") and "\n" not in str(error)
        return
    assert parse(line(steps)) == steps and line(parse(line(steps))) == line(steps)


def test_topics_and_captions_are_sentences(shared_data: Callable[[str], Path]) -> None:
    captions = [shared_data("flickr8k") / f"{part}.caption.txt" for part in ("dev", "train")]
    texts = [text for path in captions for text in read_captions(str(path)).values()]
    for path in shared_data("topics").glob("*.txt"):
        texts += filter(None, map(str.strip, path.read_text("utf-8", "replace").splitlines()))
    assert len(texts) > 35_000
    for text in texts:
        (step,) = parse(text)
        assert step.parts == (QueryPart(1.0, " ".join(text.split())),)
    assert is_plain(parse(texts[0])) and not is_plain(parse("a -b"))


def test_words_to_show_are_those_that_are_asked_for() -> None:
    assert words_of("rust +red ^0.5 -iron like:s > b") == "rust red"
    assert feedback.DISLIKE == DISLIKE
