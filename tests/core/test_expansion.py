"""Variants of topics: the prompt, and what is a wording in a model's answer."""

import pytest

from avs_cli.core.expansion import PROMPT, check_prompt, prompt_of, variants_in
from avs_cli.errors import SpecError
from avs_cli.types import Topic

TOPIC = Topic("661", "a hang glider {count}", "Any glider.")


def test_a_prompt_gets_the_topic_and_other_braces_stay() -> None:
    assert prompt_of('{query}|{count}|{narrative}|{"a": {}}', TOPIC, 3) == (
        'a hang glider {count}|3|Any glider.|{"a": {}}'
    )
    check_prompt(PROMPT)
    with pytest.raises(SpecError, match=r"no \{query\}"):
        check_prompt("Rewrite the query.")


@pytest.mark.parametrize(
    "line",
    [
        "1. three men walk",
        "2) three men walk",
        "(3) three men walk",
        "a) three men walk",
        " - three men walk",
        "* **three men walk**",
        '4. "three men walk",',
        "\u201cthree  men walk\u201d",
        "Variant 3: three men walk",
        "**Query:** three men walk",
        "• Rewrite #2: 'three men walk'",
    ],
)
def test_marks_labels_and_quotes_around_a_wording_are_left_out(line: str) -> None:
    assert variants_in(line, [], 5) == ["three men walk"]


@pytest.mark.parametrize(
    "line", ["3 men walk", "1950s cars", "3.5 metres of rope", "the 'red' car", "'red' car, a man", "A man: waving"]
)
def test_what_belongs_to_a_wording_stays(line: str) -> None:
    assert variants_in(line, [], 5) == [line]


def test_echoes_duplicates_and_comments_are_no_variants() -> None:
    answer = "Sure, here are three:\n1. A Hang-Glider.\n2. a café\n3. A cafe!\n---\n42\n\n4. a kite\n5. a plane"
    assert variants_in(answer, ["a hang glider"], 5) == ["a café", "a kite", "a plane"]
    assert variants_in(answer, ["a hang glider"], 2) == ["a café", "a kite"]


def test_json_lists_fences_and_thoughts_are_read() -> None:
    assert variants_in('```json\n["a kite", "a plane", 3]\n```', [], 5) == ["a kite", "a plane"]
    assert variants_in("<think>\na bird?\n</think>\na kite", [], 5) == ["a kite"]
    assert variants_in("<think>\na bird", [], 5) == []
