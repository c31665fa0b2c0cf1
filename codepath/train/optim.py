"""The optimiser of the recipes."""

from __future__ import annotations

import torch
from torch import nn

from codepath.config import TrainConfig

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay on all parameters or on weights alone."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            exempt = isinstance(module, _NORMS) or name == "bias"
            (free if exempt and not config.decay_norm_and_bias else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}]
    if free:
        groups.append({"params": free, "weight_decay": 0.0})
    return torch.optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0
    )
