"""Step 2 of learning to rank: what its models see, to which depth they reorder, and the choice of the model.

It is trained on judged shots only. With unpooled shots as not relevant, AP would be higher, but the model would learn
which shots are pooled: there is the same gain for random labels. For the same reason `reach` limits what is reordered.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.core.fusion.ltr import lambdamart, logistic
from avs_cli.core.fusion.ltr.topic_matrix import TopicMatrix, best_first
from avs_cli.types import Fuser

# Chosen on TREC-COVID: with 0.9, the gain is the same and its standard error larger.
JUDGED = 0.95


def features(block: TopicMatrix, step1: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(P, 2R + 10) float32 of the shots at P places: scores and log-ranks of runs, scores of Step 1, agreement of runs.

    step1  (N,) scores of all shots by Step 1
    """
    order = np.empty(len(block.shots), np.intp)
    order[best_first(step1)] = np.arange(1, len(step1) + 1)
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


def fit(
    fuser: Fuser,
    model: str,
    tables: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    seed: int,
    threads: int = 1,
) -> Fuser:
    """The fuser with a model of Step 2, from T topics' features and relevances.

    model  "logistic" for logistic regression, "lambdamart" for LambdaMART
    """
    if model == "lambdamart":
        return replace(fuser, boosters=lambdamart.fit(tables, labels, seed, threads))
    return replace(fuser, coefficients=logistic.fit(tables, labels))


def predict(fuser: Fuser, table: np.ndarray) -> np.ndarray:
    """(P,) scores by Step 2 of a fuser, from the features of P shots."""
    if fuser.boosters:
        return lambdamart.predict(fuser.boosters, table)
    return logistic.predict(fuser.coefficients, table)


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
