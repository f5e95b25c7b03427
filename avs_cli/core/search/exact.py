"""Exact search: the top shots of each query, in one pass over a gallery that may exceed the memory.

The pass computes cosines in float32, whose last digits depend on the block, the number of queries and the processor. It
keeps all shots that may be among the top ones given the maximum rounding error. These few are scored again in float64,
in a fixed order of additions. So rankings and scores are the same for any shards, threads and machines, and equal
vectors have equal scores.

The bound on the error of a dot product: N. Higham, Accuracy and Stability of Numerical Algorithms, section 3.1,
doi:10.1137/1.9780898718027. For vectors of unit length and D dimensions it is D u, whatever the order of the additions.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from avs_cli import machine
from avs_cli.errors import MismatchError
from avs_cli.types import Block, rows_of_items

UNIT_ROUNDOFF = 2.0**-24
SLAB = 1 << 17
# A stored vector of unit length may be longer by its rounding to float16.
ROUNDED = 1 + 2.0**-10
# Vectors that are converted to float32 at a time.
TILE = 1024
# Shots that are read at a time to be scored exactly: of a shot with many frames or features, they are large.
TAKEN = 1024

T = TypeVar("T")
Result = TypeVar("Result")


class Searchable(Protocol):
    """Shots to search: all of them in blocks, or some of them by position, in the order of the blocks.

    A block is a Block of one feature, or a Joined of several, depending on the scorers.
    """

    def pieces(self) -> Iterator[tuple[int, Callable[[], Any]]]:
        """For each block, the position of its first shot and what reads it. The thread that scores it reads it too, so
        that it finds it in its cache. Values may be NaN or infinite: a pass over them to see it takes a tenth of the
        time of a search, and scores show it."""
        ...

    def take(self, positions: np.ndarray) -> Any:
        """The shots at these positions, in this order. Raises FormatError for one with a NaN or infinite value."""
        ...


class Scorer(Protocol):
    """Scores shots for Q queries; heads provide their own scorers.

    queries  the number of queries, Q
    error    the maximum difference of `scan` and `exact`; if 0, `exact` is not called
    """

    queries: int
    error: float

    def scan(self, block: Any) -> torch.Tensor:
        """(Q, N) float32: approximate scores of the shots of a block for each query, until the same thread scans
        another one. Raises NotFinite for a block with a NaN or infinite value. Must be thread-safe."""
        ...

    def exact(self, block: Any, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(P,) float32: exact scores of shot `item[i]` for query `query[i]`, independent of the other items."""
        ...


class NotFinite(Exception):
    """A block has a NaN or infinite value."""


class _Room(threading.local):
    """A float32 buffer per thread, since allocating it takes longer than what is written to it."""

    def __init__(self) -> None:
        self._room = torch.empty(0)

    def shaped(self, rows: int, columns: int) -> torch.Tensor:
        """(rows, columns), with anything in it."""
        if len(self._room) < rows * columns:
            self._room = torch.empty(rows * columns)
        return self._room[: rows * columns].view(rows, columns)


