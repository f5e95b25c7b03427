"""Validation of a head during training: on captions, or on topics with judgments."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from avs_cli.core.evaluation.captions import both_ways, measures, text_ranks_of
from avs_cli.core.evaluation.evaluator import Evaluator
from avs_cli.core.models.layers import Head
from avs_cli.core.training.pairs import Pairs, score_matrix, scores_of
from avs_cli.errors import MismatchError
from avs_cli.io.text.topics import align_topics, read_topics
from avs_cli.io.text.trec import read_qrels
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.training_data import TrainingData

# Shots without a judgment that join those of topics without an irrelevant one, at most.
OTHERS = 1000
# Metrics of retrieval in both directions that may choose the best epoch.
TwoWayMetric = Literal["R@1", "R@5", "R@10", "SumR"]


class Validation(Protocol):
    """Validation of a model; higher is better for `metric`, one of the values."""

    metric: str

    def values(self, model: Any) -> dict[str, float]:
        """All validation values."""
        ...


class HeadValidation(Validation, Protocol):
    """Validation of a head on captions (or topics) and videos."""

    pairs: Pairs


class CaptionValidation:
    """Text-to-video retrieval on captions: mir, mAP or SumR."""

    def __init__(self, pairs: Pairs, metric: str):
        self.pairs, self.metric = pairs, metric

    def values(self, model: Head) -> dict[str, float]:
        """The value of the metric."""
        ranks = text_ranks_of(scores_of(model, self.pairs), self.pairs.item, len(self.pairs.items))
        return {self.metric: measures(ranks)[self.metric]}


class TwoWayValidation:
    """Text-to-video and video-to-text retrieval on captions."""

    def __init__(self, pairs: Pairs, metric: str):
        self.pairs, self.metric = pairs, metric

    def values(self, model: Head) -> dict[str, float]:
        """R@1, R@5 and R@10 in both directions, and their sum in percent."""
        return both_ways(scores_of(model, self.pairs), self.pairs.item, len(self.pairs.items))


class TopicValidation:
    """Retrieval for judged topics: any measure of `core.evaluation`, over the judged shots in the video stores.

    Where a topic has no shot that is judged irrelevant, as may be so of a user's marks, shots without a judgment join
    them.
    """

    def __init__(self, data: TrainingData, files: Sequence[str], qrels: str, metric: str, report: Reporter = LOGGED):
        """files  topics

        Raises MismatchError when no judged topic, no judged shot or no relevant shot is in the stores.
        """
        self.metric = metric
        judgments = read_qrels(qrels)
        listed = {topic.id: topic for name in files for topic in read_topics(name)}
        aligned, renamed = align_topics(listed, judgments)
        if renamed:
            report.note(renamed)
        judged = {id: topic for id, topic in aligned.items() if id in judgments}
        topics = data.stored_topics(judged, ", ".join(files))
        pool = sorted({shot for topic in topics for shot in judgments[topic]})
        shots = data.complete_items(pool)
        if not shots:
            raise MismatchError(
                f"{qrels} judges no shot of the --validate topics in the video stores; if they are in another "
                "store, add it with --video STORE"
            )
        held = {shot: None for shot in shots}
        judged_as = {
            topic: {one.relevance for shot, one in judgments[topic].items() if shot in held} for topic in topics
        }
        if all(max(grades, default=0) <= 0 for grades in judged_as.values()):
            raise MismatchError(
                f"{qrels} judges no shot relevant to the --validate topics, so no head is better than another"
            )
        if liked := [topic for topic, grades in judged_as.items() if grades and min(grades) > 0]:
            shots = sorted(held | dict.fromkeys(data.some_items(OTHERS)))
            report.note(
                f"{qrels} judges no shot irrelevant to {len(liked)} of {len(topics)} topics: {len(shots) - len(held)} "
                "shots without a judgment count as irrelevant"
            )
        self.evaluator = Evaluator({topic: judgments[topic] for topic in topics}, [metric])
        self.topics = [*topics]
        ids, sentences = zip(*((topic.id, topic.query) for topic in topics.values()), strict=True)
        self.pairs = data.pairs_of(ids, sentences, shots, np.zeros(len(topics), np.int64))

    def values(self, model: Head) -> dict[str, float]:
        """The mean of the measure over topics."""
        rows = zip(self.topics, score_matrix(model, self.pairs).tolist(), strict=True)
        run = {topic: dict(zip(self.pairs.items, row, strict=True)) for topic, row in rows}
        means = self.evaluator.evaluate(run).means
        return {self.metric: float(next(iter(means.values())))}
