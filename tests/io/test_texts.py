"""Millions of texts in little memory: packed texts, and lookups by digests."""

import numpy as np
import pytest

from avs_cli.io import texts
from avs_cli.io.texts import Lookup, Numbering, PackedTexts, digests, distinct, renumbered, repeated, twin

WORDS = ["a", "", "straße", "映画", "a", "b" * 300, "nul\0", "nul\n"]


def column(*ids: str) -> np.ndarray:
    return np.array([id.encode() for id in ids], "S")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few texts take several pieces."""
    monkeypatch.setattr(texts, "PIECE", 3)


def test_packed_texts_are_the_texts() -> None:
    packed = PackedTexts.of(iter(WORDS))
    assert (len(packed), list(packed), [packed[k] for k in range(8)], packed[-1]) == (8, WORDS, WORDS, "nul\n")
    assert packed == WORDS
    assert packed != [*WORDS[:-1], "other"]
    assert packed != WORDS[:-1]
    assert list(packed[1:7:2]) == WORDS[1:7:2]
    assert list(packed[5:99]) == WORDS[5:]
    assert list(packed.take(np.array([3, 3, 0, 7, 5]))) == [WORDS[k] for k in (3, 3, 0, 7, 5)]
    with pytest.raises(IndexError):
        packed[8]
    assert list(PackedTexts.of([])) == []


def test_a_lookup_finds_ids_in_all_columns_and_gives_minus_one_for_others() -> None:
    find = Lookup([column("b", "映画", "a"), column("long-identifier-0001", "c")])
    wanted = ["c", "nowhere", "a", "映画", "long-identifier-0001", "", "b", "a\0", "long-identifier-0001x"]
    expected = [4, -1, 2, 1, 3, -1, 0, -1, -1]
    assert find(wanted).tolist() == expected
    assert find(PackedTexts.of(wanted)).tolist() == expected
    assert find([]).tolist() == []
    assert Lookup([column()])(["a"]).tolist() == [-1]


def test_ids_with_one_digest_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_digested", lambda raw: np.zeros(len(raw), np.uint64))
    ids = ["a", "b", "c", "d", "e"]
    assert Lookup([column(*ids)])(["d", "x", "a", "e"]).tolist() == [3, -1, 0, 4]
    first, which = distinct(PackedTexts.of(["b", "a", "b", "c"]))
    assert (first.tolist(), which.tolist()) == ([0, 1, 3], [0, 1, 0, 2])
    assert twin([column(*ids)]) is None
    assert twin([column(*ids), column("x", "d")]) == (b"d", 0, 1)


def test_distinct_texts_are_numbered_as_they_first_occur() -> None:
    first, which = distinct(PackedTexts.of(["z", "a", "z", "m", "a", "z"]))
    assert (first.tolist(), which.tolist()) == ([0, 1, 3], [0, 1, 0, 2, 1, 0])
    first, which = renumbered(np.array([7, 3, 7, 5]))
    assert (first.tolist(), which.tolist()) == ([0, 1, 3], [0, 1, 0, 2])


def test_a_repeated_text_is_noticed() -> None:
    assert repeated(PackedTexts.of(["a", "b", "c", "d", "a"]))
    assert not repeated(PackedTexts.of(["a", "b", "c", "d"]))


def test_digests_do_not_depend_on_padding() -> None:
    ids = ["a", "shot00001_2", "映画"]
    assert digests(column(*ids)).tolist() == digests(column(*ids).astype("S200")).tolist()


def test_texts_are_numbered_in_their_order_and_found_again() -> None:
    numbering = Numbering()
    ids = [f"video{number}#enc#{number % 7}" for number in range(3000)]
    assert [numbering.add(id) for id in ids] == list(range(3000))
    assert [numbering.add(id) for id in ids[::-1]] == list(range(2999, -1, -1))
    assert [numbering.number(id) for id in ("video7#enc#0", "video7#enc#1", "")] == [7, -1, -1]
    assert numbering == set(ids) and list(numbering) == ids and set(ids) - numbering == set()
    assert numbering.padded(np.array([5, 0])).tolist() == [b"video5#enc#5", b"video0#enc#0"]
