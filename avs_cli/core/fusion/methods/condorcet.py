"""Condorcet fusion, and weighted Condorcet fusion (Montague and Aslam, CIKM 2002, doi:10.1145/584792.584881).

A shot beats another if the runs that rank it higher weigh more than those that rank it lower. A run ranks a shot that
it does not return below all others, and says nothing about two of them. Majorities may be cyclic, so the paper sorts
shots such that none is beaten by the next one; there are many such orders, and which one a sort finds depends on the
order of its input. Ours is unique: it starts from the order by `borda`, ties by descending shot id, and inserts shots
from the best to the last one, each above those at the end that it beats (local Kemenization of Dwork, Kumar, Naor and
Sivakumar, WWW 2001, doi:10.1145/371920.372165). So a shot that beats all others is first, and of two groups where each
shot of one beats each of the other, all of the former are above.

In ranx, a tie counts for either shot, depending on which is compared with which, and so does a run that returns
neither; its order depends on that of the runs. Without ties and cycles, the order is the same.
"""

import numpy as np

from avs_cli.core.fusion.weights import Weights, weights_of
from avs_cli.types import Run, ranked

# Shots compared at once when one is inserted; most move little.
_BLOCK = 16


def fuse(runs: list[Run], weights: Weights | None = None) -> Run:
    """Score n shots from n to 1, in an order where no shot is beaten by the next one.

    weights  of the runs' votes, rounded to multiples of 2^-40 of the greatest; 1 unless given
    """
    known = weights_of("condorcet", runs, weights)
    votes = np.array([round(weight / max(known) * 2**40) for weight in known], np.int64)  # sums are exact
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        shots = sorted({shot for run in runs for shot in run.get(topic, ())}, reverse=True)
        places = {shot: place for place, shot in enumerate(shots)}
        ranks = np.full((len(shots), len(runs)), len(shots), np.int32)
        for index, run in enumerate(runs):
            ranking = ranked(run.get(topic, {}))
            ranks[[places[shot] for shot in ranking], index] = np.arange(len(ranking))
        start = np.argsort(-((len(shots) - ranks) @ votes), kind="stable")
        order = start[_inserted(ranks[start], votes)]
        fused[topic] = {shots[place]: float(len(shots) - n) for n, place in enumerate(order.tolist())}
    return fused


def _inserted(ranks: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """(N,) rows of (N, R) ranks, each inserted above those before it, from the last one, that it beats."""
    order = np.arange(len(ranks))
    beats = np.sign(ranks[:-1] - ranks[1:]) @ votes > 0  # the row before it
    for row in range(1, len(ranks)):
        if order[row - 1] == row - 1 and not beats[row - 1]:
            continue
        end, block = row, _BLOCK
        while end:
            above = order[max(0, end - block) : end]
            lost = np.flatnonzero(np.sign(ranks[above] - ranks[row]) @ votes <= 0)
            if len(lost):
                end = end - len(above) + int(lost[-1]) + 1
                break
            end, block = end - len(above), 2 * block
        order[end + 1 : row + 1] = order[end:row]
        order[end] = row
    return order
