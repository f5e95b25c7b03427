"""The candidates of a topic for reranking, their evidence, and the interpolation of scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avs_cli.core.fusion.normalisation.minmax import normalise
from avs_cli.core.search.exact import Cosine, shot_units
from avs_cli.errors import SpecError
from avs_cli.types import Block, Seeing, ranked

# Number of cosines with a bank in memory.
CELLS = 1 << 23


class Bank(NamedTuple):
    """A query bank, to estimate the popularity of shots.

    vectors     (B, D), not normalised, not zero
    favourites  shots that are the top shot of a query in the whole gallery
    """

    vectors: np.ndarray
    favourites: Callable[[], frozenset[str]]


class GalleryBank(NamedTuple):
    """A gallery bank: other shots, to estimate the popularity of shots.

    vectors   (G, D), not normalised, not zero
    scalings  (B,) Sinkhorn's scalings of the query bank over the whole gallery and this bank, by entropy and iterations
    """

    vectors: np.ndarray
    scalings: Callable[[float, int], np.ndarray]


class Marks(NamedTuple):
    """The judged shots of a topic, wherever in the gallery: (L, D) and (M, D) unit vectors; not both are empty."""

    liked: np.ndarray
    disliked: np.ndarray


@dataclass(frozen=True)
class Candidates:
    """K shots of one topic, in the order of the run. Methods raise SpecError for missing evidence.

    scores   (K,) scores of the run
    block    vectors of the shots, if there is a gallery
    query    (D,) vector of the topic, if there is one
    bank     the query bank, if there is one
    outside  (K,) external scores, if there are any
    marks    the judged shots, if there are any
    verdicts (K,) log-odds from a judge, if one was asked
    around   the gallery bank, if there is one
    """

    shots: Sequence[str]
    scores: np.ndarray
    block: Block | None = None
    query: np.ndarray | None = None
    bank: Bank | None = None
    outside: np.ndarray | None = None
    marks: Marks | None = None
    verdicts: np.ndarray | None = None
    around: GalleryBank | None = None

    def vectors(self) -> Block:
        """The vectors of the shots. Raises SpecError without a gallery."""
        if self.block is None:
            raise SpecError("this method needs the shots' vectors; give --gallery STORE")
        return self.block

    def units(self) -> np.ndarray:
        """(K, D) float64 unit vectors of the shots, or of the means of their vectors."""
        return shot_units(self.vectors())

    def topic(self) -> np.ndarray | None:
        """(D,) vector of the topic, for methods that can do without; None without topics."""
        return self.query

    def cosines(self) -> np.ndarray:
        """(K,) float64 cosines of query and shots, maximum over vectors. Raises SpecError without topics."""
        if self.query is None:
            raise SpecError("this method needs topic vectors; give --topics FILE or --vectors STORE")
        block = self.vectors()
        places = np.arange(len(block.ids))
        return Cosine(self.query[None]).exact(block, np.zeros_like(places), places).astype(np.float64)

    def popularity(self, summary: Callable[[np.ndarray], np.ndarray], bank: np.ndarray | None = None) -> np.ndarray:
        """(K,) summary of the cosines of each shot with a bank.

        summary  function from the cosines (B, n) of n shots to (n,)
        bank     (B, D); None: the query bank, without which SpecError is raised
        """
        block, scorer = self.vectors(), Cosine(self.others().vectors if bank is None else bank)
        step = max(1, CELLS // scorer.queries)
        some = (block.part(low, low + step) for low in range(0, len(block.ids), step))
        return np.concatenate([summary(scorer.scan(part).numpy().astype(np.float64)) for part in some])

    def others(self) -> Bank:
        """The query bank. Raises SpecError without one."""
        if self.bank is None:
            raise SpecError("this method needs a query bank, such as training captions; give --bank STORE")
        return self.bank

    def other_shots(self) -> GalleryBank:
        """The gallery bank. Raises SpecError without one."""
        if self.around is None:
            raise SpecError("this method needs a gallery bank, such as training videos; give --gallery-bank STORE")
        return self.around

    def judged(self) -> np.ndarray:
        """(K,) external scores. Raises SpecError without them."""
        if self.outside is None:
            raise SpecError("this method needs external scores; give --scores FILE")
        return self.outside

    def marked(self) -> Marks:
        """The judged shots. Raises SpecError without them."""
        if self.marks is None:
            raise SpecError("this method needs judged shots; give --qrels FILE")
        return self.marks

    def log_odds(self, seeing: Seeing) -> np.ndarray:
        """(K,) log-odds from the judge that this describes. Raises SpecError without them."""
        if self.verdicts is None:
            raise SpecError(
                "this method needs a judge, which looks at the shots; give --gallery STORE and --topics FILE"
            )
        return self.verdicts


class Needs(NamedTuple):
    """What a method needs besides the run.

    evidence  of "gallery", "queries", "bank", "gallery bank", "scores", "qrels" and "verdicts"
    seeing    the judge and what it sees; None: no judge is asked
    """

    evidence: set[str]
    seeing: Seeing | None


def needs_of(method: Callable[[Candidates], np.ndarray]) -> Needs:
    """What a method needs, determined by a call with two dummy shots. Raises SpecError for invalid parameters."""
    seen: set[str] = set()
    judges: list[Seeing] = []

    class Recording(Candidates):
        def vectors(self) -> Block:
            seen.add("gallery")
            return super().vectors()

        def topic(self) -> np.ndarray | None:
            seen.add("queries")
            return super().topic()

        def cosines(self) -> np.ndarray:
            seen.add("queries")
            return super().cosines()

        def others(self) -> Bank:
            seen.add("bank")
            return super().others()

        def other_shots(self) -> GalleryBank:
            seen.add("gallery bank")
            return super().other_shots()

        def judged(self) -> np.ndarray:
            seen.add("scores")
            return super().judged()

        def marked(self) -> Marks:
            seen.add("qrels")
            return super().marked()

        def log_odds(self, seeing: Seeing) -> np.ndarray:
            seen.add("verdicts")
            judges.append(seeing)
            return super().log_odds(seeing)

    shots, vectors = ["a", "b"], np.eye(2, dtype=np.float32)
    bank = Bank(vectors, lambda: frozenset(shots))
    block, marks = Block(shots, vectors, np.arange(3)), Marks(vectors[:1], vectors[1:])
    around = GalleryBank(vectors, lambda tau, iterations: np.zeros(2))
    method(Recording(shots, np.ones(2), block, vectors[0], bank, np.ones(2), marks, np.ones(2), around))
    return Needs(seen, judges[0] if judges else None)


def check_least(method: str, least: float, **given: float) -> None:
    """Raises SpecError for a parameter below `least`."""
    for name, value in given.items():
        if value < least:
            raise SpecError(f"{method}: {name} is at least {least:g}, not {value:g}")


def joined(scores: Mapping[str, float], shots: Sequence[str], opinion: np.ndarray, weight: float) -> dict[str, float]:
    """New scores of the shots of a topic: `weight` times that of the reranker plus 1 - `weight` times that of the run.

    Both are min-max normalised over `shots`, so new scores are from 0 to 1; other shots of the run follow in their
    order, with scores from -2 to -1.
    """
    run = normalise({shot: scores[shot] for shot in shots})
    new = normalise(dict(zip(shots, opinion.tolist(), strict=True)))
    again = {shot: (1 - weight) * run[shot] + weight * new[shot] for shot in shots}
    rest = normalise({shot: score for shot, score in scores.items() if shot not in again})
    found = again | {shot: score - 2 for shot, score in rest.items()}
    return {shot: found[shot] for shot in ranked(found)}
