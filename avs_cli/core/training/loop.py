"""The training loop, a generator of epochs; schedules and optimizers.

Random generators are seeded by the seed of the run and the number of the epoch, so that a run that is resumed after
epoch n gives the same result as an uninterrupted one.
"""

import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import nn

from avs_cli.core.training.bert_adam import BertAdam
from avs_cli.core.training.eager import EagerOptimizer
from avs_cli.errors import AvsError, MismatchError

Precision = Literal["fp32", "bf16", "fp16"]
B = TypeVar("B")
B_contra = TypeVar("B_contra", contravariant=True)


class Trainable(Protocol[B_contra]):
    """A module that maps a batch to its loss."""

    def __call__(self, batch: B_contra) -> torch.Tensor: ...
    def train(self, mode: bool = True) -> Any: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def begin_epoch(self) -> None: ...


class Epoch(NamedTuple):
    """A finished epoch: its number from 1, the mean loss per batch, the number of batches, and seconds."""

    number: int
    loss: float
    steps: int
    seconds: float


class Schedule(Protocol):
    """The factor of the learning rate."""

    def factor(self, progress: float = 0.0) -> float:
        """The factor after `progress` epochs."""
        ...

    def step(self, value: float) -> None:
        """Update at the end of an epoch, with the value of the validation measure."""
        ...

    def state(self) -> dict[str, Any]:
        """The state that `step` updates, as JSON values."""
        ...


@dataclass
class Plateau:
    """The published schedule: times 0.99 per epoch, and halved after three successive epochs without improvement.

    Not torch's ExponentialLR and ReduceLROnPlateau, which multiply the last rate: in 47 of 50 epochs it differs in its
    last bit, and so would a head that is resumed. Of negative values theirs takes a lower one for a better one.
    """

    epochs: int = 0
    halvings: int = 0
    best: float = -math.inf
    waiting: int = 0

    def factor(self, progress: float = 0.0) -> float:
        """Constant within an epoch."""
        return float(0.99**self.epochs * 0.5**self.halvings)

    def step(self, value: float) -> None:
        """An improvement is more than 1e-4 of the best value."""
        self.epochs += 1
        if self.best == -math.inf or value > self.best + 1e-4 * abs(self.best):
            self.best, self.waiting = value, 0
            return
        self.waiting += 1
        if self.waiting > 2:
            self.halvings, self.waiting = self.halvings + 1, 0

    def state(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


@dataclass
class CosineSchedule:
    """Linear warm-up over `warmup` epochs, then cosine decay to zero after `epochs`.

    Not torch's LinearLR and CosineAnnealingLR in a row: their rate depends on the one before, so 1958 of 2000 batches
    differ (by up to 1e-13), and a run could resume only with the states of three schedulers.
    """

    epochs: int
    warmup: float = 1.0

    def factor(self, progress: float = 0.0) -> float:
        """Changes per batch."""
        if progress < self.warmup:
            return (progress + 1e-3) / (self.warmup + 1e-3)
        done = (progress - self.warmup) / max(self.epochs - self.warmup, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def step(self, value: float) -> None:
        """Does not depend on the value."""

    def state(self) -> dict[str, Any]:
        """Stateless."""
        return {}


class RMSprop(EagerOptimizer):
    """torch's RMSprop (Tieleman and Hinton 2012), fused with gradient clipping to one pass over memory.

    Arrays exceed the cache and operations are few, so that passes over memory dominate. On a CPU, it is torch's fused
    Adam without momentum and bias correction, which is RMSprop but for the last digits.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, alpha: float = 0.99, eps: float = 1e-8):
        super().__init__(parameters, {"lr": lr, "alpha": alpha, "eps": eps})
        self.divisor = 1.0

    def clip(self, most: float) -> float:
        """Scale the next step's gradients to a global norm of `most` if theirs is larger; returns theirs."""
        norm = gradient_norm(self.param_groups)
        self.divisor = max(1.0, (norm + 1e-6) / most)
        return norm

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update, which may scale the gradients; parameters without a gradient stay."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["square_avg"] = torch.zeros_like(parameter)
            gradients = [parameter.grad for parameter in parameters]
            squares = [self.state[parameter]["square_avg"] for parameter in parameters]
            on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
            (self._fused if on_cpu else self._in_passes)(group, parameters, gradients, squares)
        self.divisor = 1.0

    def _in_passes(
        self, group: dict[str, Any], parameters: list[Any], gradients: list[Any], squares: list[Any]
    ) -> None:
        if parameters:
            torch._foreach_div_(gradients, self.divisor)
            torch._foreach_mul_(squares, group["alpha"])
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["alpha"])
            lengths = torch._foreach_sqrt(squares)
            torch._foreach_add_(lengths, group["eps"])
            torch._foreach_addcdiv_(parameters, gradients, lengths, value=-group["lr"])

    def _fused(self, group: dict[str, Any], parameters: list[Any], gradients: list[Any], squares: list[Any]) -> None:
        # The mean of the gradients with beta1 = 0 is the gradient, so that both may be in one array; after very many
        # steps, bias correction is 1.
        torch._fused_adam_(
            parameters, gradients, gradients, squares, [], [torch.tensor(1e9)] * len(parameters), lr=group["lr"],
            beta1=0.0, beta2=group["alpha"], weight_decay=0.0, eps=group["eps"], amsgrad=False, maximize=False,
            grad_scale=torch.tensor(self.divisor) if self.divisor > 1 else None,
        )  # fmt: skip


class AdamW(EagerOptimizer, torch.optim.AdamW):
    """torch's AdamW (Loshchilov and Hutter, arXiv:1711.05101), fused to one pass over memory."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.01):
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, fused=True)

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))

    def clip(self, most: float) -> float:
        """Scale the gradients to a global norm of `most` if theirs is larger; returns theirs."""
        norm = gradient_norm(self.param_groups)
        if norm > most:
            torch._foreach_mul_(
                [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None],
                most / (norm + 1e-6),
            )
        return norm


Optimizer = RMSprop | AdamW | BertAdam
# State arrays per parameter: of its shape, except for the step count.
REMEMBERED: dict[type, set[str]] = {
    RMSprop: {"square_avg"},
    AdamW: {"step", "exp_avg", "exp_avg_sq"},
    BertAdam: {"mean", "square"},
}


def optimizer_arrays(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """The state of an optimizer, by parameter index and array name."""
    state = optimizer.state_dict()["state"]
    return {f"{place}/{name}": value for place, arrays in state.items() for name, value in arrays.items()}


def restore_optimizer(optimizer: Optimizer, arrays: Mapping[str, torch.Tensor]) -> None:
    """Restore the state of an optimizer. Raises MismatchError for a state that does not match."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in arrays.items():
        place, _, name = key.partition("/")
        if not place.isdecimal() or int(place) >= len(parameters) or name not in REMEMBERED[type(optimizer)]:
            raise MismatchError(f"the optimizer has no place for {key!r}")
        if value.shape != (() if name == "step" else parameters[int(place)].shape) or not value.is_floating_point():
            raise MismatchError(f"the optimizer's {key!r} is {tuple(value.shape)} {value.dtype}, unlike its parameter")
        state.setdefault(int(place), {})[name] = value
    for number, held in state.items():
        if lacking := REMEMBERED[type(optimizer)] - held.keys():
            raise MismatchError(f"the optimizer lacks '{number}/{min(lacking)}'")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def gradient_norm(groups: Iterable[dict[str, Any]]) -> float:
    """The global Euclidean norm of all gradients."""
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))


