"""Eq. 2 and 3 in closed form: the energies of all paths, and what they are divided by.

Shapes: B batch, N paths, d width of a path, C output channels, H x W pixels.

The paper's block computes t_n = W_n h_n for every path, measures its energy, divides by the
root of the mean energy and sums over n. Neither the energies nor the sum need the tensor of
all t_n, (B,N,C,H,W): with S_n = sum over pixels of h_n h_n^T and G_n = W_n^T W_n,
    E_n = mean over c,h,w of t_n^2 = <S_n, G_n> / (C H W),
    sum_n m_n t_n / sqrt(mean E) = conv3(h * m / sqrt(mean E)).

TorchScript compiles these functions (see `codepath.models.script`). So their annotations are
objects, not strings, and constants come in as defaults of arguments.
"""

from collections.abc import Callable

import torch
from torch import Tensor

EnergiesOf = Callable[[Tensor, Tensor], Tensor]
"""(B, N*d, H, W) and `path_grams` (N, d, d) -> (B, N), as `energies_from_grams`."""
SMALLEST_MEAN_ENERGY = 1e-12
"""Lower clamp of the mean energy in Eq. 3: keeps an all-zero sample finite."""
_SMALL_MAP = 2**16
"""Numbers of a map up to which a copy costs less than a call for each path."""


def path_energies(h: Tensor, weight: Tensor, paths: int) -> Tensor:
    """Eq. 2: energy of every path's output, without computing the outputs.

    Args:
        h: (B, N*d, H, W), input of the expanding 1x1 convolution.
        weight: (C, N*d, 1, 1), that convolution's dense weight; columns n*d to (n+1)*d are W_n.
        paths: N.

    Returns:
        (B, N), mean over C, H, W of (W_n h_n)^2; float32, or float64 for float64 input.
    """
    return energies_from_grams(h, path_grams(weight, paths, energies_type(h)))


def energies_type(h: Tensor) -> torch.dtype:
    """What energies are computed in: float32, or float64 for float64 input.

    In TorchScript it is float64 for bfloat16 and float16: such input comes from autocast, which
    cannot be switched off there, and float64 is what autocast leaves alone.
    """
    if torch.jit.is_scripting():  # noqa: SIM102 (TorchScript leaves out this form alone)
        if h.dtype == torch.bfloat16 or h.dtype == torch.float16:
            return torch.float64
    return torch.promote_types(h.dtype, torch.float32)


def energies_from_grams(h: Tensor, grams: Tensor) -> Tensor:
    """`path_energies` where the weights stay: (B, N*d, H, W) and `path_grams` -> (B, N)."""
    H, W = h.shape[-2:]
    return contract(moments_of(h, grams.shape[0], grams.dtype), grams) / (H * W)


def contract(moments: Tensor, grams: Tensor) -> Tensor:
    """(B, N, d, d) and (N, d, d) -> (B, N), <S_n, G_n>."""
    return (moments * grams).sum((-2, -1))


def path_grams(weight: Tensor, paths: int, dtype: torch.dtype) -> Tensor:
    """(C, N*d, 1, 1) dense weight of conv3 -> (N, d, d), G_n / C."""
    if torch.jit.is_scripting():
        return _grams(weight, paths, dtype)
    with torch.autocast(weight.device.type, enabled=False):
        return _grams(weight, paths, dtype)


def _grams(weight: Tensor, paths: int, dtype: torch.dtype) -> Tensor:
    w = weight.to(dtype).reshape(weight.shape[0], paths, -1).permute(1, 2, 0)  # (N, d, C)
    return w @ w.mT / weight.shape[0]


def moments_of(h: Tensor, paths: int, dtype: torch.dtype) -> Tensor:
    """(B, N*d, H, W) -> (B, N, d, d), S_n."""
    if torch.jit.is_scripting():
        return _moments(h.to(dtype), paths)
    with torch.autocast(h.device.type, enabled=False):
        h = h.to(dtype)
        if (
            h.is_cpu
            and not torch.compiler.is_compiling()
            and h.is_contiguous(memory_format=torch.channels_last)
            and h.shape[0] > 1
            and h.numel() > _SMALL_MAP
        ):
            return _moments_by_path(h, paths)
        return _moments(h, paths)


def _moments(h: Tensor, paths: int) -> Tensor:
    x = h.reshape(h.shape[0], paths, -1, h.shape[2] * h.shape[3])
    return x @ x.mT


def _moments_by_path(h: Tensor, paths: int) -> Tensor:
    """`moments_of` by one product a path: joining B and N would copy h, channels innermost."""
    x = by_path(h, paths)
    pairs = zip(x.mT.unbind(), x.unbind(), strict=True)
    if torch.is_grad_enabled() and x.requires_grad:
        return torch.stack([torch.bmm(a, b) for a, b in pairs], 1)
    out = x.new_empty(paths, h.shape[0], x.shape[3], x.shape[3])
    for (a, b), product in zip(pairs, out.unbind(), strict=True):
        torch.bmm(a, b, out=product)
    return out.transpose(0, 1)


def by_path(h: Tensor, paths: int) -> Tensor:
    """(B, N*d, H, W) in channels_last memory -> (N, B, H*W, d), a view."""
    return h.permute(0, 2, 3, 1).reshape(len(h), -1, paths, h.shape[1] // paths).permute(2, 0, 1, 3)


def per_channel(factor: Tensor, h: Tensor) -> Tensor:
    """(B, N) -> (B, N*d, 1, 1) in the type of h, finite; (B, 1) -> (B, 1, 1, 1)."""
    if h.dtype == torch.float16:  # the other types hold every factor
        factor = factor.clamp(max=65504.0)
    factor = factor.to(h.dtype)
    if factor.shape[1] == 1:
        return factor[:, :, None, None]
    return factor.repeat_interleave(h.shape[1] // factor.shape[1], 1)[:, :, None, None]


def normalise_energies(
    energies: Tensor, path_mask: Tensor | None, drop_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Eq. 3: (B, N) energies -> those of the normalised paths, and the factor of each.

    The factor is (B, 1) where no mask makes it differ between paths, else (B, N).
    """
    energies, factor = normalise_paths(energies, path_mask)
    mask = join_masks(path_mask, drop_mask)
    return energies, factor if mask is None else factor * mask


def normalise_paths(
    energies: Tensor, path_mask: Tensor | None, smallest: float = SMALLEST_MEAN_ENERGY
) -> tuple[Tensor, Tensor]:
    """Eq. 3: (B, N) energies of the normalised paths, and (B, 1), 1 / root of the mean energy."""
    if path_mask is not None:
        energies = energies * path_mask
    mean = energies.mean(1, keepdim=True).clamp_min(smallest)
    return energies / mean, mean.rsqrt()


def join_masks(path_mask: Tensor | None, drop_mask: Tensor | None) -> Tensor | None:
    """Both masks as one."""
    if path_mask is None or drop_mask is None:
        return drop_mask if path_mask is None else path_mask
    return path_mask * drop_mask
