"""Significance tests on paired per-topic values, and agreement of rankings.

The randomization test is TRECVID's (Smucker, Allan and Carterette, CIKM 2007, doi:10.1145/1321440.1321528), Holm's
step-down correction keeps the family-wise error (Holm 1979, jstor:4615733), Tukey's HSD takes topics as blocks
(Carterette 2012, doi:10.1145/2094072.2094076), tau_AP weighs the top of a ranking (Yilmaz, Aslam and Robertson, SIGIR
2008, doi:10.1145/1390334.1390435).

Ours are the tests that scipy lacks (Tukey's with topics as blocks; Holm's correction) and randomization, which takes
0.05 ms for 12 topics and 8 ms for 30 where scipy.stats.permutation_test takes 9 and 26, for each pair of runs.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from avs_cli.errors import SpecError

EXACT = 16
SAMPLES = 20_000


def randomization(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p: the share of sign patterns whose mean is at least as far from 0 as the observed one.

    Exact for at most `EXACT` topics that differ; otherwise from `SAMPLES` random patterns, including the observed one.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0
    # Equal means may differ in the last bits, depending on the order of summation.
    seen = abs(values.sum()) - 1e-12 * np.abs(values).sum()
    if len(values) <= EXACT:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= seen).mean())
    as_far = int((np.abs(_signs(len(values), seed) @ values) >= seen).sum())
    return (as_far + 1) / (SAMPLES + 1)


@functools.lru_cache(maxsize=4)
def _signs(topics: int, seed: int) -> np.ndarray:
    """(SAMPLES, topics) of -1 and 1."""
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), (SAMPLES, topics))


def t_test(differences: Sequence[float]) -> float:
    """Two-sided p of the paired t-test; of equal differences 0, or 1 where they are 0, where scipy has NaN."""
    from scipy.stats import ttest_1samp

    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        raise SpecError("a t-test needs at least two topics")
    if values.std(ddof=1) <= 1e-12 * math.sqrt(len(values)) * np.abs(values).max():
        return 0.0 if values.any() else 1.0
    return float(ttest_1samp(values, 0.0).pvalue)


def tukey_hsd(values: Mapping[str, Sequence[float]], baseline: str) -> dict[str, float]:
    """p of the difference of each run from `baseline`, corrected for all pairs of runs; topics are blocks.

    values  run -> values per topic, in the same order
    """
    from scipy.stats import studentized_range

    table = np.array(list(values.values()), dtype=np.float64)
    runs, topics = table.shape
    if topics < 2:
        raise SpecError("Tukey's test needs at least two topics")
    freedom = (runs - 1) * (topics - 1)
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    error = math.sqrt((residual**2).sum() / freedom / topics)
    means = dict(zip(values, table.mean(axis=1), strict=True))
    p = {}
    for run in values:
        if run != baseline:
            gap = abs(means[run] - means[baseline])
            p[run] = float(studentized_range.sf(gap / error, runs, freedom)) if error > 1e-12 else float(gap <= 1e-12)
    return p


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p values with Holm's step-down correction for multiple tests, in the same order."""
    corrected: dict[str, float] = {}
    largest = 0.0
    for position, name in enumerate(sorted(p, key=p.__getitem__)):
        largest = max(largest, min(1.0, p[name] * (len(p) - position)))
        corrected[name] = largest
    return {name: corrected[name] for name in p}


def agreement(truth: Mapping[str, float], other: Mapping[str, float]) -> tuple[float, float]:
    """Kendall's tau and tau_AP of two rankings of the same runs by value; `truth` is the reference.

    Equal values are ordered by name, as in trectools, which computes both.
    """
    if len(truth) < 2:
        raise SpecError("agreement of rankings needs at least two runs")
    from trectools.misc import get_correlation

    rankings = [sorted(((values[name], name) for name in truth), key=_best_first) for values in (truth, other)]
    return tuple(float(get_correlation(*rankings, correlation=kind)[0]) for kind in ("kendall", "tauap"))  # type: ignore[return-value]


def _best_first(pair: tuple[float, str]) -> tuple[float, str]:
    return -pair[0], pair[1]
