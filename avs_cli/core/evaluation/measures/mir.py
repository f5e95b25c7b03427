"""Mean inverted rank of the first relevant shot, over captions."""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.captions import first_rank
from avs_cli.types import Judgment

NAMES = ("mir",)
TIES_SHARE_RANKS = True


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """1 / rank of the first relevant shot; 0 when the ranking has none."""
    rank = first_rank(ranking, judgments)
    return 1 / rank if rank <= len(ranking) else 0.0
