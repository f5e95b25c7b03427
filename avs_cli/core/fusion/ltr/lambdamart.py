"""Predictions of the trees of fusers of earlier versions, which learned Step 2 by LambdaMART."""

import functools
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Tree(NamedTuple):
    """A regression tree, node by node: (M,) arrays. A leaf has no children (-1), and its value is its condition."""

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    condition: np.ndarray


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
