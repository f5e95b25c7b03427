"""Mixed fusion (Wu and Crestani, CIKM 2002, doi:10.1145/584792.584908): between a weighted sum and a weighted MNZ."""

import math

from avs_cli.core.fusion.methods._combining import gathered
from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.core.fusion.weights import MEASURE, Weights, weights_of
from avs_cli.types import Run


def fuse(runs: list[Run], weights: Weights = MEASURE, norm: str = "minmax") -> Run:
    """Score each shot by the weighted sum of its normalised scores, times √(number of runs that return it)."""
    known, normalise = weights_of("mixed", runs, weights), normalisations.load(norm)
    parts = gathered(
        runs, lambda index, scores: {shot: known[index] * score for shot, score in normalise(scores).items()}
    )
    return {
        topic: {shot: math.fsum(found) * math.sqrt(len(found)) for shot, found in evidence.items()}
        for topic, evidence, _ in parts
    }
