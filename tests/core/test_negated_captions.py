"""Negated captions: where a cue is inserted, where one is removed, and what is left alone."""

import pytest

from avs_cli.core.training.negated_captions import negated_captions


@pytest.mark.parametrize(
    ("caption", "negated"),
    [
        ("A dog is running .", ["A dog isn't running .", "A dog is not running ."]),
        ("Two boys are outside", ["Two boys aren't outside"]),
        ("a man throwing a ball", ["a man not throwing a ball"]),
        ("A girl carries a bag .", ["A girl does not carry a bag .", "A girl doesn't carry a bag ."]),
        ("two men play chess", ["two men do not play chess", "two men don't play chess"]),
        ("a cat with a hat", ["a cat without a hat"]),
        ("a man rock climbing", ["a man not rock climbing"]),
        (
            "A boy plays and smiles",
            [
                "A boy does not play and smiles",
                "A boy doesn't play and smiles",
                "A boy plays and does not smile",
                "A boy plays and doesn't smile",
            ],
        ),
    ],
)
def test_a_cue_is_inserted_where_it_fits(caption: str, negated: list[str]) -> None:
    assert negated_captions(caption) == (negated, False)


@pytest.mark.parametrize(
    "caption",
    [
        "a tall building",
        "a girl in a bathing suit",
        "the swimming pool",
        "a dog near the swings",
        "a group and two runs",
        "Mountain bike in the air",
        "a clip with sound",
        "",
    ],
)
def test_nouns_are_left_alone(caption: str) -> None:
    assert negated_captions(caption) == ([], False)


@pytest.mark.parametrize(
    ("caption", "affirmed"),
    [
        ("a man with no shirt", "a man with shirt"),
        ("a dog that does not run but sits", "a dog that runs and sits"),
        ("a dog isn't running", "a dog is running"),
        ("two boys don't play", "two boys play"),
        ("a room without any chairs", "a room with chairs"),
        ("she no longer sings", "she sings"),
        ("a man without a hat", "a man with a hat"),
    ],
)
def test_a_caption_that_denies_loses_its_cue(caption: str, affirmed: str) -> None:
    assert negated_captions(caption) == ([affirmed], True)


def test_a_clip_without_sound_denies_nothing_that_is_seen() -> None:
    assert negated_captions("a man runs without sound").sentences[0] == "a man does not run without sound"
