"""Inferred nDCG of the first 1000 ranks, estimated from a sampled pool.

Yilmaz, Kanoulas and Aslam, SIGIR 2008, doi:10.1145/1390334.1390437. A ranking's gain Σ relevance / log2(rank + 1) is
summed per stratum over its judged shots and scaled to the stratum's pooled shots in the ranking; the ideal gain is that
of the estimated number of shots of each grade, as NIST's script counts it, fractions included.
"""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.measures.xinfap import Inferred, infer
from avs_cli.types import Judgment

NAMES = ("infNDCG",)


def part(inferred: Inferred) -> float:
    return inferred.ndcg


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """infNDCG of one topic: 0 when no shot is relevant; a sample can estimate more than 1."""
    return part(infer(ranking, judgments))
