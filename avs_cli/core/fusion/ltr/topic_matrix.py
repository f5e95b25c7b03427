"""Scores and ranks of several runs for one topic, as arrays."""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.types import FUSER_INPUTS, Judgment, Ranking, ranking

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

    @functools.cached_property
    def leading(self) -> dict[str, np.ndarray]:
        """For each input of Step 1, the indices of the top 1000 shots by an unweighted sum of the runs, best first."""
        return {kind: best_first(self.evidence(kind).sum(axis=0))[:DEPTH] for kind in FUSER_INPUTS}


def pool(
    runs: Sequence[Mapping[str, Ranking | Mapping[str, float]]], topic: str, judgments: Mapping[str, Judgment]
) -> TopicMatrix:
    """The matrix of all shots that any run returns for `topic`, with the judgments of the topic, if any."""
    given = [run.get(topic, {}) for run in runs]
    rankings = [own if isinstance(own, Ranking) else ranking(own) for own in given]
    ids, columns = _numbered(np.concatenate([own.shots for own in rankings]))
    shots = [id.decode() for id in ids.tolist()]
    places = dict(zip(shots, range(len(shots)), strict=True)) if judgments else {}
    ranks = np.zeros((len(runs), len(shots)), np.int32)
    scores = np.zeros((len(runs), len(shots)), np.float32)
    start = 0
    for row, own in enumerate(rankings):
        where = columns[start : start + len(own.shots)]
        start += len(where)
        ranks[row, where] = np.arange(1, len(where) + 1)
        scores[row, where] = _minmax(own.scores)
    known = [shot for shot in judgments if shot in places]
    judged = np.fromiter(map(places.__getitem__, known), np.intp, len(known))
    return TopicMatrix(shots, ranks, scores, judged, [judgments[shot] for shot in known], Counter(judgments.values()))


def _numbered(shots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ids, descending, and the (N,) place of each of N ids among them.

    Ids are sorted as integers, 8 bytes after 8 bytes: numpy takes 20 times as long to sort strings.
    """
    if not len(shots):
        return shots, np.zeros(0, np.intp)
    width = -(-shots.itemsize // 8)
    words = shots.astype(f"S{8 * width}").view(">u8").reshape(len(shots), width).astype(np.uint64)
    order = np.zeros(len(shots), np.int64)
    for column in words.T:
        _, own = np.unique(column, return_inverse=True)
        _, first, order = np.unique(order * len(shots) + own, return_index=True, return_inverse=True)
    return shots[first][::-1], len(first) - 1 - order


def _minmax(scores: np.ndarray) -> np.ndarray:
    """As core/fusion/normalisation/minmax.py, for descending scores."""
    if not len(scores) or scores[0] == scores[-1]:
        return np.ones(len(scores))
    low = scores[-1] / 2
    return np.asarray((scores / 2 - low) / (scores[0] / 2 - low))


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
