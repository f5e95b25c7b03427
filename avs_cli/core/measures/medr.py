"""MedR: the median, over captions, of the rank of the first right answer."""

import statistics
from collections.abc import Mapping, Sequence

from avs_cli.core.caption_ranks import first_rank
from avs_cli.types import Judgment

LOWER_IS_BETTER = True
TIES_SHARE_RANKS = True


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """The rank of the first relevant shot; a ranking without one is taken to have it right behind its end."""
    return first_rank(ranking, judgments)


def summary(values: Sequence[float]) -> float:
    return statistics.median(values)
