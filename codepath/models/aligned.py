"""A bottleneck's convolutions as tensor cores want them: padded channels, merged groups.

cuDNN has fast grouped convolutions for few widths of a group. With others, such as 11, the dense
convolution with the same weights on its diagonal takes a fifth of the time, and 110 channels take
longer than 120. So d, the width of a path, is padded with zeros to d', and the groups are merged.
Padded channels hold zeros and get no gradient: outputs and gradients are those of the unpadded
network up to rounding, and parameters, their names and their shapes do not change.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MULTIPLE = 8
"""Of channels: 16 bytes in a type of 16 bits."""
_FAST_GROUPS = (8, 16, 32, 64)
"""Channels of a group with which cuDNN's grouped convolutions are taken to be faster than the dense
one: 8, 16 and 32 were measured (ImageNet's sizes, NVIDIA H200, bfloat16), 64 was not.
`benchmarks/convolutions.py` measures them."""


def aligned_width(width: int, paths: int) -> int:
    """d -> d', the least width with which all paths together have a multiple of 8 channels."""
    while width * paths % _MULTIPLE:
        width += 1
    return width


def pad_paths(tensor: Tensor, dim: int, paths: int, width: int) -> Tensor:
    """A tensor with N*d entries along `dim` -> with N*width, zeros behind each path's own."""
    parts = tensor.unflatten(dim, (paths, -1))
    missing = width - parts.shape[dim + 1]
    if not missing:
        return tensor
    behind = parts.ndim - dim - 2
    return F.pad(parts, [0, 0] * behind + [0, missing]).flatten(dim, dim + 1)


def crop_paths(tensor: Tensor, dim: int, paths: int, width: int) -> Tensor:
    """Undo `pad_paths`: N*width' entries along `dim` -> N*width."""
    return tensor.unflatten(dim, (paths, -1)).narrow(dim + 1, 0, width).flatten(dim, dim + 1)


class AlignedConv2d(nn.Conv2d):
    """One of a bottleneck's three convolutions between padded channels; see `align_bottlenecks`."""

    paths: int
    width: int
    """d'."""
    pads_input = pads_output = False

    def aligned_weight(self) -> Tensor:
        """The dense weight between the padded channels, of `weight`."""
        weight, N, d = self.weight, self.paths, self.width
        if self.pads_output:
            weight = pad_paths(weight, 0, N, d)
        if self.groups == 1:
            return pad_paths(weight, 1, N, d) if self.pads_input else weight
        own = pad_paths(weight, 1, 1, d).unflatten(0, (N, d))  # (N, d', d', 3, 3)
        diagonal = torch.eye(N, dtype=own.dtype, device=own.device)[:, None, :, None, None, None]
        return (own[:, :, None] * diagonal).reshape(N * d, N * d, *own.shape[3:])

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H', W'), one or both of them padded."""
        return F.conv2d(x, self.aligned_weight(), None, self.stride, self.padding)


def align_bottlenecks(model: nn.Module) -> dict[nn.Module, tuple[int, int]]:
    """Make the convolutions of `model`'s bottlenecks aligned ones where that is faster on a GPU.

    Parameters stay. The inner batch norms then get padded channels: they come back as keys, with
    (N, d'), to be exchanged for layers that expect them. Blocks whose groups are fast as they are
    stay so, and concatenating ones do.
    """
    norms: dict[nn.Module, tuple[int, int]] = {}
    for block in model.modules():
        middle = getattr(block, "conv2", None)
        if not isinstance(middle, nn.Conv2d) or middle.groups == 1:
            continue
        if not isinstance(block.conv3, nn.Conv2d):
            continue
        N = middle.groups
        if middle.out_channels // N in _FAST_GROUPS:
            continue
        width = aligned_width(middle.out_channels // N, N)
        for name in ("conv1", "conv2", "conv3"):
            conv = getattr(block, name)
            conv.__class__ = AlignedConv2d
            conv.paths, conv.width = N, width
            conv.pads_output, conv.pads_input = name != "conv3", name != "conv1"
        for norm in (block.bn1, block.bn2):
            assert isinstance(norm, nn.Module)
            norms[norm] = (N, width)
    return norms
