"""Scores from elsewhere, such as the probability with which a large model says that a shot shows what was asked for."""

import numpy as np

from avs_cli.core.reranking._candidates import Candidates


def rerank(candidates: Candidates) -> np.ndarray:
    """(K,) those scores."""
    return candidates.judged()
