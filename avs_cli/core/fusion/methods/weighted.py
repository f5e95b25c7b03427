"""Weighted sum of runs, with given weights or weights learned from judgments."""

import math

from avs_cli.core.fusion.methods._combining import gathered
from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.core.fusion.weights import Weights, weights_of
from avs_cli.types import Run


def fuse(runs: list[Run], weights: Weights | None = None, norm: str = "power") -> Run:
    """Score each shot by the weighted sum of its normalised scores; weights are 1 unless given.

    Raises MismatchError for fewer or more weights than runs.
    """
    known, normalise = weights_of("weighted", runs, weights), normalisations.load(norm)
    parts = gathered(
        runs, lambda index, scores: {shot: known[index] * score for shot, score in normalise(scores).items()}
    )
    return {topic: {shot: math.fsum(found) for shot, found in evidence.items()} for topic, evidence, _ in parts}
