"""The optimiser of the recipes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from codepath.run.config import TrainConfig

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def make_optimizer(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay on all parameters or on weights alone.

    On CUDA it is one kernel, and its learning rate lies on the device (see `set_rate`), so that a
    recorded step reads the present one.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            exempt = isinstance(module, _NORMS) or name == "bias"
            (free if exempt and not config.decay_norm_and_bias else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}]
    if free:
        groups.append({"params": free, "weight_decay": 0.0})
    cuda = device.type == "cuda"
    return torch.optim.SGD(
        groups,
        lr=torch.tensor(config.lr, device=device) if cuda else config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        fused=cuda or None,
    )


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Give a group of parameters another learning rate."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
