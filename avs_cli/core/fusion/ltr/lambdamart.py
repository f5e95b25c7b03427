"""LambdaMART over scores and ranks of the runs (Burges, MSR-TR-2010-82), with XGBoost.

Only training needs XGBoost, which is slow to import and does not validate the models that it loads.
"""

import functools
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

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


class Tree(NamedTuple):
    """A regression tree, node by node: (M,) arrays. A leaf has no children (-1), and its value is its condition."""

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    condition: np.ndarray


def fit(tables: Sequence[np.ndarray], labels: Sequence[np.ndarray], seed: int, threads: int = 1) -> tuple[str, ...]:
    """Boosters of different seeds, in XGBoost's JSON, from T topics' features and relevances; below 0 counts as 0."""
    import xgboost

    matrix = xgboost.DMatrix(np.concatenate(tables), np.maximum(np.concatenate(labels), 0), nthread=1)
    matrix.set_group([len(label) for label in labels])

    def grow(number: int) -> str:
        booster = xgboost.train({**PARAMETERS, "seed": seed * BOOSTERS + number}, matrix, TREES)
        text: str = booster.save_raw("json").decode()
        return text

    with ThreadPoolExecutor(threads) as pool:
        return tuple(pool.map(grow, range(BOOSTERS)))


def predict(boosters: Sequence[str], table: np.ndarray) -> np.ndarray:
    """(P,) mean predictions, up to a constant, of boosters in XGBoost's JSON for the features of P shots."""
    total = np.zeros(len(table))
    rows = np.arange(len(table))
    for booster in boosters:
        for tree in _trees(booster):
            node = np.zeros(len(table), np.intp)
            while (inner := tree.left[node] >= 0).any():
                below = table[rows, tree.feature[node]] < tree.condition[node]
                node = np.where(inner, np.where(below, tree.left[node], tree.right[node]), node)
            total += tree.condition[node]
    return total / len(boosters)


@functools.lru_cache(maxsize=16)
def _trees(booster: str) -> list[Tree]:
    return [
        Tree(
            np.array(tree["left_children"]),
            np.array(tree["right_children"]),
            np.array(tree["split_indices"]),
            np.array(tree["split_conditions"], np.float32),
        )
        for tree in json.loads(booster)["learner"]["gradient_booster"]["model"]["trees"]
    ]
