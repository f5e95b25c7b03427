"""Verdicts of a vision-language model that looks at the frames of each shot: the log-odds that it fits the topic.

See `core.judges` for the models. Shots with the same verdict keep the order of the run.
"""

from typing import Literal

import numpy as np

from avs_cli.core.search.rerankers.candidates import Candidates
from avs_cli.types import Seeing

# Of each topic, the shots that are judged where users give no number: every verdict is a pass of a large network.
DEPTH = 100


def weight(queries: bool) -> float:
    """All: judged shots are in the order of their verdicts."""
    return 1.0


def rerank(
    candidates: Candidates,
    model: str = "qwen3-vl-reranker",
    frames: int = 4,
    layout: Literal["frames", "sheet"] = "frames",
    size: int = 448,
) -> np.ndarray:
    """(K,) log-odds; `model`: the judge; `frames` of a shot, with a long side of `size`, in a row or on a sheet."""
    odds = candidates.log_odds(Seeing(model, frames, layout, size))
    values, which, counts = np.unique(odds, return_inverse=True, return_counts=True)
    # Equal ones differ by less than the smallest difference of two others.
    step = (np.diff(values).min() if len(values) > 1 else 1.0) / (2 * len(odds))
    order = np.lexsort((-candidates.scores, which))
    place = np.empty(len(odds))
    place[order] = np.arange(len(odds)) - (np.cumsum(counts) - counts)[which[order]]
    return np.asarray(odds - step * place)
