"""The best frame of a shot instead of the mean of its frames, together with the run's score (CLIPRerank: Chen, Zhou,
Wang and Li 2024, arXiv:2401.08449). The authors give the frames a weight of 0.6."""

import numpy as np

from avs_cli.core.reranking._candidates import Candidates
from avs_cli.errors import MismatchError


def rerank(candidates: Candidates) -> np.ndarray:
    """(K,) the highest cosine of the topic and one of the shot's vectors."""
    if candidates.vectors().offsets is None:
        raise MismatchError(
            "framemax needs a gallery with a vector per frame, and this one has one per shot; make it with "
            "`avs extract --pool none`"
        )
    return candidates.cosines()