class _Products:
    """Dot products of queries and the vectors of blocks, in float32."""

    def __init__(self, queries: np.ndarray):
        """queries (Q, D) float32"""
        self._queries = torch.from_numpy(queries)
        self._wide, self._scores = _Room(), _Room()

    def __call__(self, vectors: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The products, (Q, N) float32, until the next call in this thread, and the squares of lengths, (N,) float32;
        float64 for float32 vectors, where they may overflow. Raises NotFinite."""
        scores = self._scores.shaped(len(self._queries), len(vectors))
        if vectors.dtype == np.float32:
            whole = torch.from_numpy(vectors)
            squares = torch.linalg.vector_norm(whole, dim=1, dtype=torch.float64).square_()
            torch.mm(self._queries, whole.T, out=scores)
        else:
            squares = torch.empty(len(vectors))
            wide = self._wide.shaped(min(TILE, len(vectors)), vectors.shape[1])
            # What is converted is used while it is in the nearest cache.
            for low in range(0, len(vectors), TILE):
                tile = wide[: len(vectors) - low].copy_(torch.from_numpy(vectors[low : low + TILE]))
                # Takes two thirds of the time of a norm.
                np.vecdot(tile.numpy(), tile.numpy(), out=squares[low : low + TILE].numpy())
                torch.mm(self._queries, tile.T, out=scores[:, low : low + TILE])
        # The maximum of numbers of which one is NaN is NaN.
        if len(squares) and not float(squares.max()) < np.inf:
            raise NotFinite
        return scores, squares


class Cosine:
    """Cosine of query and shot; for shots with several vectors, the maximum. A zero vector has cosine 0."""

    def __init__(self, queries: np.ndarray):
        """queries (Q, D), not normalised, not zero."""
        # Products of the given values are exact in float64, so those of orthogonal vectors sum to zero, which they
        # would not after normalisation.
        self._queries = queries.astype(np.float64)
        self._sizes = _lengths(self._queries)
        self._products = _Products((self._queries / self._sizes[:, None]).astype(np.float32))
        self.queries, dim = queries.shape
        # Errors of the dot product, half of that of the squared norm, and roundings of query, root, quotient, product.
        self.error = (1.5 * dim + 8) * UNIT_ROUNDOFF

    def scan(self, block: Block) -> torch.Tensor:
        """(Q, N) float32."""
        scores, squares = self._products(block.vectors)
        # The products of a zero vector are 0, and stay so.
        scores.mul_(squares.rsqrt_().clamp_(max=torch.finfo(torch.float32).max).float())
        if block.offsets is None:
            return scores
        return torch.from_numpy(np.maximum.reduceat(scores.numpy(), block.offsets[:-1], axis=1))

    def every(self, block: Block) -> np.ndarray:
        """(Q, N) float32: the scores of `exact`, of all shots for all queries. Raises NotFinite as `scan` does."""
        scores = np.empty((self.queries, len(block.vectors)), np.float32)
        for some, wide in _slabs(block.vectors, np.arange(len(block.vectors))):
            lengths = _lengths(wide)
            if not lengths.max() < np.inf:
                raise NotFinite
            for query, (own, size) in enumerate(zip(self._queries, self._sizes, strict=True)):
                scores[query, some] = (wide * own).sum(axis=1) / (lengths * size)
        return scores if block.offsets is None else np.maximum.reduceat(scores, block.offsets[:-1], axis=1)

    def exact(self, block: Block, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(P,) float32."""
        offsets = np.arange(len(block.ids) + 1) if block.offsets is None else block.offsets
        count = np.diff(offsets)[item]
        row, firsts = rows_of_items(offsets[item], count)
        scores = self._pairs(block.vectors, row, np.repeat(query, count))
        return np.asarray(np.maximum.reduceat(scores, firsts[:-1]) if len(item) else scores)

    def _pairs(self, vectors: np.ndarray, row: np.ndarray, query: np.ndarray) -> np.ndarray:
        """(P,) float32: vectors[row[i]] against query[i]."""
        scores = np.empty(len(row), np.float32)
        for some, wide in _slabs(vectors, row):
            asked = query[some]
            scores[some] = (wide * self._queries[asked]).sum(axis=1) / (_lengths(wide) * self._sizes[asked])
        return scores


class Dot:
    """Dot product of query and shot, one vector each, for stored vectors of a head: neither is normalised."""

    def __init__(self, queries: np.ndarray, length: float, name: str = "the gallery"):
        """queries (Q, D), not normalised.

        length  that of a shot's vector before it was rounded, at most
        name    of the gallery, for messages
        """
        self._queries = queries.astype(np.float64)
        self._products = _Products(self._queries.astype(np.float32))
        self.queries, dim = queries.shape
        self.longest, self.name = length * ROUNDED, name
        largest = float(np.sqrt((self._queries * self._queries).sum(axis=1)).max(initial=0.0))
        # Errors of the dot product, and roundings of the query and of the exact score.
        self.error = (dim + 2) * UNIT_ROUNDOFF * largest * self.longest

    def scan(self, block: Block) -> torch.Tensor:
        """(Q, N) float32. Raises MismatchError for a vector that is too long and would break the bound of errors."""
        scores, squares = self._products(block.vectors)
        # Beside what is rounded in the length itself.
        if len(squares) and float(squares.max()) > (self.longest * ROUNDED) ** 2:
            shot = block.ids[int(squares.argmax())]
            raise MismatchError(f"{self.name}: the vector of shot {shot} is too long for this head: a damaged store")
        return scores

    def exact(self, block: Block, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(P,) float32."""
        scores = np.empty(len(item), np.float32)
        for some, wide in _slabs(block.vectors, item):
            scores[some] = (wide * self._queries[query[some]]).sum(axis=1)
        return scores


def _slabs(vectors: np.ndarray, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The vectors at these rows in float64, a slab at a time, and the slice of `rows` that they are."""
    step = max(1, SLAB // vectors.shape[1])
    for low in range(0, len(rows), step):
        some = slice(low, low + step)
        yield some, torch.from_numpy(vectors[rows[some]]).double().numpy()


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """(N,) Euclidean lengths, 1 for zero vectors. Each row is summed separately, independent of the others."""
    lengths: np.ndarray = np.sqrt((vectors * vectors).sum(axis=1))
    lengths[lengths == 0] = 1
    return lengths


class _Candidates:
    """The shots that may be among the top ones of one scorer, during the pass.

    query, position, score  parallel columns
    floor                   per query, the score below which a shot cannot be among the top ones
    """

    def __init__(self, scorer: Scorer, gallery: Searchable, depth: int, threads: int):
        self.scorer, self.gallery, self.depth, self.threads = scorer, gallery, depth, threads
        self.floor = np.full((scorer.queries, 1), -np.inf, np.float32)
        self._columns = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
        self._count = 0
        self._adding = threading.Lock()
        self._limit = 2 * scorer.queries * depth

    def find(self, block: Any, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The candidates of a block; reads only `floor`, so it may run in parallel."""
        scores = self.scorer.scan(block)
        floor = self.floor
        if np.isneginf(floor).any() and scores.shape[1] > self.depth:
            best = scores.topk(self.depth, sorted=True).values[:, -1:].numpy()
            floor = np.maximum(floor, best - self._slack)
        table = scores.numpy()
        query, column = np.divmod(np.flatnonzero(table >= floor), table.shape[1])
        return query, column + first, table[query, column]

    def add(self, found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Add the candidates of a block, in any thread; if there are many, drop those below the new floor."""
        with self._adding:
            self._columns.append(found)
            self._count += len(found[0])
            if self._count <= self._limit:
                return
            query, position, score = self._within_reach(*self._all())
            last = _ranks(query) == self.depth - 1
            floor = self.floor.copy()
            floor[query[last], 0] = score[last] - self._slack
            self.floor = floor
            if len(query) > self._limit * 3 // 4:
                # Too many close scores: only exact scores, and then ids, order them.
                query, position, score, _ = self._settled(query, position, score)
            self._columns, self._count = [(query, position, score)], len(query)

    def rankings(self) -> list[dict[str, float]]:
        """The top shots of each query with their scores, best first."""
        query, _, score, ids = self._settled(*self._within_reach(*self._all()))
        ranked: list[dict[str, float]] = [{} for _ in range(self.scorer.queries)]
        for q, id, s in zip(query.tolist(), ids, score.tolist(), strict=True):
            ranked[q][id] = s
        return ranked

    @property
    def _slack(self) -> np.float32:
        """The minimum difference of two approximate scores in their true order."""
        return np.float32(2 * self.scorer.error)

    def _all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        query, position, score = (np.concatenate(column) for column in zip(*self._columns, strict=True))
        return query, position, score

    def _within_reach(
        self, query: np.ndarray, position: np.ndarray, score: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The candidates that may be among the top `depth` of their query, by query, best first."""
        order = _best_first(query, score)
        query, position, score = query[order], position[order], score[order]
        reach = score >= _last(query, score, self.depth) - self._slack
        return query[reach], position[reach], score[reach]

    def _settled(
        self, query: np.ndarray, position: np.ndarray, score: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        """The top `depth` of each query with exact scores and ids: score descending, then id descending."""
        places, item = np.unique(position, return_inverse=True)
        names, score = self._exact(places, query, item, score)
        order = _best_first(query, score)
        query, item, score = query[order], item[order], score[order]
        # Ids order equal scores; they decide about membership only at the last rank.
        stays = score >= _last(query, score, self.depth)
        query, item, score = query[stays], item[stays], score[stays]
        equal = (query[1:] == query[:-1]) & (score[1:] == score[:-1])
        for low, high in _runs(equal):
            item[low:high] = sorted(item[low:high].tolist(), key=names.__getitem__, reverse=True)
        top = _ranks(query) < self.depth
        query, item, score = query[top], item[top], score[top]
        return query, places[item], score, [names[i] for i in item.tolist()]

    def _exact(
        self, places: np.ndarray, query: np.ndarray, item: np.ndarray, score: np.ndarray
    ) -> tuple[list[str], np.ndarray]:
        """The ids of the shots at `places`, and the exact scores of shot `item[i]` for query `query[i]`."""
        order = np.argsort(item, kind="stable")
        ends = np.searchsorted(item[order], np.arange(0, len(places) + TAKEN, TAKEN))
        score = score.copy()

        def taken(part: int) -> Sequence[str]:
            low = part * TAKEN
            block = self.gallery.take(places[low : low + TAKEN])
            if self.scorer.error:
                some = order[ends[part] : ends[part + 1]]
                score[some] = self.scorer.exact(block, query[some], item[some] - low)
            return list(block.ids)

        parts = in_parallel(taken, range(-(-len(places) // TAKEN)), self.threads)
        return [name for names in parts for name in names], score


def top_shots(
    queries: Sequence[np.ndarray], gallery: Searchable, depth: int, threads: int = 0
) -> list[list[dict[str, float]]]:
    """The top `depth` shots by cosine for each query of several sets of queries, in one pass.

    queries  sets of (Q, D) vectors, not normalised, not zero; scored in one matrix product
    threads  0: all cores
    returns  per set Q rankings, shot -> cosine, best first: score descending, then shot id descending
    """
    (together,) = best_shots([Cosine(np.concatenate(queries))], gallery, depth, threads)
    ends = np.cumsum([len(some) for some in queries]).tolist()
    return [together[end - len(some) : end] for some, end in zip(queries, ends, strict=True)]


def best_shots(
    scorers: Sequence[Scorer], gallery: Searchable, depth: int, threads: int = 0
) -> list[list[dict[str, float]]]:
    """The top `depth` shots per scorer and query, best first, in one pass over the gallery.

    Threads process whole blocks, which stay in the cache of their core; threads that shared an operation would wait for
    each other after each.
    """
    threads = threads or machine.cores()
    candidates = [_Candidates(scorer, gallery, depth, threads) for scorer in scorers]

    def find(first: int, read: Callable[[], Any]) -> None:
        block = read()
        with finite(gallery, block, first):
            for some in candidates:
                some.add(some.find(block, first))

    with one_thread():
        for_each(find, gallery.pieces(), threads)
        return [some.rankings() for some in candidates]


def every_score(queries: np.ndarray, gallery: Searchable, threads: int = 0) -> np.ndarray:
    """(Q, N) float32: the cosines of `top_shots` of all shots, in the order of the blocks.

    queries  (Q, D), not normalised, not zero
    threads  0: all cores
    """
    scorer = Cosine(queries)

    def score(piece: tuple[int, Callable[[], Any]]) -> np.ndarray:
        first, read = piece
        block = read()
        with finite(gallery, block, first):
            return scorer.every(block)

    with one_thread():
        found = [*in_parallel(score, gallery.pieces(), threads or machine.cores())]
    return np.concatenate([np.empty((len(queries), 0), np.float32), *found], axis=1)


@contextmanager
def finite(gallery: Searchable, block: Any, first: int) -> Iterator[None]:
    """Where this finds a block NotFinite, the shots are taken again, which says which of them it is and where."""
    try:
        yield
    except NotFinite:
        gallery.take(np.arange(first, first + len(block.ids)))
        raise


@contextmanager
def one_thread() -> Iterator[None]:
    """Operations of torch in this thread use one thread: blocks are what is processed in parallel."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_parallel(work: Callable[[T], Result], blocks: Iterable[T], threads: int) -> Iterator[Result]:
    """The result for each block, in order, with one thread per block; at most two blocks per thread are in memory."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for block in blocks:
            waiting.append(pool.submit(work, block))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def for_each(work: Callable[[int, T], None], pieces: Iterable[tuple[int, T]], threads: int) -> None:
    """Work on all pieces. Each thread takes the next one when it is done with one, so that none waits for another.

    Raises the error of the first piece that has one, in the order of the pieces.
    """
    source, turn, ended = iter(pieces), threading.Lock(), threading.Event()
    reached = [0] * threads

    def drain(thread: int) -> None:
        torch.set_num_threads(1)
        while not ended.is_set():
            with turn:
                found = next(source, None)
            if found is None:
                return
            reached[thread] = found[0]
            work(*found)

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(drain, thread) for thread in range(threads)]
        try:
            # One thread ends for an error or since no piece is left; in both cases the others take no more.
            wait(running, return_when=FIRST_COMPLETED)
        finally:
            ended.set()
    failed = [(place, error) for place, done in zip(reached, running, strict=True) if (error := done.exception())]
    if failed:
        raise min(failed, key=lambda one: one[0])[1]


def _best_first(query: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(N,) int64, the order by query, then by score, descending, of float32 scores that are not NaN.

    One sort of integers, whose upper half is the query and whose lower half grows as the score falls, takes a third of
    the time of a sort by two columns.
    """
    # Adding zero makes -0 the 0 that it equals.
    bits = (score + np.float32(0)).view(np.int32)
    falling = np.where(bits < 0, bits.view(np.uint32), np.uint32(0x7FFFFFFF) - bits.view(np.uint32))
    return np.argsort(query.astype(np.uint64) << np.uint64(32) | falling)


def _runs(equal: np.ndarray) -> list[tuple[int, int]]:
    """The (first, last + 1) of each run of places that are equal to their next; `equal[i]` compares i and i + 1."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], equal, [False]]).astype(np.int8)))
    return [(low, high + 1) for low, high in changes.reshape(-1, 2).tolist()]


def _ranks(query: np.ndarray) -> np.ndarray:
    """The rank of each position within its query, from 0; `query` is sorted."""
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    return np.arange(len(query)) - np.repeat(starts, np.diff(starts, append=len(query)))


def _last(query: np.ndarray, score: np.ndarray, depth: int) -> np.ndarray:
    """Per position, the score at rank `depth` of its query, or -inf if there are fewer; sorted by query, best first."""
    floor = np.full(int(query.max(initial=-1)) + 1, -np.inf, np.float32)
    last = _ranks(query) == depth - 1
    floor[query[last]] = score[last]
    return np.asarray(floor[query])


def blend(vectors: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """(D,) weighted sum of the unit vectors of (W, D) wordings of a query; may be zero."""
    return np.asarray((units(vectors) * np.asarray(weights)[:, None]).sum(axis=0))


def shot_units(block: Block) -> np.ndarray:
    """(N, D) float64 unit vectors of shots, of the sum of its vectors for a shot with several; zeros stay zeros."""
    vectors: np.ndarray = block.vectors.astype(np.float64)
    if block.offsets is not None:
        vectors = np.add.reduceat(vectors, block.offsets[:-1])
    return units(vectors)


def units(vectors: np.ndarray) -> np.ndarray:
    """(N, D) float64 of unit length; zeros stay zeros."""
    exact = vectors.astype(np.float64)
    return np.asarray(exact / _lengths(exact)[:, None])
