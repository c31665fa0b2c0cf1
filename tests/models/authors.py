"""Networks in the form of the authors' code, written from its facts alone.

One numbered list of layers, `net_list`; a coded block computes every path's output with a grouped
convolution and keeps its scheme as a boolean mask. Nothing here comes from the package but the
coding schemes: the networks are a second opinion on the converted ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codepath.codes import find_scheme


class Skip(nn.Module):
    """A projection skip."""

    def __init__(self, in_chs: int, out_chs: int, stride: int) -> None:
        super().__init__()
        self.conv_skip = nn.Conv2d(in_chs, out_chs, 1, stride, bias=False)
        self.bn_skip = nn.BatchNorm2d(out_chs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn_skip(self.conv_skip(x))


class AuthorsBlock(nn.Module):
    """Eq. 2 and 3 as printed, with all paths' outputs; plain where the mask is all ones."""

    def __init__(self, in_chs: int, out_chs: int, width: int, mask: Tensor, stride: int) -> None:
        super().__init__()
        paths = mask.shape[1]
        hidden = paths * width
        self.paths, self.coded = paths, not bool(mask.all())
        self.register_buffer("Mask_perClass", mask)
        self.conv_reduce = nn.Conv2d(in_chs, hidden, 1, bias=False)
        self.bn_reduce = nn.BatchNorm2d(hidden)
        self.conv_internal = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=paths, bias=False)
        self.bn_internal = nn.BatchNorm2d(hidden)
        groups = paths if self.coded else 1
        self.conv_expand = nn.Conv2d(hidden, groups * out_chs, 1, groups=groups, bias=False)
        self.bn_expand = nn.BatchNorm2d(out_chs)
        if stride != 1 or in_chs != out_chs:
            self.skip_connection: nn.Module = Skip(in_chs, out_chs, stride)
        else:
            self.skip_connection = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn_reduce(self.conv_reduce(x)).relu()
        out = self.conv_expand(self.bn_internal(self.conv_internal(h)).relu())
        if self.coded:
            outputs = out.unflatten(1, (self.paths, -1))  # (B, N, C, H, W)
            energies = outputs.square().mean((2, 3, 4))
            out = outputs.sum(1) / energies.mean(1).sqrt()[:, None, None, None]
        return (self.bn_expand(out) + self.skip_connection(x)).relu()


class AuthorsNetwork(nn.Module):
    """A network of Table 1.

    Args:
        stages: (C, d, Nact, depth) of each.
        paths: N.
        classes: K.
        imagenet: the stem of ImageNet's network, 7x7 with stride 2 and a pooling.
    """

    def __init__(
        self,
        stages: Sequence[tuple[int, int, int, int]],
        paths: int,
        classes: int,
        imagenet: bool = False,
    ) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False) if imagenet else None
        layers: list[nn.Module] = [
            stem or nn.Conv2d(3, 64, 3, 1, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        ]
        if imagenet:
            layers.append(nn.MaxPool2d(3, 2, 1))
        in_chs = 64
        for index, (channels, width, active, depth) in enumerate(stages):
            mask = torch.ones(classes, paths, dtype=torch.bool)
            if active < paths:
                table = find_scheme(classes, paths, active).table
                mask = torch.tensor(table, dtype=torch.bool)
            for place in range(depth):
                stride = 2 if index and not place else 1
                layers.append(AuthorsBlock(in_chs, channels, width, mask, stride))
                in_chs = channels
        layers += [nn.AdaptiveAvgPool2d(1), nn.Linear(in_chs, classes, bias=False)]
        self.net_list = nn.ModuleList(layers)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net_list:
            x = layer(x.flatten(1) if isinstance(layer, nn.Linear) else x)
        return x


def cifar10() -> AuthorsNetwork:
    """Table 1, C10."""
    return AuthorsNetwork([(256, 11, 10, 3), (512, 22, 5, 3), (1024, 44, 3, 3)], 10, 10)


def cifar100() -> AuthorsNetwork:
    """Table 1, C100."""
    return AuthorsNetwork([(256, 6, 20, 3), (512, 12, 8, 3), (1024, 24, 4, 3)], 20, 100)


def imagenet() -> AuthorsNetwork:
    """Table 1, ImageNet."""
    stages = [(256, 4, 32, 3), (512, 8, 32, 4), (1024, 16, 16, 6), (2048, 32, 8, 3)]
    return AuthorsNetwork(stages, 32, 1000, imagenet=True)
