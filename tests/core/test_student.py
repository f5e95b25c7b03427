"""TeachCLIP's student and what it is trained with; what the authors' code says is in parity/test_teachclip.py."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pytest import approx
from torch import nn

from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.sampling import kept, one_a_second, padded
from avs_cli.core.models.clip.temporal import Student
from avs_cli.core.models.clip.towers import freeze
from avs_cli.core.training.bert_adam import BertAdam, WarmupCosine, parameter_groups
from avs_cli.core.training.distillation import Recipe, Targets, distill
from avs_cli.core.training.loop import fit, optimizer_arrays, restore_optimizer
from avs_cli.errors import MismatchError

MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])


def frames(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(seed))


def student(**settings: object) -> Student:
    torch.manual_seed(0)
    return Student(8, layers=1, **settings).eval()  # type: ignore[arg-type]


def test_padding_counts_as_published_unless_it_is_masked() -> None:
    seen, other = frames(), frames()
    other[MASK == 0] = 5.0
    for masked in (False, True):
        model = student(masked=masked)
        first, second = model(seen, MASK), model(other, MASK)
        assert torch.allclose(first.vectors, second.vectors) == masked
        assert first.weights is not None
        assert bool((first.weights[MASK == 0] == 0).all()) == masked
        torch.testing.assert_close(first.weights.sum(1), torch.ones(2))


def test_clip4clips_means_never_see_padding() -> None:
    other = frames()
    other[MASK == 0] = 5.0
    for header in ("seqtransf", "meanp"):
        model = student(header=header, pooling="mean")
        torch.testing.assert_close(model(frames(), MASK).vectors, model(other, MASK).vectors)
        assert model(frames(), MASK).weights is None


def test_a_video_without_frames_gives_numbers() -> None:
    for pooling in ("attention", "mean"):
        for masked in (False, True):
            model = student(pooling=pooling, masked=masked)
            inputs = torch.zeros(1, 3, 8, requires_grad=True)
            vectors = model(inputs, torch.zeros(1, 3)).vectors
            model.scores(torch.ones(1, 8), vectors).sum().backward()
            assert bool(vectors.isfinite().all())
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            assert gradients and all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_no_mask_means_that_all_frames_are_there() -> None:
    model = student()
    torch.testing.assert_close(model(frames()).vectors, model(frames(), torch.ones(2, 3)).vectors)


def test_what_is_pooled_is_sharper_than_what_is_taught() -> None:
    pooled, taught = student(temperature=0.1), student(temperature=0.1, taught_temperature=2.0)
    torch.testing.assert_close(taught(frames()).logits, pooled(frames()).logits / 2)
    torch.testing.assert_close(taught(frames()).vectors, pooled(frames()).vectors)
    flat = student(temperature=1e9)(frames()).vectors
    torch.testing.assert_close(flat, nn.functional.normalize(pooled(frames()).frames, dim=-1).mean(1))


def test_the_scale_is_at_most_a_hundred() -> None:
    model = student()
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    model.limit_scale()
    assert float(model.logit_scale.detach().exp()) == approx(100)
    same = model.scores(torch.ones(1, 8), 3 * torch.ones(1, 8))
    assert float(same.detach()) == approx(100)


def test_a_teacher_that_is_followed_exactly_leaves_no_coarse_loss_by_pearson() -> None:
    scores = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 1.0, 2.0]])
    found = distill(scores, torch.tensor([[0.0, 1.0]] * 3), [Targets(scores, torch.full((3, 2), 0.5))], Recipe())
    assert float(found.coarse) == approx(0, abs=1e-6)
    # Cross-entropy with even relevance, over all entries, of which there are two a row.
    low, high = (-math.log(1 + math.e**sign) for sign in (1, -1))
    assert float(found.fine) == approx(-(low + high) / 4)


def test_a_weight_that_is_given_replaces_the_published_one() -> None:
    assert Recipe().weights == (0.2, 1.0, 2.0)
    assert Recipe("l1").weights == (0.2, 1.0, 2.0)
    assert Recipe("ce").weights == (1.0, 10.0, 1.0)
    assert Recipe("ce", matching_weight=0.0, fine_weight=3.0).weights == (0.0, 10.0, 3.0)


def test_a_student_without_weights_is_taught_scores_alone() -> None:
    scores = torch.eye(3)
    found = distill(scores, None, [Targets(scores.roll(1, 0), torch.full((3, 3), 1 / 3))], Recipe())
    assert float(found.fine) == 0
    assert float(found.coarse) > 0


def test_the_student_comes_back_from_the_names_of_its_authors() -> None:
    model, other = student(), student()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    theirs = {ours: name for name, ours in checkpoints.STUDENT.items()}
    state = {checkpoints.renamed(key, theirs) or f"clip.{key}": value for key, value in model.state_dict().items()}
    assert {"clip.logit_scale", "frameLinear2.weight", "transformerClip.resblocks.0.ln_2.bias"} <= state.keys()
    assert other.load_published({**state, "cross.unused.weight": torch.ones(1)}).keys() == {"logit_scale"}
    torch.testing.assert_close(other(frames(), MASK).vectors, model(frames(), MASK).vectors)
    with pytest.raises(MismatchError, match="unexpected tensor attention"):
        student(pooling="mean").load_published(state)


# Steps.


class Line(nn.Module):
    """Learns one number, 3, from batches that are 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return ((self.weight * batch - 3) ** 2).sum()

    def begin_epoch(self) -> None: ...


def ones(count: int) -> Iterator[torch.Tensor]:
    return iter([torch.ones(1)] * count)


