"""Common part of the Comb methods: the normalised scores of each shot in the runs that return it."""

from collections.abc import Callable, Sequence

from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.types import Run


def combine(runs: Sequence[Run], norm: str, combined: Callable[[list[float]], float]) -> Run:
    """Combine the scores of each shot: `combined` gets those of the runs that return it, in any order."""
    normalise = normalisations.load(norm)
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        evidence: dict[str, list[float]] = {}
        for run in runs:
            for shot, score in normalise(run.get(topic, {})).items():
                evidence.setdefault(shot, []).append(score)
        fused[topic] = {shot: combined(scores) for shot, scores in evidence.items()}
    return fused
