"""LambdaMART over scores and ranks of the runs (Burges, MSR-TR-2010-82), with XGBoost.

It is trained on judged shots only. With unpooled shots as not relevant, AP would be higher, but the trees would learn
which shots are pooled: there is a gain even for random labels.
"""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xgboost

from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.core.fusion.ltr.topic_matrix import TopicMatrix

# Few topics allow only few and shallow trees, with subsampled shots and features.
PARAMETERS = {
    "objective": "rank:ndcg",
    "lambdarank_pair_method": "mean",
    "lambdarank_num_pair_per_sample": 1,
    "ndcg_exp_gain": False,
    "eta": 0.15,
    "max_depth": 4,
    "subsample": 0.7,
    "colsample_bytree": 0.3,
    "reg_lambda": 5,
    "max_bin": 32,
    "tree_method": "hist",
    # Floating-point sums depend on the number of threads, so boosters run in parallel instead.
    "nthread": 1,
    "verbosity": 0,
}
TREES = 50
BOOSTERS = 2


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


def fit(
    tables: Sequence[np.ndarray], labels: Sequence[np.ndarray], seed: int, boosters: int = BOOSTERS, threads: int = 1
) -> tuple[str, ...]:
    """Boosters of different seeds, in XGBoost's JSON, from T topics' features and relevances; below 0 counts as 0."""
    matrix = xgboost.DMatrix(np.concatenate(tables), np.maximum(np.concatenate(labels), 0), nthread=1)
    matrix.set_group([len(label) for label in labels])

    def grow(number: int) -> str:
        booster = xgboost.train({**PARAMETERS, "seed": seed * BOOSTERS + number}, matrix, TREES)
        text: str = booster.save_raw("json").decode()
        return text

    with ThreadPoolExecutor(threads) as pool:
        return tuple(pool.map(grow, range(boosters)))


def predict(boosters: Sequence[str], table: np.ndarray) -> np.ndarray:
    """(P,) mean predictions of the boosters for the features of P shots."""
    matrix = xgboost.DMatrix(table, nthread=1)
    total = sum(_loaded(booster).predict(matrix).astype(np.float64) for booster in boosters)
    return np.asarray(total / len(boosters))


@functools.lru_cache(maxsize=16)
def _loaded(text: str) -> xgboost.Booster:
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(text, "utf-8"))
    return booster
