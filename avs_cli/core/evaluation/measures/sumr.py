"""Sum of R@1, R@5 and R@10 in percent, as reported for caption-based retrieval; the maximum is 300."""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.captions import first_rank
from avs_cli.types import Judgment

NAMES = ("SumR",)
TIES_SHARE_RANKS = True


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """100 for each of the cutoffs 1, 5 and 10 that the first relevant shot is within."""
    rank = first_rank(ranking, judgments)
    return 100.0 * sum(rank <= min(cutoff, len(ranking)) for cutoff in (1, 5, 10))
