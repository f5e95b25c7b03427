"""What the caption-retrieval measures share."""

from collections.abc import Mapping, Sequence

from avs_cli.types import Judgment


def first_rank(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> int:
    """The rank of the best relevant shot; the rank behind the ranking's end when it holds none."""
    for rank, shot in enumerate(ranking, start=1):
        judgment = judgments.get(shot)
        if judgment is not None and judgment.relevance > 0:
            return rank
    return len(ranking) + 1
