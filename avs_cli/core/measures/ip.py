"""iP@k: precision at a cutoff, estimated from a pool of which only samples were judged (see xinfap.py)."""

from collections.abc import Mapping, Sequence

from avs_cli.core.measures.xinfap import Inferred, infer
from avs_cli.errors import SpecError
from avs_cli.types import Judgment


def part(inferred: Inferred, k: int = 10) -> float:
    if k < 1:
        raise SpecError(f"a cutoff of {k} ranks; it begins at 1")
    seen = inferred.seen[:k]
    return float(seen[-1]) / k if len(seen) else 0.0


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment], k: int = 10) -> float:
    """The estimated share of the first `k` ranks that is relevant; ranks that the ranking lacks are not."""
    return part(infer(ranking, judgments), k)
