"""Logistic regression over scores and ranks of the runs: whether a shot is relevant, given that it is judged.

It is trained on judged shots only. With unpooled shots as not relevant, AP would be higher, but the model would learn
which shots are pooled: there is the same gain for random labels. For the same reason `reach` limits what is reordered.

Gain in AP over Step 1, out of fold: +.0047 (p .03) on 90 topics of Flickr8k (38 runs) that no choice was made on; on
data that choices were made on, +.0052 (p .0001) on 60 other topics there, and +.0071 (p .014, about 80 variants tried)
on TREC-COVID (43 runs, 30 topics, mean of five splits). Random labels: -.0008 ± .0007. LambdaMART to any depth gained
.000 on TREC-COVID, and .016 where unjudged shots are left out; trees to the same depth gained no less than this there,
and nothing on Flickr8k. Monotone constraints lose most of the gain on TREC-COVID, where correlated runs correct each
other. Step 1's scores of visual neighbours as a further feature changed AP by -.0003 to +.0014.
"""

from collections.abc import Sequence

import numpy as np

from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.core.fusion.ltr.topic_matrix import TopicMatrix

# Chosen on 60 topics of Flickr8k.
RIDGE = 0.03
# Chosen on TREC-COVID: with 0.9, the gain is the same and its standard error larger.
JUDGED = 0.95
_STEPS, _EXACT = 25, 1e-8


def features(block: TopicMatrix, step1: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(P, 2R + 10) float32 of the shots at P places: scores and log-ranks of runs, scores of Step 1, agreement of runs.

    step1  (N,) scores of all shots by Step 1
    """
    order = np.empty(len(block.shots), np.intp)
    order[np.lexsort((np.arange(len(step1)), -step1))] = np.arange(1, len(step1) + 1)
    ranks = block.ranks[:, places]
    # Missing shots have a rank beyond the end of the run.
    logs = np.log2(np.where(ranks, ranks, 2 * DEPTH)).astype(np.float32)
    scores, discounted = block.scores[:, places], block.evidence("power", places)
    # A run that returns nothing for the topic, such as one of texts, says nothing about the agreement of the others.
    answering = block.ranks.any(axis=1)
    own_logs, own_scores, own_discounted = logs[answering], scores[answering], discounted[answering]
    several = [
        step1[places],
        np.log2(order[places]),
        (ranks[answering] > 0).mean(axis=0),
        own_logs.min(axis=0),
        own_logs.mean(axis=0),
        np.median(own_logs, axis=0),
        own_scores.mean(axis=0),
        own_scores.max(axis=0),
        own_discounted.mean(axis=0),
        own_discounted.std(axis=0),
    ]
    return np.concatenate([scores, logs, np.array(several, np.float32)]).T


def fit(tables: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> tuple[float, ...]:
    """One coefficient per feature, from T topics' features and relevances; a relevance above 0 is relevant.

    The loss is the mean over the topics of the mean over their shots, plus `RIDGE` / 2 times the squared norm of the
    coefficients of standardised features. Newton's method.
    """
    weights = np.concatenate([np.full(len(label), 1 / max(1, len(label))) for label in labels]) / max(1, len(labels))
    relevant = np.concatenate(labels) > 0
    count = int(tables[0].shape[1])
    if relevant.all() or not relevant.any():
        return (0.0,) * count
    table = np.concatenate(tables).astype(np.float64)
    scale = table.std(axis=0)
    scale[scale < _EXACT] = np.inf  # a constant feature says nothing
    rows = np.column_stack([(table - table.mean(axis=0)) / scale, np.ones(len(table))])
    penalty = np.append(np.full(count, RIDGE), 0.0)
    found = np.zeros(count + 1)
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-(rows @ found)))
        slope = rows.T @ (weights * (chances - relevant)) + penalty * found
        curvature = (rows * (weights * chances * (1 - chances))[:, None]).T @ rows + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        found -= step
        if np.abs(step).max() < _EXACT:
            break
    # Rounded, as the last digits of sums depend on the machine and its number of threads.
    return tuple(float(f"{value:.6g}") for value in found[:-1] / scale)


def predict(coefficients: Sequence[float], table: np.ndarray) -> np.ndarray:
    """(P,) log-odds, up to a constant, from the features of P shots, added one by one in a fixed order."""
    total = np.zeros(len(table))
    for coefficient, column in zip(coefficients, table.T, strict=True):
        total += coefficient * column
    return total


def reach(judged: Sequence[np.ndarray]) -> int:
    """The greatest depth to which the share of judged shots is at least `JUDGED`; at least 1, at most `DEPTH`.

    What is learned from judged shots holds where shots are judged. Below that, it lifts unjudged shots.

    judged  for each topic, whether the shots are judged, in the order of Step 1
    """
    longest = min(DEPTH, max(map(len, judged)))
    found, there = np.zeros(longest), np.zeros(longest)
    for topic in judged:
        own = topic[:longest]
        found[: len(own)] += own
        there[: len(own)] += 1
    enough = np.flatnonzero(np.cumsum(found) >= JUDGED * np.cumsum(there))
    if not len(enough):
        return 1
    # To the end of all rankings is to the end of longer ones, too.
    return DEPTH if enough[-1] + 1 == longest else int(enough[-1]) + 1
