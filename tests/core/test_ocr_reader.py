"""Writing on frames: which frames are read, and what becomes of lines on successive frames. No network is loaded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avs_cli.core.words.devices import placed
from avs_cli.core.words.ocr import CHANGE, cells, changed, middles, parts
from avs_cli.core.words.spans import Line, in_reading_order, spans
from avs_cli.errors import SpecError, UnavailableError
from avs_cli.types import Piece, Shot


def line(text: str, left: float = 0.1, top: float = 0.1, sure: float = 0.9) -> Line:
    return Line(text, (left, top, left + 0.2, top + 0.1), sure)


def times(start: float, end: float, rate: float = 0.5, most: int | None = None) -> list[float]:
    return middles(start, end, frame_rate=25.0, rate=rate, most=most)


def test_one_frame_in_two_seconds_is_read_and_one_of_each_shot() -> None:
    assert times(0, 8) == [1, 3, 5, 7]
    assert times(10, 11) == [10.5]
    assert times(0, 9) == pytest.approx([0.9, 2.7, 4.5, 6.3, 8.1])
    assert times(3, 3) == [3]
    assert times(0, 8, most=2) == [2, 6]
    assert times(0, 2, rate=2) == [0.25, 0.75, 1.25, 1.75]


def test_the_parts_of_frames_cover_a_shot() -> None:
    shot = Shot("a", "v", 1.0, 7.0)
    assert parts(shot, 3) == [(1.0, 3.0), (3.0, 5.0), (5.0, 7.0)]
    assert [(low + high) / 2 for low, high in parts(shot, 3)] == times(1, 7)


def test_a_cell_is_the_mean_grey_level_of_its_pixels() -> None:
    picture = np.zeros((70, 128, 3), np.uint8)
    picture[:2, :2] = [[[255, 255, 255], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    grey = cells(picture)
    assert grey.shape == (35, 64)
    assert grey[0, 0] == pytest.approx(255 / 4)
    assert not grey.ravel()[1:].any()


def test_pictures_whose_size_is_no_multiple_of_the_cells_lose_no_pixel() -> None:
    picture = np.zeros((97, 131, 3), np.uint8)
    picture[-1, -1] = 255
    assert changed(cells(np.zeros_like(picture)), cells(picture))


def test_a_frame_is_read_again_when_one_cell_has_changed() -> None:
    before = np.full((36, 64), 100, np.float32)
    now = before.copy()
    now[3, 5] += CHANGE
    assert not changed(before, now)
    now[3, 5] += 0.5
    assert changed(before, now)
    assert changed(before, now[:, :60])


def test_lines_are_read_by_row_and_from_the_left() -> None:
    found = [line("d", 0.1, 0.5), line("b", 0.6, 0.12), line("a", 0.1, 0.1), line("c", 0.3, 0.35)]
    assert [one.text for one in in_reading_order(found)] == ["a", "b", "c", "d"]


def test_a_text_on_successive_frames_is_one_piece() -> None:
    frames = [
        ((0.0, 2.0), [line("NEWS", sure=0.7)]),
        ((2.0, 4.0), [line("NEWS", sure=0.9), line("Weather", top=0.6)]),
        ((4.0, 6.0), []),
        ((6.0, 8.0), [line("news", top=0.8)]),
    ]
    first, second, third = spans(frames)
    assert first == Piece("NEWS", 0.0, 4.0, line("").box, 0.9)
    assert (second.text, second.start, second.end) == ("Weather", 2.0, 4.0)
    assert (third.text, third.start, third.end) == ("news", 6.0, 8.0)


def test_a_frame_that_hardly_changed_shows_what_the_last_one_did() -> None:
    frames = [((0.0, 2.0), [line("NEWS")]), ((2.0, 4.0), None), ((4.0, 6.0), None), ((6.0, 8.0), [line("news")])]
    assert [(one.text, one.start, one.end) for one in spans(frames)] == [("NEWS", 0.0, 8.0)]


def test_the_spelling_that_is_surest_is_kept_and_spaces_and_case_do_not_part_a_text() -> None:
    frames = [((0.0, 2.0), [line("NOTTODAY", sure=0.8)]), ((2.0, 4.0), [line("not TODAY", left=0.3, sure=0.95)])]
    assert spans(frames) == [Piece("not TODAY", 0.0, 4.0, line("", 0.3).box, 0.95)]


def test_of_several_equal_texts_each_goes_on_with_the_nearest() -> None:
    frames = [
        ((0.0, 2.0), [line("EXIT", 0.0), line("EXIT", 0.7)]),
        ((2.0, 4.0), [line("EXIT", 0.65)]),
        ((4.0, 6.0), [line("EXIT", 0.6), line("EXIT", 0.1)]),
    ]
    found = [(one.start, one.end, one.box[0]) for one in spans(frames) if one.box]
    assert found == [(0.0, 2.0, 0.0), (0.0, 6.0, 0.7), (4.0, 6.0, 0.1)]


boxes = st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.75])] * 2).map(lambda at: (*at, at[0] + 0.25, at[1] + 0.2))
lines = st.builds(Line, st.sampled_from(["a", "B", "c d"]), boxes, st.sampled_from([0.6, 0.8]))


@given(st.lists(st.none() | st.lists(lines, max_size=4), max_size=5), st.randoms())
def test_pieces_do_not_depend_on_the_order_in_which_a_frame_is_read_and_keep_each_line(frames, random) -> None:  # type: ignore[no-untyped-def]
    timed = [((2.0 * n, 2.0 * n + 2), own) for n, own in enumerate(frames)]
    mixed = [(span, own and random.sample(own, len(own))) for span, own in timed]
    found = spans(timed)
    assert spans(mixed) == found
    for (start, end), own in timed:
        shown = sorted("".join(one.text.split()).casefold() for one in found if one.start <= start and end <= one.end)
        if own is not None:
            assert shown == sorted("".join(one.text.split()).casefold() for one in own)


def test_a_reader_runs_where_it_is_told() -> None:
    assert placed("auto", 0, "ocr", "") == ("cpu", 0)
    assert placed("auto", 2, "ocr", "") == ("cuda", 0)
    assert placed("cpu", 2, "ocr", "") == ("cpu", 0)
    assert placed("cuda:1", 2, "ocr", "") == ("cuda", 1)
    with pytest.raises(UnavailableError, match="ocr sees no GPU here; use --device cpu, or buy one"):
        placed("cuda", 0, "ocr", "buy one")
    with pytest.raises(UnavailableError, match="ocr sees 2 GPUs here"):
        placed("cuda:2", 2, "ocr", "buy one")
    with pytest.raises(SpecError, match="not on 'mps'"):
        placed("mps", 0, "ocr", "")
