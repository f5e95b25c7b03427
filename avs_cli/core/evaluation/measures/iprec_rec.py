"""Interpolated precision at a level of recall, estimated from a sampled pool.

NIST draws its 11-point curve from these, at recall 0.0, 0.1, …, 1.0. Estimated recall can fall along a ranking, when
shots that are not relevant lower a stratum's share; as in NIST's script, all from the last rank below the level counts.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from avs_cli.core.evaluation.measures.xinfap import Inferred, infer
from avs_cli.errors import SpecError
from avs_cli.types import Judgment

NAMES = ("iprec@rec0.50",)
LEVELS = tuple(tenth / 10 for tenth in range(11))


def part(inferred: Inferred, recall: float = 0.0) -> float:
    if not 0 <= recall <= 1:
        raise SpecError(f"recall {recall} is not between 0 and 1")
    seen, wanted = inferred.seen, recall * inferred.relevant
    if not inferred.relevant or not len(seen) or seen[-1] < wanted:
        return 0.0
    below = np.flatnonzero(seen < wanted)
    start = below[-1] if len(below) else 0
    return float((seen / np.arange(1, len(seen) + 1))[start:].max())


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment], recall: float = 0.0) -> float:
    """The maximum precision from the last rank with a recall below `recall`; 0 if the ranking does not reach it."""
    return part(infer(ranking, judgments), recall)
