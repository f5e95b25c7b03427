"""Extended inferred average precision, estimated from a sampled pool; NIST prints it as infAP.

Yilmaz, Kanoulas and Aslam, SIGIR 2008, doi:10.1145/1390334.1390437, with the changes that NIST made to its script: the
first 1000 ranks count, and recall is relative to at most 1000 relevant shots.

In a topic's pool, stratum s holds n_s shots, k_s of them sampled (judged), q_s of these relevant; w_s = n_s / k_s says
how many pooled shots a sampled one stands for, and R = Σ_s q_s·w_s is the estimated number of relevant shots. Down a
ranking, d_s, j_s and r_s count the pooled, sampled and relevant shots of stratum s so far, and with ε = 1e-5

    seen(k) = Σ_s d_s·(r_s + ε) / (j_s + 3ε)                           relevant shots in the first k ranks, estimated
    xinfAP  = Σ_k w_s(k)·(1 + seen(k - 1)) / k  /  min(R, 1000)        over ranks k ≤ 1000 that hold a relevant shot

where s(k) is the stratum of the shot at rank k. Only `seen` and k depend on the order of the shots.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avs_cli.types import Judgment

NAMES = ("xinfAP",)
DEPTH = 1000
EPSILON = 1e-5

_RANKS = np.arange(1, DEPTH + 1)
_DISCOUNTS = 1 / np.log2(_RANKS + 1)


class Sample(NamedTuple):
    """Quantities of a topic that do not depend on a ranking.

    codes       judgment -> its index in `relevances` and `strata`; their last entry, -1, is for None, unpooled shots
    relevances  (J,) of the distinct judgments
    strata      (J,) indices in `weights`; the last one is -1
    weights     (S + 1,) w_s, 0 if no shot of the stratum was judged; the last is 0, for unpooled shots
    relevant    R
    gain        ideal discounted cumulative gain
    """

    codes: dict[Judgment | None, int]
    relevances: np.ndarray
    strata: np.ndarray
    weights: np.ndarray
    relevant: float
    gain: float


class Inferred(NamedTuple):
    """Estimates for one ranking.

    ap        xinfAP
    ndcg      infNDCG
    relevant  R
    seen      (K,) seen(k) for each rank k = 1, 2, …, K; K is at most `DEPTH`
    judged    (K,) whether the shot at that rank was judged
    """

    ap: float
    ndcg: float
    relevant: float
    seen: np.ndarray
    judged: np.ndarray


def sample(judgments: Mapping[str, Judgment]) -> Sample:
    """Strata and estimated totals of a topic; they are the same for all runs and may be cached."""
    counted = Counter(judgments.values())
    numbering = {judgment: number for number, judgment in enumerate(counted)}
    counts = np.array(list(counted.values()), np.intp)
    places = {stratum: place for place, stratum in enumerate(dict.fromkeys(j.stratum for j in numbering))}
    relevances = np.array([*(judgment.relevance for judgment in numbering), -1])
    strata = np.array([*(places[judgment.stratum] for judgment in numbering), -1])

    pooled = np.bincount(strata[:-1], counts, len(places))
    sampled = np.bincount(strata[:-1], counts * (relevances[:-1] >= 0), len(places))
    weights = np.append(np.divide(pooled, sampled, out=np.zeros(len(places)), where=sampled > 0), 0.0)
    found: dict[str, int] = {}
    grades: dict[int, float] = {}
    # In the order of the strata, so that sums do not depend on the order of the rows.
    for judgment in sorted(numbering, key=lambda judgment: judgment.stratum):
        if judgment.relevance > 0:
            count, place = int(counts[numbering[judgment]]), places[judgment.stratum]
            found[judgment.stratum] = found.get(judgment.stratum, 0) + count
            # Multiply first, as in NIST's script: 11 · (15 / 11) is less than 15.
            estimate = float(count * pooled[place] / sampled[place])
            grades[judgment.relevance] = grades.get(judgment.relevance, 0.0) + estimate
    relevant = sum(float(count * pooled[places[s]] / sampled[places[s]]) for s, count in found.items())
    codes = [*numbering.items(), (None, -1)]
    return Sample(dict(codes), relevances, strata, weights, relevant, _ideal_gain(grades))


def infer(ranking: Sequence[str], judgments: Mapping[str, Judgment], known: Sample | None = None) -> Inferred:
    """The estimates for a ranking; `known` is a cached `sample(judgments)`."""
    known = known or sample(judgments)
    ranking = ranking[:DEPTH]
    # From a list: np.fromiter takes twice the time.
    codes = np.array(list(map(known.codes.__getitem__, map(judgments.get, ranking))), np.intp)
    relevance, stratum = known.relevances[codes], known.strata[codes]
    ranks, discounts = _RANKS[: len(ranking)], _DISCOUNTS[: len(ranking)]

    # (S, K): cumulative counts per stratum and rank.
    here = stratum == np.arange(len(known.weights) - 1)[:, None]
    judged, is_relevant = relevance >= 0, relevance > 0
    pooled = here.cumsum(axis=1)
    sampled = (here & judged).cumsum(axis=1)
    relevant = (here & is_relevant).cumsum(axis=1)
    seen = (pooled * (relevant + EPSILON) / (sampled + 3 * EPSILON)).sum(axis=0)

    above = np.concatenate([[0.0], seen[:-1]])[: len(ranking)]
    weights = known.weights[stratum]
    precisions = float((weights * (1 + above) / ranks)[is_relevant].sum())
    gains = (here * np.where(is_relevant, relevance * discounts, 0.0)).sum(axis=1)
    in_ranking = pooled[:, -1:].sum(axis=1) / np.maximum(sampled[:, -1:].sum(axis=1), 1)
    return Inferred(
        ap=precisions / min(known.relevant, DEPTH) if known.relevant else 0.0,
        ndcg=float(in_ranking @ gains) / known.gain if known.gain else 0.0,
        relevant=known.relevant,
        seen=seen,
        judged=judged,
    )


def part(inferred: Inferred) -> float:
    return inferred.ap


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """xinfAP of one topic: 0 if no shot is relevant; unjudged strata count as not relevant."""
    return infer(ranking, judgments).ap


def _ideal_gain(grades: Mapping[int, float]) -> float:
    """The gain of the estimated relevant shots, from the highest grade to the lowest.

    As in NIST's script, grades are compared as strings, estimated counts are not rounded, so that the ranks of lower
    grades have fractions, and rank 1000 ends only its own grade: each later grade still adds its first gain.
    """
    gain, start = 0.0, 0.0
    for grade in sorted(grades, key=str, reverse=True):
        end = start + grades[grade]
        steps = np.ones(int(min(grades[grade], max(DEPTH - start, 0.0))) + 2)
        steps[0] = start + 1
        # Add 1 to the previous rank, with rounding at each step, as the script does.
        ranks = np.cumsum(steps)
        ranks = ranks[ranks <= end][: int(np.searchsorted(ranks, DEPTH)) + 1]
        gain += float((grade / np.log2(ranks + 1)).sum())
        start = end
    return gain
