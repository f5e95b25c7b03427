"""Diversity of a ranking: near-duplicates of better shots, and maximal marginal relevance.

MMR: Carbonell and Goldstein, SIGIR 1998, doi:10.1145/290941.291025.
"""

import numpy as np

# Cosine from which shots are near-duplicates: `lite` gives as much to 62 % of crops, copies of low quality and changed
# brightness of photos, and to one of the 499,500 pairs of 1,000 different photos.
FOLD = 0.9


def near_duplicates(units: np.ndarray, fold: float = FOLD) -> np.ndarray:
    """(K,) int64: the place of the shot that stands for each shot; its own place if that is itself.

    units  (K, D) unit vectors of shots, best first
    fold   a shot stands for the later ones whose cosine with it is at least this, unless an earlier one does
    """
    likeness = units @ units.T
    stands = np.full(len(units), -1, np.int64)
    for place in range(len(units)):
        if stands[place] < 0:
            stands[(stands < 0) & (likeness[place] >= fold)] = place
            stands[place] = place  # a zero vector has cosine 0 with itself
    return stands


def marginal_order(relevance: np.ndarray, units: np.ndarray, novelty: float) -> np.ndarray:
    """(K,) int64: the places of the shots in the order of maximal marginal relevance; ties by place.

    Each time the shot follows whose 1 - `novelty` times its relevance, less `novelty` times its highest cosine with the
    shots before, is highest.

    relevance  (K,) from 0 to 1
    units      (K, D) unit vectors
    """
    likeness = units @ units.T
    order = np.empty(len(units), np.int64)
    gain, nearest = (1 - novelty) * relevance, np.full(len(units), -1.0)
    for rank in range(len(units)):
        best = int((gain - novelty * nearest).argmax())
        order[rank], gain[best] = best, -np.inf
        nearest = np.maximum(nearest, likeness[best])
    return order
