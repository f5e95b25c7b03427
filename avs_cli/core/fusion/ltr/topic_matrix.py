"""Scores and ranks of several runs for one topic, as arrays."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avs_cli.core.fusion.normalisation import minmax
from avs_cli.types import Judgment, Run, ranked

_OFFSET = 60


@dataclass(frozen=True)
class TopicMatrix:
    """N shots × R runs of one topic.

    shots      N ids, descending, so that a stable sort by score breaks ties by id
    ranks      (R, N) int32 from 1; 0 where the run does not return the shot
    scores     (R, N) float32, min-max normalised; 0 where the run does not return the shot
    judged     (J,) indices of judged shots
    judgments  J judgments, of those shots
    totals     judgment -> number of shots with it, returned by a run or not; empty for unjudged topics
    """

    shots: list[str]
    ranks: np.ndarray
    scores: np.ndarray
    judged: np.ndarray
    judgments: list[Judgment]
    totals: Mapping[Judgment, int]

    def evidence(self, kind: str, some: np.ndarray | slice = slice(None)) -> np.ndarray:
        """(R, N) float32 in 0 … 1, for all the shots or those at the places `some`; 0 for missing ones, 1 at rank 1."""
        if kind == "minmax":
            return self.scores[:, some]
        discounted: np.ndarray = _discounts(kind, int(self.ranks.max(initial=0)))[self.ranks[:, some]]
        return discounted


def pool(runs: Sequence[Run], topic: str, judgments: Mapping[str, Judgment]) -> TopicMatrix:
    """The matrix of all shots that any run returns for `topic`, with the judgments of the topic, if any."""
    shots = sorted({shot for run in runs for shot in run.get(topic, ())}, reverse=True)
    places = {shot: place for place, shot in enumerate(shots)}
    ranks = np.zeros((len(runs), len(shots)), np.int32)
    scores = np.zeros((len(runs), len(shots)), np.float32)
    for row, run in enumerate(runs):
        ranking = ranked(run.get(topic, {}))
        where = np.fromiter(map(places.__getitem__, ranking), np.intp, len(ranking))
        ranks[row, where] = np.arange(1, len(ranking) + 1)
        normal = minmax.normalise(run.get(topic, {}))
        scores[row, where] = np.fromiter(map(normal.__getitem__, ranking), np.float32, len(ranking))
    known = [shot for shot in judgments if shot in places]
    judged = np.fromiter(map(places.__getitem__, known), np.intp, len(known))
    return TopicMatrix(shots, ranks, scores, judged, [judgments[shot] for shot in known], Counter(judgments.values()))


def best_first(scores: np.ndarray) -> np.ndarray:
    """Indices of shots sorted by (N,) scores, descending; ties by shot id, descending."""
    return np.argsort(-scores, kind="stable")


def _discounts(kind: str, longest: int) -> np.ndarray:
    """(longest + 1,) float32: the discount of each rank; 0 for rank 0, a missing shot."""
    ranks = np.arange(1, longest + 1)
    discounts: dict[str, Callable[[], np.ndarray]] = {
        "log": lambda: 1 / np.log2(ranks + 1),
        "power": lambda: ranks**-0.5,
        "reciprocal": lambda: (_OFFSET + 1) / (_OFFSET + ranks),
    }
    values = discounts[kind]()
    return np.concatenate([[0.0], values]).astype(np.float32)
