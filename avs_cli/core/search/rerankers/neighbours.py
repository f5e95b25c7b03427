"""Neighbour-based reranking: higher scores for shots that resemble other candidates.

`reciprocal` is k-reciprocal encoding (Zhong, Zheng, Cao and Li, CVPR 2017, arXiv:1701.08398): query and shot are close
if they share their `k`-reciprocal nearest neighbours. `hubs` is the simpler bonus of LAFF's published code: how often a
shot is among the `k` nearest neighbours of the others, plus one. That code adds the distance of the first method as if
it were a similarity; here its sign is inverted.
"""

from typing import Literal

import numpy as np

from avs_cli.core.search.rerankers.candidates import Candidates, check_least


def rerank(
    candidates: Candidates,
    kind: Literal["reciprocal", "hubs"] = "reciprocal",
    k: int = 20,
    expand: int = 6,
    share: float = 0.3,
) -> np.ndarray:
    """(K,) scores; `expand`: neighbours for query expansion; `share`: weight of the original distance."""
    check_least("neighbours", 1, k=k, expand=expand)
    check_least("neighbours", 0, share=share)
    units = candidates.units()
    likeness = units @ units.T
    if kind == "hubs":
        return hubs(likeness, k)
    to_query = candidates.cosines()[None]
    return np.asarray(-reciprocal(to_query, np.ones((1, 1)), likeness, k, expand, share)[0])


def hubs(likeness: np.ndarray, k: int) -> np.ndarray:
    """(G,) log(1 + n), where a shot is among the `k` nearest neighbours of n - 1 others, by cosines (G, G)."""
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :k]
    return np.log1p(1 + np.bincount(nearest.ravel(), minlength=len(likeness)))


def reciprocal(
    to_gallery: np.ndarray, among: np.ndarray, gallery: np.ndarray, k: int, expand: int, share: float
) -> np.ndarray:
    """(Q, G) distances from (Q, G), (Q, Q) and (G, G) cosines."""
    queries = len(to_gallery)
    distance = 2 - 2 * np.block([[among, to_gallery], [to_gallery.T, gallery]])
    farthest = distance.max(axis=1, keepdims=True)
    distance = distance / np.where(farthest > 0, farthest, 1)
    order = np.argsort(distance, axis=1, kind="stable")
    mutual, closer = (_mutual(order, some) for some in (k, int(np.around(k / 2))))
    # Expand by the neighbours of a neighbour if more than two thirds of them are neighbours already.
    shared = mutual.astype(np.float64) @ closer.T
    bringing = mutual & (3 * shared > 2 * closer.sum(axis=1))
    kept = mutual | (bringing.astype(np.float64) @ closer > 0)
    encoded = np.where(kept, np.exp(-distance), 0)
    encoded /= encoded.sum(axis=1, keepdims=True)
    encoded = np.array([encoded[row[:expand]].mean(axis=0) for row in order])
    common = np.array([np.minimum(encoded[q], encoded[queries:]).sum(axis=1) for q in range(queries)])
    jaccard = 1 - common / (2 - common)
    return np.asarray((1 - share) * jaccard + share * distance[:queries, queries:])


def _mutual(order: np.ndarray, k: int) -> np.ndarray:
    """(N, N) whether two items are mutually among their `k` nearest neighbours (and themselves)."""
    near = np.zeros(order.shape, bool)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    return near & near.T
