"""The judged rankings of a run: what methods of fusion learn from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from avs_cli.types import Qrels, Run, ranked


@dataclass(frozen=True)
class JudgedRankings:
    """The rankings of a run for T judged topics for which it returns shots; L is the length of the longest.

    relevant  (T, L) whether the shot at a rank is relevant
    unknown   (T, L) whether it was pooled but not judged: it counts neither as relevant nor as not relevant
    lengths   (T,) number of shots
    topics    T ids
    """

    relevant: np.ndarray
    unknown: np.ndarray
    lengths: np.ndarray
    topics: Sequence[str]

    @property
    def known(self) -> np.ndarray:
        """(T, L) whether there is a shot at a rank and it counts; a shot that was not pooled is not relevant."""
        return np.asarray((np.arange(self.relevant.shape[1]) < self.lengths[:, None]) & ~self.unknown)

    def without(self, topics: Collection[str]) -> "JudgedRankings":
        """The rankings of the other topics."""
        kept = [place for place, topic in enumerate(self.topics) if topic not in topics]
        arrays = self.relevant[kept], self.unknown[kept], self.lengths[kept]
        return JudgedRankings(*arrays, [self.topics[place] for place in kept])

    def precision(self, start: int, end: int) -> float:
        """The mean over the topics of the share of relevant shots at ranks `start` + 1 to `end`.

        Ranks beyond the end of a ranking count as not relevant.
        """
        if not len(self.lengths):
            return 0.0
        relevant = self.relevant[:, start:end].sum(axis=1)
        slots = end - start - self.unknown[:, start:end].sum(axis=1)
        return float(np.divide(relevant, slots, out=np.zeros(len(relevant)), where=slots > 0).mean())


def judged_rankings(runs: Sequence[Run], qrels: Qrels) -> list[JudgedRankings]:
    """The judged rankings of each run."""
    relevance = {
        topic: {shot: judgment.relevance for shot, judgment in judged.items() if judgment.relevance}
        for topic, judged in sorted(qrels.items())
    }
    return [_of_run(run, relevance) for run in runs]


def _of_run(run: Run, relevance: dict[str, dict[str, int]]) -> JudgedRankings:
    topics = [topic for topic in relevance if run.get(topic)]
    lengths = np.array([len(run[topic]) for topic in topics], int)
    table = np.zeros((len(topics), lengths.max(initial=0)), np.int32)
    for row, topic in zip(table, topics, strict=True):
        of = relevance[topic].get
        row[: len(run[topic])] = [of(shot, 0) for shot in ranked(run[topic])]
    return JudgedRankings(table > 0, table < 0, lengths, topics)
