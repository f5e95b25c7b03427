"""Folds of a topic set for cross-validation."""

from collections.abc import Sequence

import numpy as np

from avs_cli.errors import MismatchError

# The first topic of each edition of TRECVID's AVS task; 591-610 and 681-700 are progress topics of several years.
AVS_EDITIONS = (501, 531, 561, 591, 611, 641, 661, 681, 701, 731, 751, 771, 791)


def split(topics: Sequence[str], folds: int, seed: int) -> list[list[str]]:
    """Split topics at random into `folds` parts of nearly equal size, or one per topic if there are fewer.

    The result does not depend on the order of `topics`. Raises MismatchError for fewer than two topics.
    """
    if len(topics) < 2:
        raise MismatchError(
            f"{len(topics)} judged topic: out-of-fold rankings need at least two; judge another one, or rerank "
            "this one by its judgments (avs rerank --method feedback)"
        )
    order = np.random.default_rng(seed).permutation(sorted(topics)).tolist()
    return [sorted(order[start::folds]) for start in range(min(folds, len(order)))]


def by_year(topics: Sequence[str]) -> list[list[str]]:
    """Split topics by the edition of TRECVID's AVS task of their numbers.

    Raises MismatchError for other ids, and if all topics are of one edition.
    """
    parts: dict[int, list[str]] = {}
    for topic in sorted(topics):
        number = int(topic[-3:]) if topic.isascii() and topic.isdigit() and len(topic) in (3, 4) else 0
        edition = max((first for first in AVS_EDITIONS if first <= number), default=0)
        if not edition or edition == AVS_EDITIONS[-1] or (len(topic) == 4 and topic[0] != "1"):
            raise MismatchError(
                f"by-year: topic {topic} is not an AVS topic of TRECVID; use --folds K for other topics"
            )
        parts.setdefault(edition, []).append(topic)
    if len(parts) < 2:
        raise MismatchError("by-year: all judged topics are from one edition; use --folds K to split them at random")
    return [parts[edition] for edition in sorted(parts)]
