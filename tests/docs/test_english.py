"""Help texts, messages and docstrings use the words of the field, as a reader of scikit-learn's manual expects them."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import avs_cli
from avs_cli import cli, docgen

PACKAGE = Path(avs_cli.__file__).parent

# What the texts of 0.1.0 said -> what the field says.
PHRASES = {
    r"made small|makes small": "training objective, loss",
    r"rule takes the steps|rule that takes the steps": "optimizer",
    r"largest step size": "peak learning rate",
    r"a step takes away": "weight decay",
    r"one wave down": "cosine decay to zero",
    r"[Oo]f the (?:head|student|model)'s (?:products|arithmetic)": "numeric precision",
    r"sentences? (?:that|which) den(?:y|ies)|denying text": "negated captions",
    r"[Cc]aptions to (?:choose by|learn from)": "validation captions, training captions",
    r"what is to be large": "metric for model selection",
    r"a student that is (?:as )?fast": "a student with one vector per shot",
    r"computed again for the gradient": "gradient checkpointing",
    r"\banew\b": "rerank, again",
    r"stretched to 0": "min-max normalised",
    r"what others taught": "cross-validation",
    r"Step 1 alone": "linear weights only",
    r"Step 2 does not help": "Step 2 gave no gain",
    r"seldom gives to a match|do not trust it": "low similarity: results may be irrelevant",
    r"by what is in it|from who you trust": "format detected from content; trusted files only",
    r"is there (?:twice|a second time)|in topic \S+ a second time": "duplicate",
    r"like nothing": "cosine undefined",
    r"nothing better for": "no improvement",
    r"stdout is data|is talk": "data goes to stdout, messages to stderr",
    r"\bby lot\b|\blots are\b": "at random, random bits",
    r"\b(?:is|are|be) told\b": "reported, given",
    r"of which it\b": "whose",
    r"\bcomes? in (?:through|by|any)\b": "is given",
    r"\bnumbers of (?:a|the) vector\b|vectors? of \S+ numbers": "dimensions",
    r"told each other|tell each other": "temporal transformer, attention",
    r"combinations? that mean nothing": "invalid combinations",
    r"what is in hand": "current item",
    r"\bcomes? twice\b|\bhas twice\b": "duplicate",
    r"\bthat is read already\b": "the content of the file",
    r"\bwhole or (?:not at all|absent)\b": "atomically",
    r"\badd(?:s|ing)? up to 1\b": "with sum 1",
    r"\bin a straight line\b": "linear warm-up",
    r"\bsane size\b": "plausible size, in range",
    r"\bthe right way up\b|\bput (?:right|upright)\b": "rotation is applied",
    r"\bnobody\b|\bwhoever\b": "none, unknown",
    r"\bsa(?:ys|id|y) of (?:itself|its|themselves|theirs)\b": "properties, description",
    r"\b(?:file|books?|row) that (?:is|are) none\b|\bfor what is none\b": "other files, invalid",
    r"\bas (?:it|they) comes?\b": "in file order",
    r"\bleft to chance\b": "random weights",
    r"\bof (?:any|no certain) length(?: but zero)?\b": "not normalised",
    r"\bhow much (?:each|every) \w+ counts\b": "weights of",
    r"\bModules that the entries share\b": "modules that are not entries",
    r"\bkept, whole\b|\bKeep a finished\b": "written atomically",
}


def texts() -> Iterator[tuple[str, str]]:
    """Every docstring, string, f-string and comment of the package, with its place; fields of f-strings are {}."""
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield f"{path.relative_to(PACKAGE)}:{token.start[0]}", token.string
        tree = ast.parse(source)
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                written = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                written = node.value
            else:
                continue
            yield f"{path.relative_to(PACKAGE)}:{node.lineno}", " ".join(written.split())


@pytest.fixture(scope="module")
def placed() -> list[tuple[str, str]]:
    return list(texts())


def test_the_texts_are_docstrings_comments_and_strings_with_fields(placed: list[tuple[str, str]]) -> None:
    said = [text for _, text in placed]
    assert len(said) > 5000
    assert " ".join((avs_cli.cli.__doc__ or "").split()) in said
    assert any(text.startswith("# ") for text in said) and any("{}" in text for text in said)


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_has_a_phrase_that_the_field_has_a_word_for(placed: list[tuple[str, str]], phrase: str) -> None:
    found = [f"{place}: {text[:160]}" for place, text in placed if re.search(phrase, text)]
    assert not found, f"write: {PHRASES[phrase]}"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_an_option_is_one_phrase_without_its_default(name: str) -> None:
    for parameter in docgen.parameters(cli.build([name]).commands[name]):
        text = parameter.help.partition(" Default:")[0]
        assert re.match(r"[A-Z1-9-]|auto|mir|nist", text), text
        assert not re.search(r"by default|if not given", text), text
