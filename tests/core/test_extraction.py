"""Batches across shots, pooling within each."""

import numpy as np
import pytest

from avs_cli.core.extraction.batches import Encoded, encode
from avs_cli.types import Failure, FittedPixels, Frames, Pixels, Sampling


class FirstPixel:
    """An encoder whose vector is the first pixel's colour, so that a test can say what must come out."""

    dim = 3
    pixels = Pixels(size=2, resize=None)
    rows = 1
    pooling = "mean"
    has_text = False
    word_level = False

    def __init__(self, clip: int = 1, rows: int = 1):
        self.sampling = Sampling(clip=clip)
        self.rows = rows
        self.provenance = {"model": "first pixel"}
        self.batches: list[int] = []

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        self.batches.append(len(frames))
        colours = frames[:: self.sampling.clip, 0, 0].astype(np.float32)
        return np.repeat(colours, self.rows, axis=0)

    def encode_text(self, texts: list[str]) -> np.ndarray:
        raise NotImplementedError


def frames(*colours: int) -> np.ndarray:
    return np.stack([np.full((2, 2, 3), colour, np.uint8) for colour in colours])


def vectors(encoded: Encoded | Failure) -> list:
    assert isinstance(encoded, Encoded)
    return encoded.vectors.tolist()


def test_a_shot_is_the_mean_of_its_frames_over_all_its_pieces() -> None:
    pieces = [Frames("a", frames(0, 10), False), Frames("a", frames(50), True), Frames("b", frames(7), True)]
    a, b = encode(FirstPixel(), pieces, "mean", batch_size=2)
    assert vectors(a) == [20, 20, 20]
    assert vectors(b) == [7, 7, 7]


def test_max_pooling_takes_each_dimensions_largest_value() -> None:
    (a,) = encode(FirstPixel(), [Frames("a", frames(9, 40, 3), True)], "max", batch_size=2)
    assert vectors(a) == [40, 40, 40]


def test_without_pooling_every_frame_keeps_its_vector_in_order() -> None:
    (a,) = encode(FirstPixel(), [Frames("a", frames(9, 40, 3), True)], "none", batch_size=2)
    assert vectors(a) == [[9, 9, 9], [40, 40, 40], [3, 3, 3]]


def test_frames_come_to_unit_length_before_pooling_when_asked() -> None:
    (a,) = encode(FirstPixel(), [Frames("a", frames(9, 40), True)], "mean", batch_size=4, unit_frames=True)
    assert a.vectors == pytest.approx(np.full(3, 3**-0.5), abs=1e-6)


def test_every_batch_is_full_so_that_a_frame_never_sees_another_shape() -> None:
    feature = FirstPixel()
    list(encode(feature, [Frames(name, frames(1), True) for name in "abcde"], "mean", batch_size=3))
    assert feature.batches == [3, 3]


def test_a_clip_of_frames_gives_one_vector() -> None:
    (a,) = encode(FirstPixel(clip=2), [Frames("a", frames(1, 2, 5, 6), True)], "none", batch_size=3)
    assert vectors(a) == [[1, 1, 1], [5, 5, 5]]


def test_an_encoder_with_several_vectors_per_frame_keeps_them_all() -> None:
    (a,) = encode(FirstPixel(rows=2), [Frames("a", frames(1, 2), True)], "none", batch_size=3)
    assert vectors(a) == [[1, 1, 1], [1, 1, 1], [2, 2, 2], [2, 2, 2]]


def test_shots_and_failures_come_out_in_the_order_they_went_in() -> None:
    bad = Failure("b", "decode", "not a video")
    pieces = [Frames("a", frames(1), True), bad, Frames("c", frames(3), True, b"jpeg")]
    a, failure, c = encode(FirstPixel(), pieces, "mean", batch_size=8)
    assert (a.shot, failure, c.shot, c.thumbnail) == ("a", bad, "c", b"jpeg")


def test_a_shot_that_fails_half_way_is_a_failure_and_its_neighbours_are_whole() -> None:
    bad = Failure("b", "decode", "truncated")
    pieces = [Frames("a", frames(1), True), Frames("b", frames(2), False), bad, Frames("c", frames(3), True)]
    a, failure, c = encode(FirstPixel(), pieces, "mean", batch_size=2)
    assert (vectors(a), failure, vectors(c)) == ([1, 1, 1], bad, [3, 3, 3])


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
@pytest.mark.parametrize("pooling", ["mean", "max", "none"])
def test_the_vectors_do_not_depend_on_the_size_of_the_batch(batch_size: int, pooling: str) -> None:
    generator = np.random.default_rng(3)
    pieces = [
        Frames(f"{shot}", generator.integers(0, 255, (generator.integers(1, 5), 2, 2, 3), np.uint8), True)
        for shot in range(9)
    ]
    expected = list(encode(FirstPixel(), pieces, pooling, batch_size=7))
    assert len(expected) == 9
    for one, other in zip(encode(FirstPixel(), pieces, pooling, batch_size=batch_size), expected, strict=True):
        assert one.vectors.tobytes() == other.vectors.tobytes()


def test_fitted_frames_of_several_sizes_are_encoded_one_by_one() -> None:
    encoder = FirstPixel(clip=2)
    encoder.pixels = FittedPixels(size=2, resize=None, multiple=2, most=4)
    tall = np.full((2, 4, 2, 3), 9, np.uint8)
    pieces = [Frames("a", frames(0, 1, 4, 5), True), Frames("b", tall, True)]
    first, second = (vectors(one) for one in encode(encoder, pieces, "mean", batch_size=8))
    assert (first, second) == ([2, 2, 2], [9, 9, 9])
    assert encoder.batches == [2, 2, 2]
