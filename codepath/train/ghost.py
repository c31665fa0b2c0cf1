"""Batch norm over a replica's images, however many a device holds ("ghost batches")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codepath.models.aligned import align_bottlenecks, crop_paths, pad_paths
from codepath.models.statistics import group_statistics

Statistics = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""As `codepath.models.statistics.group_statistics`."""


class GhostBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics in training are those of each `group` consecutive images.

    The running statistics take the mean over groups, as replicas' averaged ones would, and over
    the `parts` in which the batch of a step comes (gradient accumulation), so that they do not
    depend on either. State and evaluation are those of nn.BatchNorm2d.

    In an aligned bottleneck it takes (B, N*d', H, W), whose padded channels stay zero.
    """

    group = 0
    """Images; 0: all that come at once."""
    parts = 1
    """Parts in which the batch of a step comes."""
    starts_step = True
    """Whether the next part is a step's first."""
    padded: tuple[int, int] | None = None
    """(N, d') of an aligned bottleneck's channels."""
    statistics: Statistics | None = None
    """What takes the groups' means and variances in training; None: the default way."""
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); in training B must be a multiple of `group`, or less."""
        size = min(self.group or len(x), len(x))
        whole = size == len(x) and self.parts == 1 and self.statistics is None
        if self.padded is None and (whole or not self.training):
            return super().forward(x)
        weight, bias = self._padded(self.weight), self._padded(self.bias)
        if not self.training:
            mean, variance = self._padded(self.running_mean), self._padded(self.running_var)
            return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, self.eps)
        if len(x) % size:
            raise ValueError(f"{len(x)} images cannot be split into groups of {size}")
        if self.statistics is not None or torch.compiler.is_compiling():
            statistics = self.statistics or group_statistics
            out, means, variances = _ghost_norm(x, weight, bias, size, self.eps, statistics)
        else:
            out, means, variances = _GhostNorm.apply(x, weight, bias, size, self.eps)
        if self.padded is not None:
            paths = self.padded[0]
            means, variances = (
                crop_paths(t, 1, paths, self.num_features // paths) for t in (means, variances)
            )
        with torch.no_grad():
            kept = 1 - self.momentum if self.starts_step else 1.0
            for running, new in ((self.running_mean, means), (self.running_var, variances)):
                assert running is not None
                running.mul_(kept).add_(new.mean(0), alpha=self.momentum / self.parts)
            if self.starts_step and self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return out

    def _padded(self, values: Tensor | None) -> Tensor:
        """(C,) -> (N*d',) with zeros, in an aligned bottleneck."""
        assert values is not None
        return values if self.padded is None else pad_paths(values, 0, *self.padded)


def _ghost_norm(
    x: Tensor, weight: Tensor, bias: Tensor, size: int, eps: float, statistics: Statistics
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_GhostNorm`, for compilers, which fuse it."""
    mean, variance = statistics(x, size)
    groups = x.unflatten(0, (-1, size)).to(mean.dtype)
    each = (slice(None), None, slice(None), None, None)
    scale = weight[:, None, None] * (variance + eps).rsqrt()[each]
    out = (groups - mean[each]) * scale + bias[:, None, None]
    count = groups[0, :, 0].numel()
    variances = variance.detach() * (count / (count - 1))
    return out.flatten(0, 1).to(x.dtype), mean.detach(), variances


class _GhostNorm(torch.autograd.Function):
    """(B, C, H, W) -> the normalised groups, their means and unbiased variances (B / size, C).

    PyTorch's kernel on each group, written into one output.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, size: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        groups, C = len(x) // size, x.shape[1]
        out = torch.empty_like(x)
        means, variances = (weight.new_zeros(groups, C) for _ in range(2))
        saved = []
        for i, (part, target) in enumerate(zip(x.split(size), out.split(size), strict=True)):
            normalised, *statistics = torch.native_batch_norm(
                part, weight, bias, means[i], variances[i], True, 1.0, eps
            )
            target.copy_(normalised)
            saved += statistics
        ctx.save_for_backward(x, weight, *saved)
        ctx.size, ctx.eps = size, eps
        ctx.mark_non_differentiable(means, variances)
        return out, means, variances

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, *saved = ctx.saved_tensors
        found = torch.empty_like(x)
        weight_gradient, bias_gradient = torch.zeros_like(weight), torch.zeros_like(weight)
        parts = zip(*(t.split(ctx.size) for t in (gradient, x, found)), strict=True)
        for i, (pulled, part, target) in enumerate(parts):
            x_part, weight_part, bias_part = torch.ops.aten.native_batch_norm_backward(
                pulled, part, weight, None, None, saved[2 * i], saved[2 * i + 1], True, ctx.eps,
                [True, True, True],
            )  # fmt: skip
            target.copy_(x_part)
            weight_gradient += weight_part
            bias_gradient += bias_part
        return found, weight_gradient, bias_gradient, None, None


def use_ghost_batches(
    model: nn.Module, group: int, momentum: float, aligned: bool = False
) -> list[GhostBatchNorm2d]:
    """Turn every nn.BatchNorm2d of `model` into a GhostBatchNorm2d; parameters and state stay.

    With `aligned` the bottlenecks become aligned ones as well (see `codepath.models.aligned`).
    """
    padded = align_bottlenecks(model) if aligned else {}
    found = []
    for parent in list(model.modules()):
        for name, old in list(parent.named_children()):
            if type(old) is not nn.BatchNorm2d:
                continue
            new = GhostBatchNorm2d(old.num_features, old.eps, momentum)
            new.train(old.training)
            new.weight, new.bias = old.weight, old.bias
            for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(new, buffer, getattr(old, buffer))
            new.group, new.padded = group, padded.get(old)
            setattr(parent, name, new)
            found.append(new)
    return found
