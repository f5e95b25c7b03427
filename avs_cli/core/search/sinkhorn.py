"""Sinkhorn normalisation of the cosines of queries and shots, in passes over a gallery that may exceed the memory.

With entropy `tau`, the plan between queries and shots of equal weights is u exp(cosine / tau) v. The scaling u of a
shot follows from the scalings v of the queries and its own cosines, so only v is computed over the whole gallery (M.
Cuturi, NeurIPS 2013, arXiv:1306.0895).
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch

from avs_cli.core.search.exact import Cosine
from avs_cli.types import Block


def query_scalings(
    queries: np.ndarray, blocks: Callable[[], Iterable[Block]], shots: int, tau: float, iterations: int, cells: int
) -> np.ndarray:
    """(B,) float64 logarithms of the scalings of B queries, v, up to a constant.

    queries     (B, D), not normalised, not zero
    blocks      the shots; called once per iteration
    shots       their number
    iterations  updates of v; u begins uniform
    cells       the number of cosines in memory
    """
    scorer = Cosine(queries)
    step = max(1, cells // scorer.queries)
    scalings = torch.zeros(scorer.queries, dtype=torch.float64)
    for turn in range(iterations):
        total = torch.full_like(scalings, -math.inf)
        for block in blocks():
            for low in range(0, len(block.ids), step):
                scaled = scorer.scan(block.part(low, low + step)).double() / tau
                weights = scaled.new_zeros(scaled.shape[1])
                if turn:
                    weights = -torch.logsumexp(scaled + scalings[:, None], dim=0)
                total = torch.logaddexp(total, torch.logsumexp(scaled + weights, dim=1))
        scalings = math.log(shots / scorer.queries) - total
    return scalings.numpy()