def test_bert_adam_and_its_schedule_step_in_the_training_loop_and_go_on_where_they_were() -> None:
    whole, half = Line(), Line()
    schedule = WarmupCosine(epochs=4)
    step = BertAdam(whole.parameters(), lr=0.5, weight_decay=0.0)
    list(fit(whole, lambda _: ones(5), step, schedule, range(1, 5), 5, clip=1.0))
    assert float(whole.weight.detach()) == approx(3, abs=1)
    first = BertAdam(half.parameters(), lr=0.5, weight_decay=0.0)
    list(fit(half, lambda _: ones(5), first, schedule, range(1, 3), 5, clip=1.0))
    kept_arrays = {key: value.clone() for key, value in optimizer_arrays(first).items()}
    assert kept_arrays.keys() == {"0/mean", "0/square"}
    second = BertAdam(half.parameters(), lr=0.5, weight_decay=0.0)
    restore_optimizer(second, kept_arrays)
    list(fit(half, lambda _: ones(5), second, schedule, range(3, 5), 5, clip=1.0))
    assert torch.equal(half.weight, whole.weight)


def test_the_first_step_of_the_schedule_changes_nothing() -> None:
    line = Line()
    list(fit(line, lambda _: ones(1), BertAdam(line.parameters(), lr=1.0), WarmupCosine(1), range(1, 2), 1))
    assert float(line.weight.detach()) == 0
    factors = [WarmupCosine(10).factor(epoch) for epoch in (0, 0.5, 1, 10, 11)]
    assert factors == approx([0, 0.5, 0.5 * (1 + math.cos(0.1 * math.pi)), 0, 0])


def test_groups_learn_at_the_published_rates_and_biases_do_not_decay() -> None:
    model = nn.ModuleDict({"towers": nn.Linear(2, 2), "student": Student(8, layers=1)})
    groups = parameter_groups(model.named_parameters())
    found = {
        name: (group["lr"], group["weight_decay"])
        for name, parameter in model.named_parameters()
        for group in groups
        if any(parameter is held for held in group["params"])
    }
    assert len(found) == len(list(model.parameters()))
    assert found["towers.weight"] == (approx(1e-7), 0.2)
    assert found["towers.bias"] == (approx(1e-7), 0.0)
    assert found["student.logit_scale"] == (approx(1e-7), 0.2)
    assert found["student.temporal.positions"] == (approx(1e-4), 0.2)
    assert found["student.temporal.blocks.0.ln_1.weight"] == (approx(1e-4), 0.2)
    assert found["student.temporal.blocks.0.attn.in_proj_bias"] == (approx(1e-4), 0.0)
    assert found["student.attention.first.weight"] == (approx(1e-3), 0.2)
    assert found["student.attention.second.bias"] == (approx(1e-3), 0.0)
    model["towers"].requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(model.named_parameters())) == len(found) - 2


def test_embeddings_and_first_layers_of_clip_stay_and_blocks_learn() -> None:
    network = nn.Module()
    names = [
        "positional_embedding", "text_projection", "logit_scale", "visual.class_embedding", "visual.proj",
        "visual.conv1.weight", "visual.ln_pre.bias", "visual.ln_post.bias", "ln_final.weight", "token_embedding.weight",
        *(f"{tower}transformer.resblocks.{place}.ln_1.bias" for tower in ("", "visual.") for place in (0, 1)),
    ]  # fmt: skip
    for name in names:
        *path, last = name.split(".")
        module = network
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, nn.Parameter(torch.ones(1)))
    learn = {"text_projection", "logit_scale", "visual.proj", "visual.ln_post.bias", "ln_final.weight"}
    for blocks, placed in ((0, (0, 1)), (1, (1,)), (2, ())):
        freeze(network, blocks)
        moving = {f"{tower}transformer.resblocks.{k}.ln_1.bias" for tower in ("", "visual.") for k in placed}
        assert {name for name, parameter in network.named_parameters() if parameter.requires_grad} == learn | moving


# Frames and measures.


def test_a_frame_is_taken_at_the_start_of_each_second() -> None:
    assert one_a_second(100, 30.0) == [0, 30, 60, 90]
    assert one_a_second(90, 29.97) == [0, 29, 58, 87]
    assert one_a_second(100, 30.0, start=1, end=2) == [30, 60]
    assert one_a_second(2, 0.5) == [0, 1]
    assert one_a_second(0, 25.0) == []


def test_of_too_many_frames_some_are_kept() -> None:
    assert kept(7, 3) == [0, 3, 6]
    assert kept(7, 3, "first") == [0, 1, 2]
    assert kept(7, 3, "last") == [4, 5, 6]
    assert kept(3, 4) == [0, 1, 2]
    assert kept(5, 1) == [0]


def test_too_few_frames_are_followed_by_zeros() -> None:
    vectors, mask = padded(np.array([[1.0], [2.0]]), 4)
    assert vectors.tolist() == [[1], [2], [0], [0]]
    assert mask.tolist() == [1, 1, 0, 0]
    vectors, mask = padded(np.arange(5.0)[:, None], 2, "last")
    assert vectors.tolist() == [[3], [4]]
    assert mask.tolist() == [1, 1]


@pytest.mark.parametrize("which", ["spread", "first", "last"])
def test_no_frames_are_no_frames(which: str) -> None:
    vectors, mask = padded(np.zeros((0, 2)), 3, which)  # type: ignore[arg-type]
    assert vectors.shape == (3, 2)
    assert mask.tolist() == [0, 0, 0]
