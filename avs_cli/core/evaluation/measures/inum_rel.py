"""Number of relevant shots in the pool, estimated from its sample."""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.measures.xinfap import Inferred, infer
from avs_cli.types import Judgment

NAMES = ("inum_rel",)
# NIST sums over all judged topics, including those that are missing from a run.
EVERY_TOPIC = True


def part(inferred: Inferred) -> float:
    return inferred.relevant


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment]) -> float:
    """The estimated number of relevant shots, for any ranking."""
    return part(infer(ranking, judgments))


def summary(values: Sequence[float]) -> float:
    return sum(values)
