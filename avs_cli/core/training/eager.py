"""torch's optimizers without its compiler, whose import at their first call takes longer than a small training."""

import inspect

import torch


class EagerOptimizer(torch.optim.Optimizer):
    """torch's Optimizer for training that is not compiled: the same methods without what would keep a compiler out."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
