"""hit@k: whether one of the first k ranks is right. Caption retrieval calls its mean R@k."""

from collections.abc import Mapping, Sequence

from avs_cli.core.caption_ranks import first_rank
from avs_cli.errors import SpecError
from avs_cli.types import Judgment

TIES_SHARE_RANKS = True


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment], k: int = 1) -> float:
    """1 when a relevant shot is among the first `k`, else 0."""
    if k < 1:
        raise SpecError(f"a cutoff of {k} ranks; it begins at 1")
    return float(first_rank(ranking[:k], judgments) <= len(ranking[:k]))
