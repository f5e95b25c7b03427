"""External scores, such as the probability of relevance according to a vision-language model."""

import numpy as np

from avs_cli.core.search.rerankers.candidates import Candidates


def rerank(candidates: Candidates) -> np.ndarray:
    """(K,) the external scores."""
    return candidates.judged()
