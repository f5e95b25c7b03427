"""The optimizer, schedule and groups of parameters that CLIP4Clip's family trains with."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


class BertAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980) as BERT's code has it: no correction of the moments' start.

    The decay is added to the step, as in AdamW. Each tensor's gradient is first brought to a norm of at most `most` by
    itself. The moments have the parameters' precision: give it float32, in half precision they underflow.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.2,
        most: float = 1.0,
    ):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "most": most})

    def clip(self, most: float) -> float:
        """Scale the gradients to a global norm of `most` if theirs is larger; returns theirs."""
        every = [parameter for group in self.param_groups for parameter in group["params"]]
        return float(nn.utils.clip_grad_norm_(every, most))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update; parameters without a gradient stay."""
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad * (group["most"] / (parameter.grad.norm() + 1e-6)).clamp(max=1.0)
                state = self.state[parameter]
                if not state:
                    state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["mean"].mul_(first).add_(gradient, alpha=1 - first)
                state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
                update = state["mean"] / (state["square"].sqrt() + group["eps"])
                parameter.sub_(update.add_(parameter, alpha=group["weight_decay"]), alpha=group["lr"])


@dataclass
class WarmupCosine:
    """From 0 in a straight line to 1 over the first `warmup` of all epochs, then half a cosine wave down to 0.

    The wave is that of the whole training, as published: where the line ends it has come down to 0.9755 already.
    """

    epochs: int
    warmup: float = 0.1

    def factor(self, progress: float = 0.0) -> float:
        """Changes with every batch; the first has 0."""
        done = progress / self.epochs
        if done < self.warmup:
            return done / self.warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def step(self, value: float) -> None:
        """Nothing depends on the value."""

    def state(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    lr: float = 1e-4,
    clip: float = 1e-3,
    attention: float = 10.0,
    weight_decay: float = 0.2,
) -> list[dict[str, Any]]:
    """Groups for an optimizer, of what takes a gradient, by the beginnings of its name.

    `towers.` and any `logit_scale` learn at `lr` times `clip`, `student.attention.` at `lr` times `attention`, all else
    at `lr`. Biases do not decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        if name.startswith("towers.") or name.endswith("logit_scale"):
            rate = lr * clip
        else:
            rate = lr * attention if name.startswith("student.attention.") else lr
        groups.setdefault((rate, 0.0 if "bias" in name else weight_decay), []).append(parameter)
    return [{"params": held, "lr": rate, "weight_decay": decay} for (rate, decay), held in groups.items()]
