"""Mean and variance of groups of images, as batch norm takes them."""

from __future__ import annotations

import torch
from torch import Tensor


def group_statistics(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each `size` images' pixels by channel.

    (B, C, H, W) -> two of (B / size, C), float32, or float64 for float64 input.
    """
    groups = x.unflatten(0, (-1, size)).to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(groups, (1, 3, 4), correction=0)
    return mean, variance


def group_statistics_by_sums(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """`group_statistics` by sums of x and of its squares, in one pass.

    The variance is a difference: in float32 it loses about log2(mean^2 / variance) of 24 bits. A
    convolution's outputs, whose means are a few deviations at most, lose some bits.
    """
    groups = x.unflatten(0, (-1, size)).to(torch.promote_types(x.dtype, torch.float32))
    mean, square = groups.mean((1, 3, 4)), groups.square().mean((1, 3, 4))
    return mean, (square - mean.square()).clamp_min(0)
