"""Triton kernels of the coded block and of ghost batch norm, as operators that compilers pass over.

Loaded by those who ask for them alone (see `codepath.train.candidates`). Where neither a GPU nor
Triton's interpreter is there, the plain expressions take their place. All take channels_last
memory: (B, H, W, C) as it lies. Results repeat to the bit, no kernel adds atomically.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from codepath.models.dense import complete_energies
from codepath.models.energies import energies_from_grams as plain_energies
from codepath.models.statistics import group_statistics as plain_statistics

INTERPRETED = triton.knobs.runtime.interpret
"""Whether Triton runs on the processor (TRITON_INTERPRET=1 when it was loaded)."""
_PIXELS = 64
"""Of a tile."""
_ROWS, _COLUMNS = 64, 32
"""Of a tile of batch norm's statistics: pixels and channels."""
_PROGRAMS = 1024
"""About as many programs as fill a GPU."""


def available(x: Tensor) -> bool:
    """Whether the kernels run where `x` is."""
    return (x.is_cuda or INTERPRETED) and x.dtype != torch.float64


def _upcast(dtype: torch.dtype) -> bool:
    """Whether products are taken in float32: the interpreter cannot multiply bfloat16."""
    return dtype == torch.float32 or INTERPRETED


def _square(width: int) -> int:
    """Channels of a tile that holds a path: a power of two, as `tl.dot` wants."""
    return max(16, triton.next_power_of_2(width))


@triton.jit
def moments_kernel(
    h, out, pixels, channels, d: tl.constexpr, D: tl.constexpr, P: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    """S_n of one image and path: grid (B, N)."""
    b = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1)
    i = tl.arange(0, D)
    total = tl.full((D, D), 0.0, tl.float32)
    base = h + b * pixels * channels + n * d
    for start in range(0, pixels, P):
        p = start + tl.arange(0, P)
        inside = (p[:, None] < pixels) & (i[None, :] < d)
        x = tl.load(base + p[:, None] * channels + i[None, :], mask=inside, other=0.0)
        if UPCAST:
            x = x.to(tl.float32)
        total = tl.dot(tl.trans(x), x, total, input_precision="ieee")
    place = out + ((b * tl.num_programs(1) + n) * d + i[:, None]) * d + i[None, :]
    tl.store(place, total, mask=(i[:, None] < d) & (i[None, :] < d))


