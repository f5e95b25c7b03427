"""Merge: runs over disjoint parts of one gallery, as the run over all of it."""

from avs_cli.errors import MismatchError
from avs_cli.types import Run


def fuse(runs: list[Run]) -> Run:
    """Keep the score of each shot, which is comparable over the parts of a gallery that one model searched.

    The order is that of a search, by score and then by id, and so are the best shots of the whole gallery if each run
    is as deep as the result. Raises MismatchError for a shot that has different scores in two runs.
    """
    fused: Run = {}
    for run in runs:
        for topic, scores in run.items():
            whole = fused.setdefault(topic, {})
            for shot in whole.keys() & scores.keys():
                if whole[shot] != scores[shot]:
                    raise MismatchError(
                        f"topic {topic}: shot {shot} has the scores {whole[shot]} and {scores[shot]}; merge takes runs "
                        "over disjoint parts of a gallery, other methods fuse runs over the same shots"
                    )
            whole |= scores
    return fused
