"""Common part of methods: what the runs that return a shot say about it."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from avs_cli.core.fusion.normalisation import normalisations
from avs_cli.types import Run

Evidence = TypeVar("Evidence")


def gathered(
    runs: Sequence[Run], values: Callable[[int, Mapping[str, float]], Mapping[str, Evidence]]
) -> Iterator[tuple[str, dict[str, list[Evidence]], int]]:
    """For each topic: its id, the values of each shot in the runs that return it, and the number of runs that count.

    values  maps the index of a run and its scores for the topic to one value per shot
    A run counts for a topic if it returns any shot: one of texts may find nothing, which says nothing about any shot.
    """
    for topic in dict.fromkeys(topic for run in runs for topic in run):
        evidence: defaultdict[str, list[Evidence]] = defaultdict(list)
        count = 0
        for index, run in enumerate(runs):
            scores = run.get(topic)
            if scores:
                count += 1
                for shot, value in values(index, scores).items():
                    evidence[shot].append(value)
        yield topic, evidence, count


def combine(runs: Sequence[Run], norm: str, combined: Callable[[list[float], int], float]) -> Run:
    """Combine the normalised scores of each shot.

    combined  gets those of the runs that return the shot, in any order, and the number of runs that return any shot
    """
    normalise = normalisations.load(norm)
    return {
        topic: {shot: combined(scores, count) for shot, scores in evidence.items()}
        for topic, evidence, count in gathered(runs, lambda _, scores: normalise(scores))
    }
