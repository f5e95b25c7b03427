"""The training loop and its parts, against torch's own and against arithmetic."""

import math
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pytest import approx
from torch import nn

from avs_cli.core.training.bert_adam import BertAdam
from avs_cli.core.training.loop import (
    AdamW,
    CosineSchedule,
    Plateau,
    RMSprop,
    fit,
    optimizer_arrays,
    restore_optimizer,
)
from avs_cli.errors import AvsError


class Line(nn.Module):
    """y = w x, squared error; counts its epochs."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(size))
        self.epochs = 0

    def begin_epoch(self) -> None:
        self.epochs += 1

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return ((self.w * batch) ** 2).sum()


def batches(number: int) -> Iterator[torch.Tensor]:
    draw = torch.Generator().manual_seed(number)
    return iter([torch.randn(3, generator=draw) for _ in range(4)])


class InPasses(RMSprop):
    """As on a GPU."""

    _fused = RMSprop._in_passes


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(RMSprop, torch.optim.RMSprop), (InPasses, torch.optim.RMSprop), (AdamW, torch.optim.AdamW)],
    ids=["rmsprop", "rmsprop on a GPU", "adamw"],
)
def test_steps_are_those_of_torch(ours: type, theirs: type) -> None:
    size = 200_000  # more than one piece
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(size, generator=draw)
    one, other = (nn.Parameter(start.clone()) for _ in range(2))
    mine, peer = ours([one], lr=1e-3), theirs([other], lr=1e-3)
    for _ in range(3):
        gradient = torch.randn(size, generator=draw)
        one.grad, other.grad = gradient.clone(), gradient.clone()
        assert mine.clip(2.0) == approx(float(gradient.norm()), rel=1e-5)
        nn.utils.clip_grad_norm_([other], 2.0)
        mine.step()
        peer.step()
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [RMSprop, AdamW, BertAdam])
def test_an_optimizer_does_without_torchs_compiler(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # an import of it fails
    weight = nn.Parameter(torch.ones(3))
    optimizer = kind([weight], lr=0.1)
    # torch keeps what it has imported once.
    for method in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        assert not hasattr(getattr(kind, method), "__wrapped__")
    optimizer.zero_grad()
    (weight**2).sum().backward()
    optimizer.clip(1.0)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert (weight < 1).all() and torch.is_grad_enabled()


@pytest.mark.parametrize("kind", [RMSprop, AdamW])
def test_what_an_optimizer_remembers_can_be_given_to_another(kind: type) -> None:
    def run(model: Line, optimizer: RMSprop | AdamW, epochs: range) -> None:
        for _ in fit(model, batches, optimizer, Plateau(), epochs, 4):
            pass

    whole, first, second = Line(), Line(), Line()
    run(whole, kind(whole.parameters(), 0.1), range(1, 5))
    half = kind(first.parameters(), 0.1)
    run(first, half, range(1, 3))
    second.load_state_dict(first.state_dict())
    rest = kind(second.parameters(), 0.1)
    restore_optimizer(rest, optimizer_arrays(half))
    run(second, rest, range(3, 5))
    assert torch.equal(whole.w, second.w)


def test_the_loop_tells_each_epochs_number_and_mean_loss() -> None:
    model = Line()
    optimizer = RMSprop(model.parameters(), 0.0)
    epochs = [*fit(model, batches, optimizer, Plateau(), range(1, 3), 4)]
    assert [epoch.number for epoch in epochs] == [1, 2]
    assert [epoch.steps for epoch in epochs] == [4, 4]
    # A step of length 0 leaves w = 1, so a loss is the sum of the squares.
    assert epochs[0].loss == approx(np.mean([float((x**2).sum()) for x in batches(1)]), rel=1e-6)
    assert model.epochs == 2


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    model = Line()
    optimizer = RMSprop(model.parameters(), 1.0)
    with pytest.raises(AvsError, match="epoch 1: the loss is nan; a lower learning rate may help"):
        next(fit(model, lambda number: [torch.full((3,), math.nan)], optimizer, Plateau(), range(1, 2), 1))


def test_a_cosine_goes_up_in_a_line_and_down_in_half_a_wave() -> None:
    schedule = CosineSchedule(epochs=11, warmup=1)
    assert schedule.factor(0) < 0.01
    assert schedule.factor(0.5) == approx(0.5, abs=0.01)
    assert schedule.factor(1) == 1
    assert schedule.factor(6) == approx(0.5)
    assert schedule.factor(11) == approx(0)


def test_a_plateau_halves_after_three_epochs_in_vain() -> None:
    schedule = Plateau()
    for value in (0.5, 0.4, 0.4):
        schedule.step(value)
    assert schedule.factor() == approx(0.99**3)
    schedule.step(0.4)
    assert schedule.factor() == approx(0.99**4 / 2)
