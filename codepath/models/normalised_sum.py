"""The sum of the normalised paths (Eq. 3) as one convolution, with a backward of its own.

Shapes: B batch, N paths, d width of a path, C output channels, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from codepath.models.energies import (
    SMALLEST_MEAN_ENERGY,
    EnergiesOf,
    by_path,
    contract,
    energies_from_grams,
    join_masks,
    moments_of,
    normalise_energies,
    normalise_paths,
    path_grams,
    per_channel,
)


def sum_paths(
    h: Tensor,
    weight: Tensor,
    paths: int,
    dtype: torch.dtype,
    path_mask: Tensor | None,
    drop_mask: Tensor | None,
    energies_of: EnergiesOf = energies_from_grams,
    folded: bool = False,
) -> tuple[Tensor, Tensor]:
    """conv3 of the normalised paths, and their energies: (B, C, H, W) and (B, N).

    `folded`: what does not differ between paths multiplies conv3's output, not its input.
    """
    high = torch.promote_types(h.dtype, torch.float32)
    raw = energies_of(h, path_grams(weight, paths, high))
    low, weight = h.to(dtype), weight.to(dtype)
    if not folded:
        energies, factor = normalise_energies(raw, path_mask, drop_mask)
        return F.conv2d(low * per_channel(factor, low), weight), energies
    energies, factor = normalise_paths(raw, path_mask)
    mask = join_masks(path_mask, drop_mask)
    out = F.conv2d(low if mask is None else low * per_channel(mask, low), weight)
    return out * per_channel(factor, out), energies


class SumPaths(torch.autograd.Function):
    """`sum_paths` with a backward of few passes, which keeps h, S_n and small factors alone.

    With g the gradient of conv3's input z = f h, m the mean energy, E_n of Eq. 2 and e_n = E_n / m,
        dL/dE_n = (dL/de_n - mean_j e_j dL/de_j - sum(g z) / 2N) / m,
        dL/dh = f g + 2 (dL/dE_n) G_n h / (H W),
        dL/dW_n = (conv3's own part) + 2 W_n (sum over the batch of (dL/dE_n) S_n) / (C H W).
    where G_n has the factor 1 / C in it. z is computed again instead of kept, and the energies'
    parts are added in place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        weight: Tensor,
        paths: int,
        dtype: torch.dtype,
        path_mask: Tensor | None,
        drop_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        high = torch.promote_types(h.dtype, torch.float32)
        grams = path_grams(weight, paths, high)
        moments = moments_of(h, paths, high)
        raw = contract(moments, grams) / (h.shape[2] * h.shape[3])
        energies, factor = normalise_energies(raw, path_mask, drop_mask)
        low = h.to(dtype)
        scale = per_channel(factor, low)
        ctx.save_for_backward(h, weight, grams, moments, raw, energies, scale, path_mask, drop_mask)
        ctx.dtype = dtype
        ctx.set_materialize_grads(False)
        return F.conv2d(low * scale, weight.to(dtype)), energies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        h, weight, grams, moments, raw, energies, scale, path_mask, drop_mask = ctx.saved_tensors
        H, W = h.shape[-2:]
        N = grams.shape[0]
        if torch.is_grad_enabled():  # create_graph: derivatives of this backward are wanted
            outputs = sum_paths(h, weight, N, ctx.dtype, path_mask, drop_mask)
            used = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None]
            found = torch.autograd.grad(
                [o for o, _ in used], (h, weight), [g for _, g in used], create_graph=True
            )
            return *found, None, None, None, None
        out_gradient, energies_gradient = gradients
        mean = (raw if path_mask is None else raw * path_mask).mean(1, keepdim=True)
        raw_gradient = torch.zeros_like(raw)
        if energies_gradient is not None:
            owed = (energies_gradient * energies).mean(1, keepdim=True)
            raw_gradient = energies_gradient - owed.where(mean >= SMALLEST_MEAN_ENERGY, 0)
        weight_gradient = None
        if out_gradient is None:
            h_gradient = torch.zeros_like(h)
        else:
            h_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
                out_gradient, h.to(ctx.dtype) * scale, weight.to(ctx.dtype), None,
                (1, 1), (0, 0), (1, 1), False, (0, 0), 1, (True, ctx.needs_input_grad[1], False),
            )  # fmt: skip
            h_gradient = h_gradient.to(h.dtype).mul_(scale)
            # Below this the mean or the factor is clamped.
            smallest = max(SMALLEST_MEAN_ENERGY, torch.finfo(ctx.dtype).max ** -2)
            owed = (h_gradient * h).sum((1, 2, 3), dtype=grams.dtype)[:, None] / (2 * N)
            raw_gradient = raw_gradient - owed.where(mean >= smallest, 0)
        raw_gradient = raw_gradient / (mean.clamp_min(SMALLEST_MEAN_ENERGY) * (H * W / 2))
        if path_mask is not None:
            raw_gradient = raw_gradient * path_mask
        # As exact as conv3's part in bfloat16; float16 has not the range.
        dtype = h.dtype if h.dtype == torch.bfloat16 else grams.dtype
        mixed = _add_mixed(h_gradient, h.to(dtype), grams.to(dtype), raw_gradient)
        h_gradient = mixed.to(h.dtype)
        if ctx.needs_input_grad[1]:
            sums = torch.einsum("bn,bnij->nij", raw_gradient, moments)
            weight_gradient = _add_gram_part(weight_gradient, weight, sums)
        return h_gradient, weight_gradient, None, None, None, None


def _add_mixed(total: Tensor, h: Tensor, grams: Tensor, factor: Tensor) -> Tensor:
    """total + factor_n G_n h_n at every pixel, for factors (B, N); in place where memory allows."""
    B, hidden, H, W = h.shape
    N = grams.shape[0]
    scale = per_channel(factor, h)
    if not h.is_contiguous(memory_format=torch.channels_last):
        mixed = grams @ (h * scale).reshape(B, N, -1, H * W)
        return mixed.view(B, hidden, H, W).add_(total)
    out = total.to(h.dtype).contiguous(memory_format=torch.channels_last)
    if h.is_cpu and h.dtype != torch.float64:
        return out.addcmul_(F.conv2d(h, grams.reshape(hidden, -1, 1, 1), groups=N), scale)
    rows = by_path(out, N).flatten(1, 2)
    torch.baddbmm(rows, by_path(h * scale, N).flatten(1, 2), grams, out=rows)
    return out


def _add_gram_part(total: Tensor | None, weight: Tensor, sums: Tensor) -> Tensor:
    """total + W_n sums_n / C, (C, N*d, 1, 1), in the weight's type."""
    C, N = weight.shape[0], sums.shape[0]
    columns = weight.to(sums.dtype).reshape(C, N, -1).transpose(0, 1)  # (N, C, d)
    out = torch.zeros_like(weight) if total is None else total
    out = out.to(sums.dtype).contiguous()
    view = out.view(C, N, -1).transpose(0, 1)
    torch.baddbmm(view, columns, sums, alpha=1 / C, out=view)
    return out.to(weight.dtype)
