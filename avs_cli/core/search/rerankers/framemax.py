"""The maximum cosine over the frames of a shot instead of the mean frame (CLIPRerank: Chen, Zhou, Wang and Li 2024,
arXiv:2401.08449). The authors use weight 0.6."""

import numpy as np

from avs_cli.core.search.rerankers.candidates import Candidates
from avs_cli.errors import MismatchError


def rerank(candidates: Candidates) -> np.ndarray:
    """(K,) maximum cosine of the topic and the vectors of each shot."""
    if candidates.vectors().offsets is None:
        raise MismatchError(
            "framemax needs a frame-level gallery, and this one has one vector per shot; create it with "
            "avs extract --pool none"
        )
    return candidates.cosines()
