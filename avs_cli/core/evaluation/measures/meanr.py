"""Mean rank of the first relevant shot, over captions."""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.captions import first_rank
from avs_cli.types import Judgment

NAMES = ("MeanR",)
LOWER_IS_BETTER = True
TIES_SHARE_RANKS = True


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """The rank of the first relevant shot, or one more than the length of a ranking without one."""
    return first_rank(ranking, judgments)