def fit(
    model: Trainable[B],
    batches: Callable[[int], Iterable[B]],
    optimizer: Optimizer,
    schedule: Schedule,
    epochs: range,
    steps: int,
    seed: int = 0,
    clip: float = 2.0,
    precision: Precision = "fp32",
    scaler: torch.amp.GradScaler | None = None,
) -> Iterator[Epoch]:
    """Train epoch by epoch; validation, saving and stopping are up to the caller.

    batches  function from the number of an epoch to its batches, `steps` of them
    epochs   numbers from 1; the caller calls `schedule.step` between them
    scaler   of the loss, for fp16; by default none
    Raises AvsError if a loss is not finite.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    device = next(iter(model.parameters())).device.type
    scaler = scaler or torch.amp.GradScaler(device, enabled=False)
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    for number in epochs:
        begun = time.monotonic()
        torch.manual_seed(seed * 1_000_003 + number)
        model.train()
        model.begin_epoch()
        losses = []
        for step, batch in enumerate(batches(number)):
            factor = schedule.factor(number - 1 + step / steps)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            # Before the forward pass, whose activations would otherwise be in memory together with the old gradients.
            optimizer.zero_grad()
            with torch.autocast(device, kind, enabled=precision != "fp32"):
                loss = model(batch)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                raise AvsError(f"epoch {number}: the loss is {losses[-1]}; a lower learning rate may help")
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            add_gradients(model.parameters())
            # The published code clips before unscaling, which makes steps almost zero.
            scaler.unscale_(optimizer)
            optimizer.clip(clip)
            scaler.step(optimizer)
            scaler.update()
        yield Epoch(number, math.fsum(losses) / max(1, len(losses)), len(losses), time.monotonic() - begun)


def add_gradients(parameters: Iterator[nn.Parameter]) -> None:
    """Sum the gradients over the processes of a distributed run; without effect for one process."""
    if not torch.distributed.is_initialized():
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)
