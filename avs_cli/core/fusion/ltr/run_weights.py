"""One weight per run, by coordinate ascent on the measure itself.

Coordinate ascent for linear rankers: Metzler and Croft, Information Retrieval 2007, doi:10.1007/s10791-006-9019-z. This
version is regularised for few topics: weights are averaged over several ascents, each without one third of the topics,
in random order, and with one pass over the runs (more passes fit the training topics better, and others no better). So
there are out-of-sample weights for each topic, and these select the input: a discount of ranks, or scores.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.core.fusion.ltr.batched import BatchedMeasure
from avs_cli.core.fusion.ltr.topic_matrix import TopicMatrix
from avs_cli.types import FUSER_INPUTS

GRID = np.array([0, 0.125, 0.25, 0.5, 1, 2], np.float32)
PARTS = 3
ROUNDS = 3


class RunWeights(NamedTuple):
    """The result of coordinate ascent.

    kind      the input, one of `FUSER_INPUTS`
    weights   (R,), with sum 1
    left_out  (T, R) for each training topic, the mean weights of the ascents without it
    """

    kind: str
    weights: np.ndarray
    left_out: np.ndarray


class BestShots(NamedTuple):
    """The top M shots of T topics by an unweighted sum, in one array.

    evidence  (R, T, M) float32; padded with 0
    codes     (T, M) int32, judgments as coded by `BatchedMeasure`
    """

    evidence: np.ndarray
    codes: np.ndarray


def learn(blocks: Sequence[TopicMatrix], measure: BatchedMeasure, seed: int) -> RunWeights:
    """Learn weights of the runs from T judged topics, those of `measure`."""
    rng = np.random.default_rng(seed)
    topics, runs = len(blocks), len(blocks[0].ranks)
    parts = [rng.permutation(topics) % min(PARTS, topics) for _ in range(ROUNDS)]
    codes = [measure.coded(block) for block in blocks]
    best, chosen = -1.0, ""
    for kind in FUSER_INPUTS:
        candidates = _candidates(blocks, codes, kind)
        ascents = _round(candidates, measure, parts[0], rng)
        value = sum(
            measure.values(_order(left_out, candidates, part == number), np.flatnonzero(part == number)).sum()
            for part, number, left_out in ((parts[0], number, weights) for number, weights in enumerate(ascents))
        )
        if value > best:
            best, chosen, kept, found = value, kind, candidates, ascents
    weights, unseen = list(found), [parts[0] == number for number in range(len(found))]
    for part in parts[1:]:
        more = _round(kept, measure, part, rng)
        weights += more
        unseen += [part == number for number in range(len(more))]
    table, mask = np.array(weights), np.array(unseen, dtype=float)  # (A, R), (A, T)
    if topics == 1:
        return RunWeights(chosen, table.mean(axis=0), np.full((1, runs), 1 / runs))
    return RunWeights(chosen, table.mean(axis=0), mask.T @ table / mask.sum(axis=0)[:, None])


def _candidates(blocks: Sequence[TopicMatrix], codes: Sequence[np.ndarray], kind: str) -> BestShots:
    count = min(DEPTH, max(len(block.shots) for block in blocks))
    evidence = np.zeros((len(blocks[0].ranks), len(blocks), count), np.float32)
    kept = np.zeros((len(blocks), count), np.int32)
    for topic, (block, coded) in enumerate(zip(blocks, codes, strict=True)):
        best = block.leading[kind]
        evidence[:, topic, : len(best)] = block.evidence(kind, best)
        kept[topic, : len(best)] = coded[best]
    return BestShots(evidence, kept)


def _round(
    candidates: BestShots, measure: BatchedMeasure, part: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """One ascent per part of the topics, on the other parts; a single topic is its own training set."""
    alone = len(part) == 1
    return [_ascend(candidates, measure, (part != number) | alone, rng) for number in range(part.max() + 1)]


def _ascend(candidates: BestShots, measure: BatchedMeasure, seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(R,) weights by coordinate ascent from equal weights; with sum 1."""
    topics = np.flatnonzero(seen)
    evidence, codes = candidates.evidence[:, topics], candidates.codes[topics]
    runs = len(evidence)
    weights = np.ones(runs, np.float32)
    score = evidence.sum(axis=0)
    best = 0.0  # topics without a relevant shot leave the weights equal
    for run in rng.permutation(runs):
        rest = score - weights[run] * evidence[run]
        # The value of the current weight is known after the first run.
        moves = GRID[weights[run] != GRID] if best else GRID
        scores = rest + moves[:, None, None] * evidence[run]  # (moves, T, M)
        ranking = sorted_codes(scores, codes, runs * GRID[-1])
        values = measure.values(ranking.reshape(len(moves) * len(topics), -1), np.tile(topics, len(moves)))
        values = values.reshape(len(moves), -1).mean(axis=1)
        if np.count_nonzero(weights) == 1 and weights[run]:
            values[moves == 0] = -1.0  # at least one weight must be positive
        move = int(values.argmax())
        if values[move] > best + 1e-12:
            best, weights[run] = float(values[move]), moves[move]
            score = rest + moves[move] * evidence[run]
    return np.asarray(weights / weights.sum(), np.float64)


def _order(weights: np.ndarray, candidates: BestShots, some: np.ndarray) -> np.ndarray:
    scores = np.tensordot(weights.astype(np.float32), candidates.evidence[:, some], 1)
    return sorted_codes(scores, candidates.codes[some], 1.0)


def sorted_codes(scores: np.ndarray, codes: np.ndarray, most: float) -> np.ndarray:
    """Codes in the order of the scores, best first.

    One sort of integers: the score, from 0 to `most`, in the high bits, and the code of the judgment in the low bits.
    This takes a third of the time of an argsort and a lookup, and is deterministic on all machines.
    """
    bits = int(codes.max(initial=1)).bit_length()
    keys = (scores * np.float32(-(2.0 ** (30 - bits)) / most)).astype(np.int32) << bits
    keys |= codes
    keys.sort(axis=-1)
    return keys & ((1 << bits) - 1)
