"""Relevance feedback: what shots that a user likes and dislikes say of the others.

Rocchio's formula moves the query towards the mean of the liked shots and away from that of the disliked ones (Rocchio
1971, in: The SMART Retrieval System, chapter 14), all as unit vectors; the moved query can also search a gallery again.
The nearest marked shots alone decide in the relevance score of Giacinto (CIVR 2007, doi:10.1145/1282280.1282291); here
it is a difference of cosines instead of a ratio of distances.
"""

from collections.abc import Collection, Mapping

import numpy as np

from avs_cli.core.fusion.normalisation.minmax import normalise
from avs_cli.core.search.exact import units
from avs_cli.types import ranked

# Weights of the marked shots, where the query has weight 1 in Rocchio's formula: the best of twelve pairs for simulated
# users, and for the nearest shots the best of three ratios (tests/benchmarks/bench_feedback.py).
LIKE, DISLIKE = 1.0, 0.5


def moved(
    query: np.ndarray | None, liked: np.ndarray, disliked: np.ndarray, like: float = LIKE, dislike: float = DISLIKE
) -> np.ndarray:
    """(D,) float64: the unit vector of the query, plus `like` times the mean of the liked shots' unit vectors, minus
    `dislike` times that of the disliked shots'. It may be zero.

    query     (D,), not normalised; None: the marked shots alone
    liked     (L, D), not normalised; L may be 0
    disliked  (M, D)
    """
    weights = np.repeat([like, -dislike], [len(liked), len(disliked)])
    return moved_by(query, np.concatenate([liked, disliked]), weights)


def moved_by(query: np.ndarray | None, examples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """As `moved`, with a weight of each example: the means are of the weighted unit vectors.

    examples  (E, D), not normalised
    weights   (E,), negative for what is disliked
    """
    found = np.zeros(examples.shape[1]) if query is None else units(query[None])[0]
    for chosen in (weights > 0, weights < 0):
        if chosen.any():
            found = found + (units(examples[chosen]) * weights[chosen, None]).mean(axis=0)
    return found


def preferences(
    shots: np.ndarray, liked: np.ndarray, disliked: np.ndarray, like: float = LIKE, dislike: float = DISLIKE
) -> np.ndarray:
    """(K,) `like` times the cosine with the nearest liked shot, minus `dislike` times that with the nearest disliked.

    shots, liked, disliked  (K, D), (L, D) and (M, D), not normalised; L or M may be 0
    """
    own, found = units(shots), np.zeros(len(shots))
    for weight, marked in ((like, liked), (-dislike, disliked)):
        if len(marked):
            found = found + weight * (own @ units(marked).T).max(axis=1)
    return found


def with_marks(scores: Mapping[str, float], liked: Collection[str], disliked: Collection[str]) -> dict[str, float]:
    """The shots of a topic with the liked ones first and the disliked ones last, each of the three in their order.

    Those that are not marked keep their scores, from -2 to 1; scores of liked shots are from 2 to 3, those of disliked
    ones from -4 to -3.
    """
    found = dict(scores)
    for marked, least in ((liked, 2.0), (disliked, -4.0)):
        found |= {
            shot: score + least for shot, score in normalise({s: scores[s] for s in marked if s in scores}).items()
        }
    return {shot: found[shot] for shot in ranked(found)}
