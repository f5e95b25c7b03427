"""Objectives: what they forgive and what they ask, by arithmetic."""

import math

import pytest
import torch
from pytest import approx

from avs_cli.core.models.layers import unit
from avs_cli.core.training.objectives import objectives
from avs_cli.core.training.objectives.base import Embedded
from avs_cli.core.training.objectives.triplet import triplet

SPECS = [
    "triplet",
    "triplet:direction=both,spaces=mean",
    "contrastive",
    "contrastive:spaces=each",
    "negation",
    "decorrelated",
]


def pairs(count: int = 4, spaces: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    text, video = (torch.randn(count, spaces, 3, generator=draw) for _ in range(2))
    return torch.nn.functional.normalize(text, dim=2), torch.nn.functional.normalize(video, dim=2)


@pytest.mark.parametrize("spec", SPECS)
def test_pairs_that_match_better_cost_less(spec: str) -> None:
    text, video = pairs()
    loss = objectives.load(spec)()
    assert float(loss(Embedded(text, text, 0.5))) < float(loss(Embedded(text, video, 0.5)))


@pytest.mark.parametrize("spec", SPECS)
def test_captions_of_one_video_are_no_negatives_of_each_other(spec: str) -> None:
    text, video = pairs(4)
    loss = objectives.load(spec)()
    same = torch.tensor([0, 1, 2, 0])
    video = video.index_copy(0, torch.tensor([3]), video[:1])
    # Whatever the twin's text is, the first caption's own terms stay: with two videos in all, nothing is left to pay.
    alone = Embedded(text[[0, 3]], video[[0, 3]], 0.5, same[[0, 3]])
    assert float(loss(alone)) == approx(0, abs=1e-6)
    assert float(loss(Embedded(*alone[:3]))) > 0.1
    assert float(loss(Embedded(text, video, 0.5, same))) < float(loss(Embedded(text, video, 0.5)))


def test_every_objective_is_under_test() -> None:
    assert {spec.partition(":")[0] for spec in SPECS} == set(objectives.names())


def test_the_hardest_negative_decides_and_the_directions_look_along_rows_or_columns() -> None:
    scores = torch.tensor([[[0.5, 0.4], [0.1, 0.9]]])
    same = torch.eye(2, dtype=torch.bool)
    # Rows are texts: 0.2 + 0.4 - 0.5 = 0.1 and 0.2 + 0.1 - 0.9 < 0; columns are videos: 0.2 + 0.1 - 0.5 < 0.
    assert float(triplet(scores, same, 0.2, "t2i", True, False)) == approx(0.1)
    assert float(triplet(scores, same, 0.2, "i2t", True, False)) == approx(0.0)
    assert float(triplet(scores, same, 0.5, "both", True, False)) == approx(0.4 + 0.1, abs=1e-6)


def test_contrastive_loss_of_each_space_is_the_mean_of_the_spaces_own() -> None:
    generator = torch.Generator().manual_seed(0)
    texts, videos = (unit(torch.randn(5, 3, 4, generator=generator)) for _ in range(2))
    each = objectives.load("contrastive:temperature=0.1,spaces=each")()(Embedded(texts, videos, 1 / 3))
    alone = objectives.load("contrastive:temperature=0.1")()
    own = [float(alone(Embedded(texts[:, k : k + 1], videos[:, k : k + 1], 1.0))) for k in range(3)]
    assert float(each) == approx(sum(own) / 3, abs=1e-6)


def test_contrastive_loss_is_the_mean_of_both_cross_entropies() -> None:
    text = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    loss = objectives.load("contrastive:temperature=1")()
    # Scores 1 on the diagonal and 0 beside it: each cross-entropy is log(e + 1) - 1.
    assert float(loss(Embedded(text, text))) == approx(math.log(math.e + 1) - 1)


def test_negated_captions_are_kept_at_a_distance_and_leave_the_video_alone() -> None:
    text, video = (x[:, :1].clone().requires_grad_() for x in pairs(2))
    loss = objectives.load("negation:margin=-9,video_weight=1,text_weight=0")()
    negated = text.detach()[1:]
    # What negates text 1 is text 1 itself: p - f = 0, which lacks 0.1, counted for both of two captions.
    total = loss(Embedded(text, video, 1.0, None, negated, torch.tensor([1])))
    assert float(total.detach()) == approx(0.2, abs=1e-6)
    total.backward()
    assert video.grad is None or not video.grad.any()
    assert text.grad is not None
    assert text.grad[1].any()


def test_without_negated_captions_negation_is_triplet() -> None:
    batch = Embedded(*pairs(), 0.5)
    assert float(objectives.load("negation")()(batch)) == approx(float(objectives.load("triplet")()(batch)))


SCORES = torch.tensor(
    [
        [[0.9, 0.1, 0.2, 0.6], [0.3, 0.8, 0.1, 0.2], [0.4, 0.1, 0.7, 0.2], [0.0, 0.2, 0.3, 0.5]],
        [[0.6, 0.5, 0.1, 0.3], [0.2, 0.9, 0.3, 0.1], [0.2, 0.4, 0.4, 0.6], [0.3, 0.1, 0.3, 0.9]],
    ]
)


def test_spaces_correlate_over_the_negatives_of_a_text_alone() -> None:
    from avs_cli.core.training.objectives.decorrelated import correlation

    same = torch.eye(4, dtype=torch.bool)
    same[0, 3] = same[3, 0] = True
    found = correlation(SCORES, same)
    for row in range(4):
        others = SCORES[:, row, ~same[row]]
        assert torch.allclose(found[row], torch.corrcoef(others), atol=1e-5)
    # The scores of text 0 with its negatives fall and rise: .1 .2 and .5 .1.
    assert float(found[0, 0, 1]) == approx(-1)
    assert not correlation(SCORES.new_ones(2, 4, 4), same).any()


@pytest.mark.parametrize(("fairness", "decorrelation"), [(0.0, 0.0), (0.05, 0.0), (0.0, 2.0)])
def test_the_decorrelated_loss_has_the_two_terms_and_without_them_is_the_triplet_loss(
    fairness: float, decorrelation: float
) -> None:
    loss = objectives.load(f"decorrelated:fairness={fairness},decorrelation={decorrelation}")()
    same = torch.eye(4, dtype=torch.bool)
    lacking = [
        [
            max(0.0, 0.2 + float(max(s for k, s in enumerate(row) if k != n)) - float(row[n]))
            for n, row in enumerate(one)
        ]
        for one in SCORES
    ]
    sums = [sum(one) for one in lacking]
    expected = sum(sums)
    if fairness:
        means = [one / 4 / fairness for one in sums]
        expected = 2 * 4 * fairness * (math.log(math.exp(means[0]) + math.exp(means[1])) - math.log(2))
    if decorrelation:
        pairs = [torch.corrcoef(SCORES[:, row, ~same[row]])[0, 1] for row in range(4)]
        expected += decorrelation * float(sum(one**2 for one in pairs))
    # Vectors whose cosines are the scores.
    texts = torch.eye(4)[:, None].expand(4, 2, 4)
    assert float(loss(Embedded(texts, SCORES.permute(2, 0, 1)))) == approx(expected, abs=1e-5)
