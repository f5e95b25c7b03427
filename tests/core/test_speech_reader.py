"""Speech: where sound is cut, which shot has a word, and what is said about videos. No network is loaded."""

from collections.abc import Callable

import numpy as np
import pytest

from avs_cli.core.words.asr import Word, divided, stretches
from avs_cli.types import Shot


def loud(sound: np.ndarray) -> list[tuple[int, int]]:
    """Runs of samples that are not zero: (first, end)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], sound != 0, [False]]).astype(int)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def cut(
    sound: list[int], piece: int, most: int = 10, voiced: Callable[..., list[tuple[int, int]]] = loud
) -> list[tuple[int, int]]:
    samples = np.array(sound, np.int16)
    pieces = [samples[low : low + piece] for low in range(0, len(samples), piece)]
    return [(first, len(part)) for first, part in stretches(pieces, voiced, most)]


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
def test_a_stretch_ends_in_its_last_pause_whatever_the_pieces_are(piece: int) -> None:
    #        0  1  2  3  4  5  6  7  8  9 10 11 12 13 14
    sound = [1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0]
    assert cut(sound, piece) == [(0, 9), (9, 6)]


def test_without_a_pause_a_stretch_ends_at_its_end() -> None:
    assert cut([1] * 25, 4) == [(0, 10), (10, 10), (20, 5)]


def test_a_pause_in_the_first_half_would_make_many_short_stretches() -> None:
    assert cut([1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], 5) == [(0, 10), (10, 2)]


def test_what_has_no_voice_is_left_out() -> None:
    assert cut([0] * 30 + [1, 1] + [0] * 8, 7) == [(30, 6)]
    assert cut([], 5) == []


def test_samples_are_between_minus_one_and_one() -> None:
    ((_, sound),) = stretches([np.array([-32768, 16384, 0], np.int16)], loud)
    assert sound.dtype == np.float32
    assert sound.tolist() == [-1.0, 0.5, 0.0]


def test_a_shot_has_the_words_whose_middle_is_inside_it() -> None:
    words = [
        Word(" Good", 0.5, 1.0, 0.8, 1),
        Word(" morning.", 1.0, 1.9, 0.6, 1),
        Word(" And", 1.8, 2.4, 1.0, 2),
        Word(" now", 5.0, 5.2, 0.5, 2),
    ]
    shots = [Shot("b", "v", 2.0, 5.0), Shot("a", "v", 0.0, 2.0), Shot("c", "v", 5.0, 9.0), Shot("all", "v", 0.0, 9.0)]
    late, early, last, every = divided(words, shots)
    (morning,) = early
    assert (morning.text, morning.start, morning.end, morning.box) == ("Good morning.", 0.5, 1.9, None)
    assert morning.confidence == pytest.approx(0.7)
    assert [one.text for one in late] == ["And"]
    assert [(one.text, one.start) for one in last] == [("now", 5.0)]
    assert [one.text for one in every] == ["Good morning.", "And now"]


def test_words_without_letters_and_videos_without_words_are_no_pieces() -> None:
    shots = [Shot("a", "v", 0.0, 2.0)]
    assert divided([Word("  ", 0.5, 1.0, 0.8, 1)], shots) == [[]]
    assert divided([], shots) == [[]]
