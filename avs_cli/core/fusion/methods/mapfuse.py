"""MAPFuse (Lillis, Zhang, Toolan, Collier, Leonard and Dunnion, SIGIR 2010, doi:10.1145/1835449.1835508)."""

from avs_cli.core.fusion.methods._summing import summed
from avs_cli.core.fusion.weights import MEASURE, Weights, weights_of
from avs_cli.types import Run


def fuse(runs: list[Run], weights: Weights = MEASURE) -> Run:
    """Score each shot by the sum of weight / rank over the runs that return it.

    weights  the mean AP of each run on training topics; from sampled judgments, its xinfAP
    """
    known = weights_of("mapfuse", runs, weights)
    return summed(runs, lambda index, scores: [known[index] / rank for rank in range(1, len(scores) + 1)])
