"""Inferred precision of the first k ranks, estimated from a sampled pool."""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.measures import _cutoffs
from avs_cli.core.evaluation.measures.xinfap import Inferred, infer
from avs_cli.types import Judgment

NAMES = ("iP@10", "iP@100", "iP@1000")


def part(inferred: Inferred, k: int = 10) -> float:
    seen = inferred.seen[: _cutoffs.checked(k)]
    return float(seen[-1]) / k if len(seen) else 0.0


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment], k: int = 10) -> float:
    """The estimated share of relevant shots in the first `k` ranks; missing ranks count as not relevant."""
    return part(infer(ranking, judgments), k)
