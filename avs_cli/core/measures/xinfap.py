"""xinfAP: average precision estimated from a pool of which only samples were judged (TREC's and TRECVID's infAP).

Yilmaz, Kanoulas and Aslam, SIGIR 2008, doi:10.1145/1390334.1390437, with the changes that NIST made to its script: the
first 1000 ranks count, and recall is relative to at most 1000 relevant shots.

In a topic's pool, stratum s holds n_s shots, k_s of them sampled (judged), q_s of these relevant; w_s = n_s / k_s is how
many pooled shots a sampled one stands for, and R = Σ_s q_s·w_s is the estimated number of relevant shots. Down a ranking,
d_s, j_s and r_s count the pooled, sampled and relevant shots of stratum s so far, and with ε = 1e-5

    seen(k) = Σ_s d_s·(r_s + ε) / (j_s + 3ε)                           relevant shots in the first k ranks, estimated
    xinfAP  = Σ_k w_s(k)·(1 + seen(k - 1)) / k  /  min(R, 1000)        over ranks k ≤ 1000 that hold a relevant shot

where s(k) is the stratum of the shot at rank k. Only `seen` and k depend on the order of the shots.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from avs_cli.types import Judgment

DEPTH = 1000
EPSILON = 1e-5

_DISCOUNTS = [1 / math.log2(rank + 1) for rank in range(1, DEPTH + 1)]
_IDEAL = [0.0, *accumulate(_DISCOUNTS)]


class Sample(NamedTuple):
    """What a topic's judgments say before there is a ranking.

    weights   stratum -> w_s, for strata of which some shot was judged
    relevant  R
    gain      the greatest discounted cumulative gain that a ranking of the R shots can have
    """

    weights: dict[str, float]
    relevant: float
    gain: float


class Inferred(NamedTuple):
    """What is estimated of one ranking.

    ap        xinfAP
    ndcg      infNDCG
    relevant  R
    seen      seen(k) for each rank k = 1, 2, …, at most `DEPTH`
    """

    ap: float
    ndcg: float
    relevant: float
    seen: list[float]


def sample(judgments: Mapping[str, Judgment]) -> Sample:
    """Strata and estimated totals of one topic; the same for every run, so it pays to keep it."""
    pooled: Counter[str] = Counter()
    sampled: Counter[str] = Counter()
    relevant: Counter[tuple[int, str]] = Counter()
    for (relevance, stratum), count in Counter(judgments.values()).items():
        pooled[stratum] += count
        if relevance >= 0:
            sampled[stratum] += count
        if relevance > 0:
            relevant[relevance, stratum] += count
    weights = {stratum: pooled[stratum] / count for stratum, count in sampled.items()}
    grades: dict[int, float] = {}
    for (relevance, stratum), count in relevant.items():
        grades[relevance] = grades.get(relevance, 0.0) + count * weights[stratum]
    return Sample(weights, sum(grades.values()), _ideal_gain(grades))


def infer(ranking: Sequence[str], judgments: Mapping[str, Judgment], known: Sample | None = None) -> Inferred:
    """xinfAP and its company in one walk down the ranking; `known` is `sample(judgments)`, when the caller has it."""
    weights, relevant, ideal = known or sample(judgments)
    counts: dict[str, list[float]] = {}  # stratum -> pooled, sampled, relevant, discounted gain, estimate
    precisions, seen = 0.0, 0.0
    estimates = []
    for rank, judgment in enumerate(map(judgments.get, ranking[:DEPTH]), start=1):
        if judgment is not None:
            relevance, stratum = judgment
            count = counts.setdefault(stratum, [0, 0, 0, 0.0, 0.0])
            count[0] += 1
            if relevance >= 0:
                count[1] += 1
                if relevance > 0:
                    precisions += weights[stratum] * (1 + seen) / rank
                    count[2] += 1
                    count[3] += relevance * _DISCOUNTS[rank - 1]
            before = count[4]
            count[4] = count[0] * (count[2] + EPSILON) / (count[1] + 3 * EPSILON)
            seen += count[4] - before
        estimates.append(seen)
    gain = sum(pooled / sampled * gained for pooled, sampled, _, gained, _ in counts.values() if sampled)
    return Inferred(
        ap=precisions / min(relevant, DEPTH) if relevant else 0.0,
        ndcg=gain / ideal if ideal else 0.0,
        relevant=relevant,
        seen=estimates,
    )


def part(inferred: Inferred) -> float:
    return inferred.ap


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """xinfAP of one topic: 0 when no shot is relevant; strata of which nothing was judged count as not relevant."""
    return infer(ranking, judgments).ap


def _ideal_gain(grades: Mapping[int, float]) -> float:
    """The gain of the estimated relevant shots, whole ones only, by grade from the first rank on."""
    gain, rank = 0.0, 0
    for relevance in sorted(grades, reverse=True):
        end = min(rank + int(grades[relevance]), DEPTH)
        gain += relevance * (_IDEAL[end] - _IDEAL[rank])
        rank = end
    return gain
