"""Hubness reduction: lower scores for shots that are close to many queries of a query bank.

`nnn` subtracts `alpha` times the mean of a shot's `k` highest cosines with the other queries (nearest neighbor
normalization: Chowdhury et al., EMNLP 2024, arXiv:2410.24114; they choose k and alpha on held-out queries). `qbnorm`
divides the exponentiated cosine by the sum over the other queries (Bogolin, Croitoru, Jin, Liu and Albanie, CVPR 2022,
arXiv:2112.12777), but only if the topic's top shot is the top shot of some other query in the whole gallery.
"""

from typing import Literal

import numpy as np

from avs_cli.core.search.rerankers.candidates import Candidates, check_least


def rerank(
    candidates: Candidates,
    kind: Literal["nnn", "qbnorm"] = "nnn",
    k: int = 16,
    alpha: float = 0.25,
    beta: float = 20.0,
) -> np.ndarray:
    """(K,) corrected cosines."""
    check_least("hubness", 1, k=k)
    check_least("hubness", 0, alpha=alpha, beta=beta)
    cosines = candidates.cosines()
    if kind == "nnn":
        return np.asarray(cosines - alpha * candidates.popularity(lambda others: _highest(others, k).mean(axis=0)))
    if candidates.shots[int(cosines.argmax())] not in candidates.others().favourites():
        return cosines
    return np.asarray(beta * cosines - candidates.popularity(lambda others: np.logaddexp.reduce(beta * others)))


def _highest(others: np.ndarray, k: int) -> np.ndarray:
    """(k, K) largest values of each column of (B, K); fewer if B < k."""
    k = min(k, len(others))
    return np.partition(others, len(others) - k, axis=0)[len(others) - k :]
