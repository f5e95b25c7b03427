import pytest

from avs_cli.core.extraction.sampling import sample_times
from avs_cli.types import Sampling


def test_two_frames_a_second_from_the_first_frame_on():
    assert sample_times(10.0, 12.0, Sampling(), 25) == [10.0, 10.5, 11.0, 11.5]


@pytest.mark.parametrize("rate", [24, 25, 30000 / 1001, 60])
def test_every_frame_rate_gives_two_a_second(rate):
    assert len(sample_times(0.0, 60.0, Sampling(), rate)) == 120


def test_a_shot_shorter_than_a_step_gives_its_middle_frame():
    assert sample_times(3.0, 3.4, Sampling(), 25) == [pytest.approx(3.2)]
    assert sample_times(3.0, 3.0, Sampling(), 25) == [3.0]


def test_no_time_is_so_late_that_the_next_shot_is_nearer():
    # At 10 frames a second 1.0 is moved to half a frame before the end at 1.02.
    assert sample_times(0.0, 1.02, Sampling(), 10) == [0.0, 0.5, pytest.approx(0.97)]


def test_a_limit_spreads_the_frames_over_the_whole_shot():
    assert sample_times(0.0, 5.0, Sampling(max_frames=5), 25) == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert sample_times(0.0, 60.0, Sampling(max_frames=1), 25) == [30.0]


def test_a_higher_rate_gives_more_frames():
    assert sample_times(0.0, 1.0, Sampling(fps=4), 25) == [0.0, 0.25, 0.5, 0.75]


def test_a_count_is_spread_evenly_and_repeats_the_frames_of_a_short_shot():
    assert sample_times(0.0, 4.0, Sampling(fps=None, count=4), 25) == [0.0, 1.0, 2.0, 3.0]
    # Two frames, at 0 and 0.04 s, for four places.
    assert sample_times(0.0, 0.08, Sampling(fps=None, count=4), 25) == [0.0, 0.0, 0.04, 0.04]


def test_clips_lie_side_by_side_in_equal_parts_of_the_shot():
    # 20 frames hold two clips of 4 frames that lie 2 apart (8 frames each), with one frame to spare on either side.
    times = sample_times(0.0, 2.0, Sampling(clip=4, interval=2), 10)
    assert [round(time * 10) for time in times] == [1, 3, 5, 7, 11, 13, 15, 17]


def test_a_shot_has_at_most_ten_clips_or_as_many_as_the_limit_allows():
    assert len(sample_times(0.0, 1000.0, Sampling(clip=4), 25)) == 10 * 4
    assert len(sample_times(0.0, 1000.0, Sampling(clip=4, max_frames=11), 25)) == 2 * 4


def test_a_shot_shorter_than_a_clip_is_repeated():
    times = sample_times(5.0, 5.3, Sampling(clip=4, interval=2), 10)
    assert [round((time - 5) * 10) for time in times] == [0, 2, 1, 0]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(fps=None, count=8), Sampling(clip=32, interval=2)])
def test_a_still_picture_is_its_one_frame_as_often_as_needed(sampling):
    times = sample_times(0.0, 0.0, sampling, 0.0)
    assert set(times) == {0.0}
    assert len(times) % sampling.clip == 0


def test_one_frame_a_second_of_which_at_most_a_count_is_spread_and_a_short_shot_repeats_its_last():
    once = Sampling(fps=1.0, count=3, clip=3)
    assert sample_times(0.0, 5.0, once, 25) == [0.0, 2.0, 4.0]  # of 0, 1, 2, 3, 4
    assert sample_times(2.0, 4.0, once, 10) == [2.0, 3.0, 3.0]
    assert sample_times(0.0, 0.0, once, 0.0) == [0.0] * 3
