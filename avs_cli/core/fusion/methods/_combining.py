"""Common part of the Comb methods: the normalised scores of each shot in the runs that return it.

A run that returns nothing for a topic, such as one of texts, has no part in that topic: the others rank it alone.
"""

from collections.abc import Callable, Sequence

from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.types import Run


def combine(runs: Sequence[Run], norm: str, combined: Callable[[list[float], int], float]) -> Run:
    """Combine the scores of each shot.

    combined  gets those of the runs that return the shot, in any order, and how many return something for the topic
    """
    normalise = normalisations.load(norm)
    fused: Run = {}
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        evidence: dict[str, list[float]] = {}
        for run in runs:
            for shot, score in normalise(run.get(topic, {})).items():
                evidence.setdefault(shot, []).append(score)
        answering = sum(bool(run.get(topic)) for run in runs)
        fused[topic] = {shot: combined(scores, answering) for shot, scores in evidence.items()}
    return fused
