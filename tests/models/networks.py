"""What the tests of networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codepath.models import CodedResNeXt


def image_for(model: CodedResNeXt, batch: int = 2) -> Tensor:
    """(batch, in_chans, H, W), as small as the network's stages allow."""
    size = 64 if "resnext50" in model.pretrained_cfg["architecture"] else 16
    return torch.randn(batch, model.in_chans, size, size, generator=torch.manual_seed(0))


def randomise_last_norms(model: nn.Module) -> None:
    """Untrained blocks add nothing (gamma 0): give them weight so that tests see the blocks."""
    torch.manual_seed(1)
    for module in model.modules():
        if hasattr(module, "bn3"):
            nn.init.normal_(module.bn3.weight)


def randomise_norms(model: nn.Module) -> None:
    """Normalisations as after some training: other means, variances, scales and shifts."""
    torch.manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.3, 1.2)
            nn.init.normal_(module.bias, std=0.2)
