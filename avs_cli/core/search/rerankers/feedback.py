"""Relevance feedback: shots that resemble those judged relevant and not those judged irrelevant.

`rocchio` scores by the cosine with the query, moved by the judged shots (without topics: with what the judged shots
make); `nearest` by the cosine with the nearest relevant shot less that with the nearest irrelevant one. See
`core.search.feedback`.
"""

from typing import Literal

import numpy as np

from avs_cli.core.search.exact import Cosine
from avs_cli.core.search.feedback import DISLIKE, LIKE, moved, preferences
from avs_cli.core.search.rerankers.candidates import Candidates, check_least


def weight(queries: bool) -> float:
    """More where the query was moved than where the run alone knows it; both by simulated users, as LIKE."""
    return 0.75 if queries else 0.5


def rerank(
    candidates: Candidates,
    kind: Literal["rocchio", "nearest"] = "rocchio",
    like: float = LIKE,
    dislike: float = DISLIKE,
) -> np.ndarray:
    """(K,) cosines with the moved query, or preferences; `like`, `dislike`: weights of the judged shots."""
    check_least("feedback", 0, like=like, dislike=dislike)
    block, marks = candidates.vectors(), candidates.marked()
    if kind == "nearest":
        return preferences(candidates.units(), marks.liked, marks.disliked, like, dislike)
    query = moved(candidates.topic(), marks.liked, marks.disliked, like, dislike)
    if not query.any():
        return np.zeros(len(block.ids))
    places = np.arange(len(block.ids))
    return Cosine(query[None]).exact(block, np.zeros_like(places), places).astype(np.float64)
