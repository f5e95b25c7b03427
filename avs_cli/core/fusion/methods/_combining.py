"""What the combiners share: for every shot, the normalised scores of the runs that return it."""

from collections.abc import Callable, Sequence

from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.types import Run


def combine(runs: Sequence[Run], norm: str, combined: Callable[[list[float]], float]) -> Run:
    """Each shot's scores as one: `combined` of those of the runs that return it, in no particular order."""
    normalise = normalisations.load(norm)
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        evidence: dict[str, list[float]] = {}
        for run in runs:
            for shot, score in normalise(run.get(topic, {})).items():
                evidence.setdefault(shot, []).append(score)
        fused[topic] = {shot: combined(scores) for shot, scores in evidence.items()}
    return fused
