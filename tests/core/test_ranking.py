"""Exact search: what it finds is what comparing every pair exactly finds, whatever the blocks, shards and threads."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avs_cli.core.search.exact import Cosine, best_shots, blend, every_score, top_shots
from avs_cli.types import Block


class Gallery:
    """Vectors in memory, in blocks of `rows` items; `reads` counts how often it was gone through."""

    def __init__(
        self, vectors: np.ndarray, ids: list[str] | None = None, rows: int = 7, offsets: list[int] | None = None
    ):
        self.vectors, self.rows = vectors, rows
        self.offsets = np.arange(len(vectors) + 1) if offsets is None else np.array(offsets)
        self.frame_level = offsets is not None
        self.ids = ids or [f"s{i}" for i in range(len(self.offsets) - 1)]
        self.reads = self.most = 0

    def pieces(self) -> Iterator[tuple[int, Callable[[], Block]]]:
        self.reads += 1
        for first in range(0, len(self.ids), self.rows):
            yield first, partial(self.take, np.arange(first, min(first + self.rows, len(self.ids))))

    def take(self, positions: np.ndarray) -> Block:
        self.most = max(self.most, len(positions))
        parts = [self.vectors[self.offsets[i] : self.offsets[i + 1]] for i in positions]
        vectors = np.concatenate(parts) if parts else self.vectors[:0]
        offsets = np.cumsum([0, *map(len, parts)]) if self.frame_level else None
        return Block([self.ids[i] for i in positions], vectors, offsets)


def exact_order(query: list[int], gallery: Gallery, depth: int) -> list[str]:
    """Every shot compared in fractions: the sign and square of the cosine; ties by shot id descending."""

    def key(i: int) -> tuple[Fraction, str]:
        rows = gallery.vectors[gallery.offsets[i] : gallery.offsets[i + 1]].astype(int).tolist()
        dots = [(sum(a * b for a, b in zip(query, row, strict=True)), sum(a * a for a in row)) for row in rows]
        return max(Fraction(dot * abs(dot), square or 1) for dot, square in dots), gallery.ids[i]

    return [gallery.ids[i] for i in sorted(range(len(gallery.ids)), key=key, reverse=True)[:depth]]


whole = st.lists(st.integers(-3, 3), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(whole, min_size=1, max_size=60),
    st.lists(whole.filter(any), min_size=1, max_size=3),
    st.integers(1, 12),
    st.integers(1, 9),
    st.sampled_from(["float16", "float32"]),
    st.randoms(use_true_random=False),
)
def test_many_ties_are_ordered_as_fractions_order_them(
    vectors: list[list[int]], queries: list[list[int]], depth: int, rows: int, dtype: str, chance: object
) -> None:
    names = [f"s{i}" for i in range(len(vectors))]
    chance.shuffle(names)  # type: ignore[attr-defined]
    gallery = Gallery(np.array(vectors, dtype), names, rows)
    (found,) = top_shots([np.array(queries, np.float32)], gallery, depth, threads=2)
    assert [list(ranking) for ranking in found] == [exact_order(query, gallery, depth) for query in queries]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(whole, min_size=1, max_size=4), min_size=1, max_size=30), whole.filter(any), st.integers(1, 9))
def test_a_shot_counts_with_its_best_frame(shots: list[list[list[int]]], query: list[int], depth: int) -> None:
    offsets = [0, *np.cumsum([len(frames) for frames in shots]).tolist()]
    gallery = Gallery(np.array([frame for frames in shots for frame in frames], np.float16), None, 4, offsets)
    ((ranking,),) = top_shots([np.array([query], np.float32)], gallery, depth)
    assert list(ranking) == exact_order(query, gallery, depth)


def test_every_orthogonal_shot_scores_zero_as_a_shot_of_zeros_does() -> None:
    gallery = Gallery(np.array([[0, 0, 0], [-3, -1, -2], [1, 0, 1], [0, 1, -1]], np.float16))
    ((ranking,),) = top_shots([np.array([[-2, 2, 2]], np.float32)], gallery, 4)
    assert list(ranking.items()) == [("s3", 0.0), ("s2", 0.0), ("s1", 0.0), ("s0", 0.0)]


def test_scores_are_cosines_best_first() -> None:
    gallery = Gallery(np.array([[0, 2], [3, 3], [-5, 0], [0, 0]], np.float16))
    ((ranking,),) = top_shots([np.array([[0, 7]], np.float32)], gallery, 10)
    assert list(ranking.items()) == [("s0", 1.0), ("s1", float(np.float32(0.5**0.5))), ("s3", 0.0), ("s2", 0.0)]


@pytest.mark.parametrize("count", [10, 5000])
def test_equal_vectors_are_ordered_by_id_also_where_the_ranking_is_cut(count: int) -> None:
    gallery = Gallery(np.tile(np.array([[0.1, 0.7, -0.3]], np.float16), (count, 1)), rows=64)
    ((ranking,),) = top_shots([np.array([[1.0, 2.0, 3.0]])], gallery, 4, threads=2)
    assert list(ranking) == sorted(gallery.ids, reverse=True)[:4]
    assert len(set(ranking.values())) == 1
    # Ties are settled as they come: twice the ranking is held, and a block.
    assert gallery.most <= 2 * 4 + 64


def close_shots(count: int, dim: int) -> np.ndarray:
    """Vectors that lie around one direction so closely that float32 arithmetic mixes up their order."""
    chance = np.random.default_rng(5)
    return (chance.normal(size=dim) + 3e-5 * chance.normal(size=(count, dim))).astype(np.float32)


def test_cosines_closer_than_the_rounding_of_the_pass_are_told_apart() -> None:
    vectors = close_shots(3000, 256)
    query = np.random.default_rng(6).normal(size=256)
    wide = vectors.astype(np.float64)
    cosines = (wide @ query / np.linalg.norm(wide, axis=1) / np.linalg.norm(query)).astype(np.float32)
    ids = [f"s{i:04d}" for i in range(3000)]
    expected = sorted(zip(cosines.tolist(), ids, strict=True), reverse=True)[:50]
    ((ranking,),) = top_shots([query[None]], Gallery(vectors, ids, 200), 50)
    assert [(score, id) for id, score in ranking.items()] == expected
    assert len(set(cosines.tolist())) > 100


def test_blocks_threads_and_company_change_neither_order_nor_a_bit_of_a_score() -> None:
    vectors = close_shots(2000, 100)
    queries = np.random.default_rng(7).normal(size=(9, 100))
    (expected,) = top_shots([queries], Gallery(vectors, rows=2000), 30, threads=1)
    for rows, threads in [(1, 1), (33, 2), (640, 3)]:
        (found,) = top_shots([queries], Gallery(vectors, rows=rows), 30, threads)
        assert [list(ranking.items()) for ranking in found] == [list(ranking.items()) for ranking in expected]
    ((alone,),) = top_shots([queries[4:5]], Gallery(vectors, rows=50), 30)
    assert list(alone.items()) == list(expected[4].items())


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_scores_of_all_shots_are_those_of_their_ranking(dtype: str, frames: bool) -> None:
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(90, 40)).astype(dtype)
    vectors[3] = 0
    gallery = Gallery(vectors, offsets=[*range(0, 91, 3)] if frames else None)
    queries = draw.normal(size=(3, 40))
    (rankings,) = top_shots([queries], gallery, 100, 1)
    for scores, ranking in zip(every_score(queries, gallery, 2), rankings, strict=True):
        assert dict(zip(gallery.ids, scores.tolist(), strict=True)) == ranking


def test_shards_merge_to_the_whole() -> None:
    vectors, queries = close_shots(900, 64), np.random.default_rng(8).normal(size=(3, 64))
    (whole,) = top_shots([queries], Gallery(vectors), 40)
    halves = [
        top_shots([queries], Gallery(vectors[part], [f"s{i}" for i in range(900)][part]), 40)[0]
        for part in (slice(0, 450), slice(450, 900))
    ]
    for q, ranking in enumerate(whole):
        merged = sorted(((s, id) for half in halves for id, s in half[q].items()), reverse=True)[:40]
        assert [(s, id) for id, s in ranking.items()] == merged


def test_one_pass_serves_several_sets_of_queries_and_several_scorers() -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 8)).astype(np.float16)
    sets = [np.random.default_rng(k).normal(size=(k, 8)) for k in (2, 3)]
    gallery = Gallery(vectors)
    together = top_shots(sets, gallery, 5)
    assert gallery.reads == 1
    assert together == [top_shots([some], Gallery(vectors), 5)[0] for some in sets]
    assert best_shots([Cosine(some) for some in sets], gallery, 5) == together
    assert gallery.reads == 2


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", [1, 3, 512, 2048])
def test_the_pass_stays_within_the_error_that_it_allows_for(dtype: str, dim: int) -> None:
    chance = np.random.default_rng(dim)
    # Numbers of very different size, and positive ones, whose rounding errors add up.
    vectors = np.abs(chance.normal(size=(300, dim)) * 10.0 ** chance.integers(-3, 3, size=(300, dim))).astype(dtype)
    scorer = Cosine(np.abs(chance.normal(size=(2, dim))))
    block = Block([f"s{i}" for i in range(300)], vectors)
    query, item = np.repeat([0, 1], 300), np.tile(np.arange(300), 2)
    missed = np.abs(scorer.scan(block).numpy().ravel() - scorer.exact(block, query, item))
    assert missed.max() <= scorer.error


@pytest.mark.parametrize("size", [1e-25, 1e-8, 1e8, 1e25])
def test_lengths_of_any_size_do_not_matter(size: float) -> None:
    vectors = (np.array([[3, 4], [4, 3], [0, 5], [-3, 4]]) * size).astype(np.float32)
    ((ranking,),) = top_shots([np.array([[0.0, size]])], Gallery(vectors), 4)
    assert ranking == pytest.approx({"s2": 1.0, "s3": 0.8, "s0": 0.8, "s1": 0.6})


def test_fewer_shots_than_asked_for_are_all_ranked() -> None:
    ((ranking,),) = top_shots([np.ones((1, 2))], Gallery(np.array([[1, 0], [1, 1]], np.float16)), 1000)
    assert list(ranking) == ["s1", "s0"]


def test_wordings_blend_by_weight_and_not_by_length() -> None:
    assert blend(np.array([[10.0, 0.0], [0.0, 0.1]]), [3, 1]).tolist() == [3.0, 1.0]
    assert blend(np.array([[2.0, 0.0], [7.0, 0.0]]), [1, -1]).tolist() == [0.0, 0.0]
