"""Measures of many rankings of the same topics at once, for learning to rank.

Judgments are coded as small integers, and a ranking is a row of codes, best shot first. Values are those of
core/evaluation/evaluator.py for the same rankings.
"""

import math
from collections.abc import Sequence

import numpy as np

from avs_cli.core.evaluation.measures.xinfap import DEPTH, EPSILON
from avs_cli.core.fusion.ltr import OPTIMISED
from avs_cli.core.fusion.ltr.topic_matrix import TopicMatrix
from avs_cli.errors import SpecError

UNPOOLED = 0


class BatchedMeasure:
    """One measure on the judgments of T topics.

    codes      judgment -> code, from 1; `UNPOOLED` is for shots without one
    relevance  (C,) by code; -1 for shots not pooled or not judged
    """

    def __init__(self, name: str, topics: Sequence[TopicMatrix]):
        """Raises SpecError for a measure that is not in `OPTIMISED`."""
        self.name = name
        self.kind, self.depth = parsed(name)
        # Sorted by relevance first, so that codes from some number on are those of relevant shots.
        kinds = sorted({judgment for topic in topics for judgment in topic.totals})
        self.codes = {judgment: code for code, judgment in enumerate(kinds, start=1)}
        self.relevance = np.array([-1, *(judgment.relevance for judgment in kinds)])
        self._first_relevant = 1 + sum(judgment.relevance <= 0 for judgment in kinds)
        strata = sorted({judgment.stratum for judgment in kinds})
        self._stratum = np.array([-1, *(strata.index(judgment.stratum) for judgment in kinds)])
        counts = np.array([[0, *(topic.totals.get(judgment, 0) for judgment in kinds)] for topic in topics])
        self._relevant = counts @ (self.relevance > 0)
        here = self._stratum == np.arange(len(strata))[:, None]  # (S, C)
        pooled, sampled = counts @ here.T, (counts * (self.relevance >= 0)) @ here.T
        # (T, S): number of pooled shots per judged one.
        self._weights = np.divide(pooled, sampled, out=np.zeros(pooled.shape), where=sampled > 0)
        estimated = (self._weights * ((counts * (self.relevance > 0)) @ here.T)).sum(axis=1)
        self._estimated = np.minimum(estimated, DEPTH)
        self._ideal = np.array([self._ideal_gain(row) for row in counts]) if self.kind == "nDCG" else None
        # Per stratum and code, increments of the counts of pooled, judged and relevant shots; 20 bits each.
        added = 1 + ((self.relevance >= 0) << 20) + ((self.relevance > 0).astype(np.int64) << 40)
        self._added = np.where(here, added, 0)

    def coded(self, topic: TopicMatrix) -> np.ndarray:
        """(N,) int32 codes of the shots of one of the T topics."""
        codes = np.zeros(len(topic.shots), np.int32)
        codes[topic.judged] = [self.codes[judgment] for judgment in topic.judgments]
        return codes

    def values(self, codes: np.ndarray, topics: np.ndarray) -> np.ndarray:
        """(B,) values of B rankings.

        codes   (B, K), best shot first
        topics  (B,) index of the topic of each ranking
        """
        codes = codes[:, : self.depth] if self.depth else codes
        count, length = codes.shape
        if self.kind == "P":
            return np.asarray((codes >= self._first_relevant).sum(axis=1) / self.depth)
        flat = np.flatnonzero((codes >= self._first_relevant).ravel())
        row, place = flat // length, flat % length
        if self.kind == "nDCG":
            parts = self.relevance[codes.ravel()[flat]] / np.log2(place + 2)
            total = self._ideal[topics]  # type: ignore[index]
        elif self.kind == "AP":
            hits = np.arange(len(flat)) - np.searchsorted(row, np.arange(count))[row] + 1
            parts, total = hits / (place + 1), self._relevant[topics]
        else:
            parts = self._inferred_precisions(codes, flat, row, place, topics)
            total = self._estimated[topics]
        sums = np.bincount(row, parts, minlength=count)
        return np.asarray(np.divide(sums, total, out=np.zeros(count), where=total > 0))

    def _inferred_precisions(
        self, codes: np.ndarray, flat: np.ndarray, row: np.ndarray, place: np.ndarray, topics: np.ndarray
    ) -> np.ndarray:
        """The terms of xinfAP (core/evaluation/measures/xinfap.py) at relevant shots."""
        own = codes.ravel()[flat]
        seen = np.zeros(len(flat))
        low = (1 << 20) - 1
        for added in self._added:
            above = np.cumsum(added[codes], axis=1).ravel()[flat] - added[own]
            pooled, judged, relevant = above & low, (above >> 20) & low, above >> 40
            seen += pooled * (relevant + EPSILON) / (judged + 3 * EPSILON)
        return np.asarray(self._weights[topics[row], self._stratum[own]] * (1 + seen) / (place + 1))

    def _ideal_gain(self, counts: np.ndarray) -> float:
        gains = np.sort(np.repeat(np.maximum(self.relevance, 0), counts))[::-1]
        # Without a cutoff, the ideal ranking of trec_eval has all relevant shots, also beyond rank 1000.
        gains = gains[: self.depth] if "@" in self.name else gains
        return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def parsed(name: str) -> tuple[str, int]:
    """The kind and the cutoff of a measure. Raises SpecError for one that is not in `OPTIMISED`."""
    kind, at, cutoff = name.partition("@")
    plain = {"xinfap": "xinfAP", "ap": "AP", "map": "AP", "ndcg": "nDCG", "p": "P"}.get(kind.lower(), "")
    well = not at or (cutoff.isascii() and cutoff.isdigit() and 0 < int(cutoff) <= 1_000_000)
    if not plain or not well or (bool(at) and plain in ("xinfAP", "AP")) or (plain == "P" and not at):
        raise SpecError(f"learning to rank cannot optimise {name!r}; choose from {', '.join(OPTIMISED)}")
    return plain, int(cutoff) if at else DEPTH


def mean(values: np.ndarray) -> float:
    """The mean of (T,) values, summed without loss."""
    return math.fsum(values) / len(values)
