"""1 if a relevant shot is among the first k ranks, else 0; its mean over captions is R@k of caption-based retrieval."""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.captions import first_rank
from avs_cli.core.evaluation.measures import _cutoffs
from avs_cli.types import Judgment

NAMES = ("hit@1",)
TIES_SHARE_RANKS = True


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment], k: int = 1) -> float:
    """1 when a relevant shot is among the first `k`, else 0."""
    top = ranking[: _cutoffs.checked(k)]
    return float(first_rank(top, judgments) <= len(top))
