"""Expected reciprocal rank of the shot that satisfies a user who scans the ranking from the top.

Chapelle, Metzler, Zhang and Grinspan, CIKM 2009, doi:10.1145/1645953.1646033. A shot of grade g satisfies the user
with probability (2^g - 1) / 2^max; as in TREC's gdeval.pl, the highest grade is 4 unless `max` says otherwise.
ir_measures runs that script, which needs Perl, has five decimals and takes ten times as long.
"""

from collections.abc import Mapping, Sequence

from avs_cli.core.evaluation.measures import _cutoffs
from avs_cli.errors import MismatchError, SpecError
from avs_cli.types import Judgment

NAMES = ("ERR@20",)


def score(ranking: Sequence[str], judgments: Mapping[str, Judgment], k: int | None = None, max: int = 4) -> float:
    """ERR over the first `k` ranks, or all of them.

    Raises MismatchError for a shot whose grade is above `max`.
    """
    if not 1 <= max <= 1000:
        raise SpecError(f"ERR: max={max} must be between 1 and 1000")
    expected, unsatisfied = 0.0, 1.0
    for rank, shot in enumerate(ranking[: _cutoffs.checked(k)], start=1):
        grade = judgments[shot].relevance if shot in judgments else 0
        if grade > max:
            raise MismatchError(f"ERR: shot {shot} has grade {grade}, above the highest, {max}; write ERR(max={grade})")
        if grade > 0:
            satisfied = 2.0 ** (grade - max) - 2.0**-max
            expected += unsatisfied * satisfied / rank
            unsatisfied *= 1 - satisfied
    return expected
