"""Hubness reduction: lower scores for shots that are close to many queries of a query bank.

`nnn` subtracts `alpha` times the mean of a shot's `k` highest cosines with the other queries (nearest neighbor
normalization: Chowdhury et al., EMNLP 2024, arXiv:2410.24114; they choose k and alpha on held-out queries). `qbnorm`
divides the exponentiated cosine by the sum over the other queries (Bogolin, Croitoru, Jin, Liu and Albanie, CVPR 2022,
arXiv:2112.12777), but only if the topic's top shot is the top shot of some other query in the whole gallery.

Two kinds also use a gallery bank of other shots. `dbnorm` multiplies the inverted softmax over the queries, with
temperature 1 / `beta`, by that over the other shots, with 1 / `gallery_beta` (dual inverted softmax: Wang et al., EMNLP
2023, arXiv:2310.11612; their dynamic variant is not implemented). `dbsn` adds `tau` times the logarithm of a shot's
scaling by Sinkhorn's algorithm, between the queries on one side, and the gallery and the other shots on the other
(arXiv:2508.02538).
"""

from typing import Literal

import numpy as np

from avs_cli.core.search.rerankers.candidates import Candidates, check_least
from avs_cli.errors import SpecError


def rerank(
    candidates: Candidates,
    kind: Literal["nnn", "qbnorm", "dbnorm", "dbsn"] = "nnn",
    k: int = 16,
    alpha: float = 0.25,
    beta: float = 20.0,
    gallery_beta: float = 2.0,
    tau: float = 0.01,
    iterations: int = 10,
) -> np.ndarray:
    """(K,) corrected cosines.

    nnn uses k and alpha, qbnorm beta, dbnorm beta and gallery_beta, dbsn tau and iterations.
    """
    check_least("hubness", 1, k=k, iterations=iterations)
    check_least("hubness", 0, alpha=alpha, beta=beta, gallery_beta=gallery_beta)
    if not tau > 0:
        raise SpecError(f"hubness: tau is above 0, not {tau:g}")
    cosines, favourites = candidates.cosines(), candidates.others().favourites
    if kind == "nnn":
        return np.asarray(cosines - alpha * candidates.popularity(lambda others: _highest(others, k).mean(axis=0)))
    if kind == "dbsn":
        scalings = candidates.other_shots().scalings(tau, iterations)[:, None]
        return np.asarray(
            cosines - tau * candidates.popularity(lambda others: np.logaddexp.reduce(others / tau + scalings))
        )
    if kind == "dbnorm":
        shots = candidates.other_shots().vectors
        popular = candidates.popularity(lambda others: np.logaddexp.reduce(gallery_beta * others), shots)
        popular += candidates.popularity(lambda others: np.logaddexp.reduce(beta * others))
        return np.asarray((beta + gallery_beta) * cosines - popular)
    if candidates.shots[int(cosines.argmax())] not in favourites():
        return cosines
    return np.asarray(beta * cosines - candidates.popularity(lambda others: np.logaddexp.reduce(beta * others)))


def _highest(others: np.ndarray, k: int) -> np.ndarray:
    """(k, K) largest values of each column of (B, K); fewer if B < k."""
    k = min(k, len(others))
    return np.partition(others, len(others) - k, axis=0)[len(others) - k :]
