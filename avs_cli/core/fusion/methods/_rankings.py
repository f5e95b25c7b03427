"""Common part of methods that learn from judgments: the judged rankings of a run, and sums of values by rank."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avs_cli.core.fusion.methods._combining import gathered
from avs_cli.types import Qrels, Run, ranked


class JudgedRankings(NamedTuple):
    """The rankings of a run for T judged topics for which it returns shots; L is the longest.

    relevant  (T, L) whether the shot at a rank is relevant
    unknown   (T, L) whether it was pooled but not judged: it counts neither as relevant nor as not relevant
    lengths   (T,) number of shots
    """

    relevant: np.ndarray
    unknown: np.ndarray
    lengths: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(T, L) whether there is a shot at a rank and it counts; a shot that was not pooled is not relevant."""
        return np.asarray((np.arange(self.relevant.shape[1]) < self.lengths[:, None]) & ~self.unknown)

    def precision(self, start: int, end: int) -> float:
        """The mean over the topics of the share of relevant shots at ranks `start` + 1 to `end`.

        Ranks beyond the end of a ranking count as not relevant.
        """
        if not len(self.lengths):
            return 0.0
        relevant = self.relevant[:, start:end].sum(axis=1)
        slots = end - start - self.unknown[:, start:end].sum(axis=1)
        return float(np.divide(relevant, slots, out=np.zeros(len(relevant)), where=slots > 0).mean())


def judged_rankings(run: Run, qrels: Qrels) -> JudgedRankings:
    """The rankings of a run for judged topics."""
    labels = []
    for topic in sorted(qrels):
        if scores := run.get(topic):
            relevance = {shot: judgment.relevance for shot, judgment in qrels[topic].items()}
            labels.append([relevance.get(shot, 0) for shot in ranked(scores)])
    lengths = np.array([len(row) for row in labels], int)
    table = np.zeros((len(labels), max(lengths, default=0)), int)
    for row, some in zip(table, labels, strict=True):
        row[: len(some)] = some
    return JudgedRankings(table > 0, table < 0, lengths)


def summed(
    runs: Sequence[Run],
    by_rank: Callable[[int, Mapping[str, float]], Sequence[float] | np.ndarray],
    missing: float = 0.0,
) -> Run:
    """Score each shot by the sum of a value per run.

    by_rank  the values of ranks 1, 2, …, from the index of a run and its scores for a topic; 0 beyond them
    missing  the value in a run that returns shots for the topic, but not this one
    """

    def values(index: int, scores: Mapping[str, float]) -> dict[str, float]:
        found = by_rank(index, scores)
        some = found.tolist() if isinstance(found, np.ndarray) else list(found)
        return dict(zip(ranked(scores), some + [0.0] * (len(scores) - len(some)), strict=False))

    fused: Run = {}
    for topic, evidence, count in gathered(runs, values):
        rest = [missing] if missing else []
        fused[topic] = {shot: math.fsum(found + rest * (count - len(found))) for shot, found in evidence.items()}
    return fused
