"""Rank-biased precision, for a user who proceeds from each rank to the next with probability p.

Moffat and Zobel, ACM TOIS 27(1), 2008, doi:10.1145/1416950.1416952: (1 - p) · Σ p^(rank - 1) over the ranks of
relevant shots. ir_measures has no RBP without another package, cwl-eval.
"""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.measures import _cutoffs
from avs_cli.errors import SpecError
from avs_cli.types import Judgment

NAMES = ("RBP",)


def score(
    ranking: Sequence[str], judgments: Mapping[str, Judgment], k: int | None = None, p: float = 0.8, rel: int = 1
) -> float:
    """RBP over the first `k` ranks, or all of them; shots of grade `rel` or more are relevant."""
    if not 0 <= p < 1:
        raise SpecError(f"RBP: p={p} is not a probability below 1")
    if rel < 1:
        raise SpecError(f"RBP: rel={rel} must be at least 1")
    top = ranking[: _cutoffs.checked(k)]
    found = (place for place, shot in enumerate(top) if shot in judgments and judgments[shot].relevance >= rel)
    return (1 - p) * sum(p**place for place in found)
