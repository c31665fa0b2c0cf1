"""The energies of Eq. 2 by products of all paths' channels at once, as tensor cores take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Mix = Callable[[Tensor, Tensor, Tensor], Tensor]


@torch.library.custom_op("codepath::dense_energies", mutates_args=())
def _energies(h: Tensor, grams: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N*d, H, W) and `path_grams` -> (B, N) energies, (B, N, d, d) moments."""
    N, d = grams.shape[:2]
    x = _rows(h)
    if h.is_cuda and h.dtype != grams.dtype:
        products = torch.bmm(x.mT, x, out_dtype=grams.dtype)
    else:
        x = x.to(grams.dtype)
        products = x.mT @ x
    blocks = products.view(-1, N, d, N, d).diagonal(dim1=1, dim2=3)  # (B, d, d, N)
    moments = blocks.permute(0, 3, 1, 2).contiguous()
    return (moments * grams).sum((-2, -1)) / x.shape[1], moments


@torch.library.custom_op("codepath::dense_mix", mutates_args=())
def _mix(h: Tensor, grams: Tensor, factor: Tensor) -> Tensor:
    """factor_n G_n h_n at every pixel: (B, N*d, H, W), (N, d, d), (B, N) -> as h, in its type."""
    # As exact as conv3's part in bfloat16; float16 has not the range.
    dtype = h.dtype if h.dtype == torch.bfloat16 else grams.dtype
    B, channels, H, W = h.shape
    d = grams.shape[1]
    whole = torch.block_diag(*grams.to(dtype).unbind())
    scaled = _rows(h).to(dtype) * factor.repeat_interleave(d, 1)[:, None].to(dtype)
    return (scaled @ whole).to(h.dtype).view(B, H, W, channels).permute(0, 3, 1, 2)


@_mix.register_fake
def _(h: Tensor, grams: Tensor, factor: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(h, memory_format=torch.channels_last)


def _rows(h: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W, C), a view in channels_last memory."""
    return h.permute(0, 2, 3, 1).flatten(1, 2)


def complete_energies(energies: torch.library.CustomOpDef, mix: Mix) -> None:
    """Give an operator (h, grams) -> (energies, moments) its shapes and its gradient.

    dL/dh = 2 (dL/dE_n) G_n h_n / (H W), dL/dG_n = sum over the batch of (dL/dE_n) S_n / (H W); of
    the moments nothing is differentiated.

    Args:
        energies: as `_energies`.
        mix: as `_mix`.
    """

    def shapes(h: Tensor, grams: Tensor) -> tuple[Tensor, Tensor]:
        B, (N, d) = h.shape[0], grams.shape[:2]
        return grams.new_empty(B, N), grams.new_empty(B, N, d, d)

    def keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[1])

    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor]:
        h, grams, moments = ctx.saved_tensors
        share = gradient / (h.shape[2] * h.shape[3])
        return mix(h, grams, 2 * share), torch.einsum("bn,bnij->nij", share, moments)

    energies.register_fake(shapes)
    energies.register_autograd(backward, setup_context=keep)


complete_energies(_energies, _mix)


def energies_from_grams(h: Tensor, grams: Tensor) -> Tensor:
    """As `coded_block.energies_from_grams`, for low precision on CUDA.

    The moments are the diagonal blocks of one product of all channels, G h one product with the
    Gram matrices on the diagonal: N times the work, without a copy of h in float32. The products of
    an image, (N*d)^2 numbers, are written in float32: with 440 channels more than h itself.
    """
    energies, _ = _energies(h, grams)
    return energies
