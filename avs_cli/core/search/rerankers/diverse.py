"""Diversity: near-duplicates of better shots go to the end, and the others are ordered by maximal marginal relevance.

The order is that of the run where no two shots resemble each other. See `core.search.diversity`.
"""

import numpy as np

from avs_cli.core.search.diversity import FOLD, marginal_order, near_duplicates
from avs_cli.core.search.rerankers.candidates import Candidates, check_least
from avs_cli.errors import SpecError


def weight(queries: bool) -> float:
    """All: the scores of the run are in those of the method."""
    return 1.0


def rerank(candidates: Candidates, fold: float = FOLD, novelty: float = 0.3) -> np.ndarray:
    """(K,) from 1 for the first shot down to 1 / K; `fold`: cosine of near-duplicates; `novelty`: weight in MMR."""
    check_least("diverse", 0, fold=fold, novelty=novelty)
    if novelty > 1:
        raise SpecError(f"diverse: novelty is at most 1, not {novelty:g}")
    # Halves, so that the difference of two huge scores does not overflow.
    units, halves = candidates.units(), candidates.scores / 2
    relevance = (halves - halves.min()) / (halves.max() - halves.min() or 1)
    best_first = np.argsort(-relevance, kind="stable")
    stands = near_duplicates(units[best_first], fold)
    own = stands == np.arange(len(stands))
    kept, folded = best_first[own], best_first[~own]
    order = marginal_order(relevance[kept], units[kept], novelty)
    found = np.empty(len(stands))
    found[np.concatenate([kept[order], folded])] = 1 - np.arange(len(stands)) / len(stands)
    return found
