"""The candidates of a topic for reranking, their evidence, and the interpolation of scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avs_cli.core.fusion.normalisation.minmax import normalise
from avs_cli.core.search.exact import Cosine
from avs_cli.errors import SpecError
from avs_cli.types import Block, ranked

# Cosines with a bank that are held at once.
CELLS = 1 << 23


class Bank(NamedTuple):
    """A query bank, to estimate the popularity of shots.

    vectors     (B, D), of any length but zero
    favourites  the shots of the whole gallery that are some query's best
    """

    vectors: np.ndarray
    favourites: Callable[[], frozenset[str]]


@dataclass(frozen=True)
class Candidates:
    """K shots of one topic, in the order of the run; raises SpecError for evidence that is needed and not given.

    scores   (K,) the run's
    block    the shots' vectors, if a gallery is given
    query    (D,) the topic's vector, if topics are given
    bank     other queries, if they are given
    outside  (K,) scores from a file, if it is given
    """

    shots: Sequence[str]
    scores: np.ndarray
    block: Block | None = None
    query: np.ndarray | None = None
    bank: Bank | None = None
    outside: np.ndarray | None = None

    def vectors(self) -> Block:
        """The shots' vectors; raises SpecError without a gallery."""
        if self.block is None:
            raise SpecError("this method needs the shots' vectors; give --gallery STORE")
        return self.block

    def units(self) -> np.ndarray:
        """(K, D) float64, rows of unit length: a shot's vector, or the mean of its vectors."""
        block = self.vectors()
        vectors: np.ndarray = block.vectors.astype(np.float64)
        if block.offsets is not None:
            vectors = np.add.reduceat(vectors, block.offsets[:-1])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        lengths[lengths == 0] = 1
        units: np.ndarray = vectors / lengths
        return units

    def cosines(self) -> np.ndarray:
        """(K,) float64: query and shot; of several vectors of a shot the best counts. SpecError without queries."""
        if self.query is None:
            raise SpecError("this method needs topic vectors; give --topics FILE or --vectors STORE")
        block = self.vectors()
        places = np.arange(len(block.ids))
        return Cosine(self.query[None]).exact(block, np.zeros_like(places), places).astype(np.float64)

    def popularity(self, summary: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(K,) a summary of each shot's cosines with the bank's queries; raises SpecError without a bank.

        summary  (B, n) float64 of some shots to (n,)
        """
        block, scorer = self.vectors(), Cosine(self.others().vectors)
        step = max(1, CELLS // scorer.queries)
        some = (block.part(low, low + step) for low in range(0, len(block.ids), step))
        return np.concatenate([summary(scorer.scan(part).numpy().astype(np.float64)) for part in some])

    def others(self) -> Bank:
        """The bank; raises SpecError without one."""
        if self.bank is None:
            raise SpecError("this method needs a query bank, such as training captions; give --bank STORE")
        return self.bank

    def judged(self) -> np.ndarray:
        """(K,) the scores from a file; raises SpecError without one."""
        if self.outside is None:
            raise SpecError("this method needs external scores; give --scores FILE")
        return self.outside


def evidence_of(method: Callable[[Candidates], np.ndarray]) -> set[str]:
    """The evidence that a method uses besides the run: some of "gallery", "queries", "bank" and "scores".

    It is tried on two made-up shots; raises SpecError for parameters that it cannot take.
    """
    seen: set[str] = set()

    class Recording(Candidates):
        def vectors(self) -> Block:
            seen.add("gallery")
            return super().vectors()

        def cosines(self) -> np.ndarray:
            seen.add("queries")
            return super().cosines()

        def others(self) -> Bank:
            seen.add("bank")
            return super().others()

        def judged(self) -> np.ndarray:
            seen.add("scores")
            return super().judged()

    shots, vectors = ["a", "b"], np.eye(2, dtype=np.float32)
    bank = Bank(vectors, lambda: frozenset(shots))
    method(Recording(shots, np.ones(2), Block(shots, vectors, np.arange(3)), vectors[0], bank, np.ones(2)))
    return seen


def check_least(method: str, least: float, **given: float) -> None:
    """Raises SpecError for a parameter below `least`."""
    for name, value in given.items():
        if value < least:
            raise SpecError(f"{method}: {name} is at least {least:g}, not {value:g}")


def joined(scores: Mapping[str, float], shots: Sequence[str], opinion: np.ndarray, weight: float) -> dict[str, float]:
    """A topic's shots with new scores: `weight` times the reranker's score plus 1 - `weight` times the run's.

    Both are min-max normalised over `shots`, so new scores are within 0 … 1; the run's other shots come below, within
    -2 … -1 and in their order.
    """
    run = normalise({shot: scores[shot] for shot in shots})
    new = normalise(dict(zip(shots, opinion.tolist(), strict=True)))
    again = {shot: (1 - weight) * run[shot] + weight * new[shot] for shot in shots}
    rest = normalise({shot: score for shot, score in scores.items() if shot not in again})
    found = again | {shot: score - 2 for shot, score in rest.items()}
    return {shot: found[shot] for shot in ranked(found)}