@triton.jit
def mix_kernel(
    h, grams, factor, out, pixels, channels, d: tl.constexpr, D: tl.constexpr, P: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    """factor_n G_n h_n of a tile of pixels, one image and path: grid (pixels / P, N, B)."""
    n = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    i = tl.arange(0, D)
    own = i[None, :] < d
    p = tl.program_id(0) * P + tl.arange(0, P)
    place = b * pixels * channels + n * d + p[:, None] * channels + i[None, :]
    inside = (p[:, None] < pixels) & own
    x = tl.load(h + place, mask=inside, other=0.0)
    square = (i[:, None] < d) & own
    gram = tl.load(grams + (n * d + i[:, None]) * d + i[None, :], mask=square, other=0.0)
    if UPCAST:
        x = x.to(tl.float32)
    else:
        gram = gram.to(x.dtype)
    mixed = tl.dot(x, gram, input_precision="ieee")
    scale = tl.load(factor + b * tl.num_programs(1) + n)
    tl.store(out + place, (mixed * scale).to(out.dtype.element_ty), mask=inside)


@triton.jit
def statistics_kernel(
    x, means, squares, rows, channels, share, R: tl.constexpr, C: tl.constexpr
):  # fmt: skip
    """Mean and sum of squared differences of a share of a group's rows: grid (groups, C tiles,
    shares). Tiles are added by Chan's formula, so that nothing cancels."""
    group = tl.program_id(0).to(tl.int64)
    part = tl.program_id(2)
    c = tl.program_id(1) * C + tl.arange(0, C)
    own = c < channels
    first = part * share
    last = tl.minimum(first + share, rows)
    mean = tl.full((C,), 0.0, tl.float32)
    square = tl.full((C,), 0.0, tl.float32)
    seen = 0.0
    for start in range(first, last, R):
        r = start + tl.arange(0, R)
        inside = (r[:, None] < last) & own[None, :]
        place = (group * rows + r[:, None]) * channels + c[None, :]
        tile = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        count = tl.minimum(last - start, R).to(tl.float32)
        here = tl.sum(tile, 0) / count
        apart = tl.where(inside, tile - here[None, :], 0.0)
        difference = here - mean
        seen += count
        square += tl.sum(apart * apart, 0) + difference * difference * (seen - count) * count / seen
        mean += difference * count / seen
    place = (group * tl.num_programs(2) + part) * channels + c
    tl.store(means + place, mean, mask=own)
    tl.store(squares + place, square, mask=own)


@torch.library.custom_op("codepath::moments", mutates_args=())
def moments(h: Tensor, paths: int) -> Tensor:
    """(B, N*d, H, W) -> (B, N, d, d), S_n in float32."""
    h = h.contiguous(memory_format=torch.channels_last)
    B, channels, H, W = h.shape
    d = channels // paths
    out = h.new_empty(B, paths, d, d, dtype=torch.float32)
    moments_kernel[(B, paths)](
        h, out, H * W, channels, d=d, D=_square(d), P=_PIXELS, UPCAST=_upcast(h.dtype)
    )
    return out


@moments.register_fake
def _(h: Tensor, paths: int) -> Tensor:
    d = h.shape[1] // paths
    return h.new_empty(h.shape[0], paths, d, d, dtype=torch.float32)


@torch.library.custom_op("codepath::mix", mutates_args=())
def mix(h: Tensor, grams: Tensor, factor: Tensor) -> Tensor:
    """factor_n G_n h_n at every pixel: (B, N*d, H, W), (N, d, d), (B, N) -> as h, in its type."""
    h = h.contiguous(memory_format=torch.channels_last)
    B, channels, H, W = h.shape
    N, d = grams.shape[:2]
    out = torch.empty_like(h)
    # float16 has not the range for Gram matrices.
    upcast = _upcast(h.dtype) or h.dtype == torch.float16
    mix_kernel[(triton.cdiv(H * W, _PIXELS), N, B)](
        h, grams.contiguous(), factor.contiguous(), out, H * W, channels,
        d=d, D=_square(d), P=_PIXELS, UPCAST=upcast,
    )  # fmt: skip
    return out


@mix.register_fake
def _(h: Tensor, grams: Tensor, factor: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(h, memory_format=torch.channels_last)


@torch.library.custom_op("codepath::energies", mutates_args=())
def _energies(h: Tensor, grams: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N*d, H, W) and `path_grams` -> (B, N) energies, (B, N, d, d) moments."""
    S = moments(h, grams.shape[0])
    return (S * grams).sum((-2, -1)) / (h.shape[2] * h.shape[3]), S


complete_energies(_energies, mix)


def energies_from_grams(h: Tensor, grams: Tensor) -> Tensor:
    """As `coded_block.energies_from_grams`, in one pass over h; the gradient in another one."""
    if not available(h):
        return plain_energies(h, grams)
    energies, _ = _energies(h, grams)
    return energies


@torch.library.custom_op("codepath::group_statistics", mutates_args=())
def _group_statistics(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Means and variances (B / size, C) of each group's pixels."""
    x = x.contiguous(memory_format=torch.channels_last)
    B, channels, H, W = x.shape
    groups, rows = B // size, size * H * W
    wanted = max(_PROGRAMS // (groups * triton.cdiv(channels, _COLUMNS)), 1)
    share = triton.cdiv(triton.cdiv(rows, wanted), _ROWS) * _ROWS
    parts = triton.cdiv(rows, share)
    means = x.new_empty(groups, parts, channels, dtype=torch.float32)
    squares = torch.empty_like(means)
    statistics_kernel[(groups, triton.cdiv(channels, _COLUMNS), parts)](
        x, means, squares, rows, channels, share, R=_ROWS, C=_COLUMNS
    )
    weights = means.new_full((parts, 1), share / rows)
    weights[-1] = (rows - share * (parts - 1)) / rows
    mean = (weights * means).sum(1)
    apart = (means - mean[:, None]).square()
    return mean, squares.sum(1) / rows + (weights * apart).sum(1)


@_group_statistics.register_fake
def _(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    mean = x.new_empty(x.shape[0] // size, x.shape[1], dtype=torch.float32)
    return mean, torch.empty_like(mean)


def _keep_statistics(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[0])
    ctx.size = inputs[1]


def _statistics_backward(
    ctx: Any, mean_gradient: Tensor, variance_gradient: Tensor
) -> tuple[Tensor, None]:
    """dL/dx = (dL/dmean + 2 dL/dvariance (x - mean)) / count; compilers join it with the rest."""
    x, mean = ctx.saved_tensors
    groups = x.unflatten(0, (-1, ctx.size)).to(mean.dtype)
    each = (slice(None), None, slice(None), None, None)
    count = groups[0, :, 0].numel()
    found = (mean_gradient[each] + 2 * variance_gradient[each] * (groups - mean[each])) / count
    return found.flatten(0, 1).to(x.dtype), None


_group_statistics.register_autograd(_statistics_backward, setup_context=_keep_statistics)


def group_statistics(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each `size` images' pixels by channel, in one pass over x.

    (B, C, H, W) -> two of (B / size, C), float32.
    """
    if not available(x):
        return plain_statistics(x, size)
    mean, variance = _group_statistics(x, size)
    return mean, variance
