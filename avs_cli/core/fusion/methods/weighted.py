"""Weighted sum of runs, with given weights or weights learned from judgments."""

import math

from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.errors import MismatchError, SpecError
from avs_cli.types import Run


class Weights(tuple[float, ...]):
    """Weights in the notation of specs: 2/1/0.5."""

    def __new__(cls, text: str) -> "Weights":
        try:
            return super().__new__(cls, map(float, text.split("/")))
        except ValueError:
            raise SpecError(f"weighted: {text!r} is not a list of weights; expected weighted:weights=2/1/0.5") from None


def fuse(runs: list[Run], weights: Weights | None = None, norm: str = "power") -> Run:
    """Score each shot by the weighted sum of its normalised scores; weights are 1 unless given.

    Raises MismatchError for fewer or more weights than runs.
    """
    given = tuple(weights or (1.0,) * len(runs))
    if len(given) != len(runs):
        raise MismatchError(f"weighted: {len(given)} weights for {len(runs)} runs")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or not any(given):
        raise SpecError("weighted: weights must be at least 0, and not all 0")
    normalise = normalisations.load(norm)
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        parts: dict[str, list[float]] = {}
        for run, weight in zip(runs, given, strict=True):
            for shot, score in normalise(run.get(topic, {})).items():
                parts.setdefault(shot, []).append(weight * score)
        fused[topic] = {shot: math.fsum(part) for shot, part in parts.items()}
    return fused
