"""Ranks of caption retrieval: one rule for `train`, `distill` and `eval`."""

import math
import random

import numpy as np
import pytest
import torch
from pytest import approx

from avs_cli.core.evaluation import captions
from avs_cli.core.evaluation.captions import (
    both_ranks_of,
    both_ways,
    measures,
    text_ranks,
    text_ranks_of,
    video_ranks,
)
from avs_cli.core.evaluation.evaluator import CAPTION_MEASURES, Evaluator
from avs_cli.types import Judgment, Qrels, Run


def test_a_rank_is_one_plus_the_number_of_larger_scores_and_nan_is_last() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.1], [0.9, 0.2, 0.2], [math.nan, 0.3, 0.1], [0.1, 0.2, math.nan]])
    assert text_ranks(scores, np.array([0, 1, 1, 2])).tolist() == [1, 2, 2, 3]


def test_a_large_matrix_is_ranked_row_by_row() -> None:
    scores = np.tile(np.arange(5.0), (3000, 1))
    item = np.arange(3000) % 5
    assert text_ranks(scores, item).tolist() == (5 - item).tolist()


def test_a_videos_best_caption_counts() -> None:
    # Two captions of video 0, one of video 1.
    scores = torch.tensor([[0.1, 0.7], [0.9, 0.2], [0.8, 0.6]])
    assert video_ranks(scores, np.array([0, 0, 1])).tolist() == [1, 2]
    # The order of the captions does not matter.
    assert video_ranks(scores[[2, 0, 1]], np.array([1, 0, 0])).tolist() == [1, 2]


@pytest.mark.parametrize("cells", [1, 40, 300, 1799, 1800])
@pytest.mark.parametrize("unknown", [0, 5])
def test_ranks_of_some_scores_at_a_time_are_those_of_the_matrix(
    monkeypatch: pytest.MonkeyPatch, cells: int, unknown: int
) -> None:
    draw = np.random.default_rng(cells)
    item = np.concatenate([draw.permutation(30), draw.integers(0, 30, 30)])
    scores = draw.integers(0, 30, (60, 30)).astype(np.float32)
    scores.flat[draw.integers(0, 1800, unknown)] = np.nan
    sizes: list[int] = []

    def some(which: np.ndarray) -> np.ndarray:
        sizes.append(len(which) * 30)
        return scores[which]

    monkeypatch.setattr(captions, "CELLS", cells)
    assert text_ranks_of(some, item, 30).tolist() == text_ranks(scores, item).tolist()
    # At least the captions of one video are looked at together.
    assert max(sizes) <= max(cells, 30 * np.bincount(item).max())
    found = both_ranks_of(some, item, 30)
    assert [ranks.tolist() for ranks in found] == [
        text_ranks(scores, item).tolist(),
        video_ranks(scores, item).tolist(),
    ]


def test_shares_and_their_sum_in_percent() -> None:
    assert measures(np.array([1, 2, 6, 20])) == {
        "R@1": 0.25, "R@5": 0.5, "R@10": 0.75, "SumR": 150, "MedR": 4, "MeanR": 7.25,
        "mir": approx((1 + 1 / 2 + 1 / 6 + 1 / 20) / 4), "mAP": approx((1 + 1 / 2 + 1 / 6 + 1 / 20) / 4),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_training_distillation_and_evaluation_agree_on_tied_scores(seed: int) -> None:
    """Scores of few different values; SumR and all others are the same number in the three commands."""
    chance = random.Random(seed)
    videos = [f"v{number}" for number in range(30)]
    item = np.array([*range(30), *(chance.randrange(30) for _ in range(30))])
    scores = np.array([[chance.randint(0, 9) / 10 for _ in videos] for _ in item], np.float32)
    qrels: Qrels = {f"c{n}": {videos[own]: Judgment(1)} for n, own in enumerate(item.tolist())}
    run: Run = {f"c{n}": dict(zip(videos, row, strict=True)) for n, row in enumerate(scores.tolist())}
    evaluated = Evaluator(qrels, CAPTION_MEASURES, captions=True).evaluate(run).means
    trained = measures(text_ranks(scores, item))
    assert evaluated == approx({name: trained[name] for name in CAPTION_MEASURES})
    distilled = both_ways(torch.from_numpy(scores).__getitem__, item, scores.shape[1])
    assert {name: distilled[name] for name in ("R@1", "R@5", "R@10", "SumR")} == {
        name: trained[name] for name in ("R@1", "R@5", "R@10", "SumR")
    }
