"""Weighted MNZ (Wu and Crestani, CIKM 2002, doi:10.1145/584792.584908): CombMNZ that counts weights, not runs."""

import math

from avs_cli.core.fusion.methods._combining import gathered
from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.core.fusion.weights import MEASURE, Weights, weights_of
from avs_cli.types import Run


def fuse(runs: list[Run], weights: Weights = MEASURE, norm: str = "minmax") -> Run:
    """Score each shot by the sum of its normalised scores, times the sum of the weights of the runs that return it."""
    known, normalise = weights_of("wmnz", runs, weights), normalisations.load(norm)
    pairs = gathered(
        runs, lambda index, scores: {shot: (score, known[index]) for shot, score in normalise(scores).items()}
    )
    return {
        topic: {
            shot: math.fsum(score for score, _ in found) * math.fsum(weight for _, weight in found)
            for shot, found in evidence.items()
        }
        for topic, evidence, _ in pairs
    }
