"""Share of judged shots among the first k ranks.

Unjudged shots count as not relevant, so runs with few judged shots at the top are underestimated. Pooled shots that
were not sampled are unjudged, which ir_measures counts as judged. For a shorter ranking, it is the share of that
ranking, as there.
"""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.measures import _cutoffs
from avs_cli.types import Judgment

NAMES = ("Judged@10", "Judged@100")


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment], k: int | None = None) -> float:
    """The share of the first `k` ranks (of all ranks without `k`) that is judged; 0 for an empty ranking."""
    top = ranking[: _cutoffs.checked(k)]
    judged = sum(shot in judgments and judgments[shot].relevance >= 0 for shot in top)
    return judged / len(top) if top else 0.0
