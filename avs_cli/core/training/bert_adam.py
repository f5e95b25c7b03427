"""The optimizer, schedule and parameter groups of CLIP4Clip's family."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from avs_cli.core.training.eager import EagerOptimizer


class BertAdam(EagerOptimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980) as in BERT's code: without bias correction of the moments.

    Weight decay is decoupled, as in AdamW. The gradient of each tensor is first clipped to a norm of `most`. Moments
    have the precision of the parameters, which should be float32, since they underflow in half precision.
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
    """Linear warm-up over the first `warmup` of all epochs, then cosine decay to 0.

    As published, the cosine spans the whole training: it starts at 0.9755 after the warm-up.
    """

    epochs: int
    warmup: float = 0.1

    def factor(self, progress: float = 0.0) -> float:
        """Changes per batch; 0 for the first one."""
        done = progress / self.epochs
        if done < self.warmup:
            return done / self.warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def step(self, value: float) -> None:
        """Does not depend on the value."""

    def state(self) -> dict[str, Any]:
        """Stateless."""
        return {}


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    lr: float = 1e-4,
    clip: float = 1e-3,
    attention: float = 10.0,
    weight_decay: float = 0.2,
) -> list[dict[str, Any]]:
    """Parameter groups of an optimizer, by prefix of the name.

    The learning rate is `lr`, times `clip` for `towers.` and any `logit_scale`, times `attention` for
    `student.attention.`. Biases have no weight decay.
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
