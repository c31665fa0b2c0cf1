"""The coded bottleneck block, Eq. 2-3 of the paper in closed form.

Shapes: B batch, N paths, d width of a path, C output channels, H x W pixels, K classes.

The paper's block computes t_n = W_n h_n for every path, measures its energy, divides by the
root of the mean energy and sums over n. Neither the energies nor the sum need the tensor of
all t_n, (B,N,C,H,W): with S_n = sum over pixels of h_n h_n^T and G_n = W_n^T W_n,
    E_n = mean over c,h,w of t_n^2 = <S_n, G_n> / (C H W),
    sum_n m_n t_n / sqrt(mean E) = conv3(h * m / sqrt(mean E)).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from codepath.codes import CodingScheme

SMALLEST_MEAN_ENERGY = 1e-12
"""Lower clamp of the mean energy in Eq. 3: keeps an all-zero sample finite."""


def path_energies(h: Tensor, weight: Tensor, paths: int) -> Tensor:
    """Eq. 2: energy of every path's output, without computing the outputs.

    Args:
        h: (B, N*d, H, W), input of the expanding 1x1 convolution.
        weight: (C, N*d, 1, 1), that convolution's dense weight; columns n*d to (n+1)*d are W_n.
        paths: N.

    Returns:
        (B, N), mean over C, H, W of (W_n h_n)^2; float32, or float64 for float64 input.
    """
    B, _, H, W = h.shape
    C = weight.shape[0]
    with torch.autocast(h.device.type, enabled=False):
        dtype = torch.promote_types(h.dtype, torch.float32)
        h = h.to(dtype).reshape(B, paths, -1, H * W)  # (B, N, d, HW)
        w = weight.to(dtype).reshape(C, paths, -1).permute(1, 2, 0)  # (N, d, C)
        S = h @ h.mT  # (B, N, d, d)
        G = w @ w.mT  # (N, d, d)
        return (S * G).sum((-2, -1)) / (C * H * W)


def draw_drop_mask(batch: int, paths: int, p_drop: float, device: torch.device) -> Tensor:
    """DropSubNNs: (B, N), 0 with probability p_drop, else 1 / (1 - p_drop)."""
    kept = torch.rand(batch, paths, device=device) >= p_drop
    return kept / (1 - p_drop)


class CodedBottleneck(nn.Module):
    """ResNeXt bottleneck whose N paths carry energies that a coding scheme prescribes.

    Submodules are named as in timm's bottleneck (conv1 bn1 conv2 bn2 conv3 bn3 downsample).
    The projection skip exists where the stride or the number of channels changes.

    Args:
        in_chs: input channels.
        out_chs: output channels C.
        width: d, channels of one path.
        scheme: CodingScheme or (K, N) table.
        stride: of the 3x3 convolution and of the projection skip.
        p_drop: probability of dropping a path in training (DropSubNNs).
    """

    codewords: Tensor

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        width: int,
        scheme: CodingScheme | ArrayLike,
        stride: int = 1,
        p_drop: float = 0.0,
    ) -> None:
        super().__init__()
        scheme = scheme if isinstance(scheme, CodingScheme) else CodingScheme(scheme)
        self.paths = scheme.paths
        self.p_drop = p_drop
        hidden = self.paths * width
        self.conv1 = nn.Conv2d(in_chs, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(
            hidden, hidden, 3, stride=stride, padding=1, groups=self.paths, bias=False
        )
        self.bn2 = nn.BatchNorm2d(hidden)
        self.act2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(hidden, out_chs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_chs)
        self.act3 = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_chs != out_chs:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_chs, out_chs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_chs),
            )
        self.set_scheme(scheme)
        self.register_load_state_dict_post_hook(lambda module, _: module._count_active())
        self.reset_parameters()

    @property
    def ratio(self) -> float:
        """r = Nact / N."""
        return self.active / self.paths

    @property
    def scheme(self) -> CodingScheme:
        """The coding scheme that the saved codewords hold."""
        return CodingScheme(self.codewords.cpu().numpy())

    def set_scheme(self, scheme: CodingScheme) -> None:
        """Give the block another table over the same N paths (other classes, say)."""
        if scheme.paths != self.paths:
            raise ValueError(f"scheme has {scheme.paths} paths, the block has {self.paths}")
        device = self.conv1.weight.device
        table = torch.from_numpy(np.array(scheme.table)).to(device)
        self.register_buffer("codewords", table)
        self._count_active()

    def _count_active(self) -> None:
        # Kept as a number: reading it off the buffer would synchronise the device every step.
        self.active = int(self.codewords[0].sum())

    def reset_parameters(self) -> None:
        """Kaiming-normal fan-out start, and the last normalisation's gamma at zero.

        conv3 starts as N separate (C, d) convolutions would, fan-out N*C: Eq. 3 makes it
        invariant to scale, so that its start sets its effective learning rate.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        fan_out = self.paths * self.conv3.out_channels
        nn.init.normal_(self.conv3.weight, std=(2 / fan_out) ** 0.5)
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) -> (B, C, H', W')."""
        return self.forward_coded(x)[0]

    def forward_coded(
        self, x: Tensor, path_mask: Tensor | None = None, drop_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The block with its energies.

        Args:
            x: (B, in_chs, H, W).
            path_mask: (N,) or (B, N) of any dtype, 1 where a path acts; removed paths leave
                before the normaliser of Eq. 3.
            drop_mask: (N,) or (B, N) of any dtype, factor of each normalised path (DropSubNNs);
                drawn here in training where it is not given.

        Returns:
            (B, C, H', W') output and (B, N) energies of the normalised paths, before dropping;
            they sum to N unless all are zero.
        """
        shortcut = x if self.downsample is None else self.downsample(x)
        h = self.act1(self.bn1(self.conv1(x)))
        h = self.act2(self.bn2(self.conv2(h)))
        energies = path_energies(h, self.conv3.weight, self.paths)
        if path_mask is not None:
            path_mask = path_mask.to(energies.dtype)
            energies = energies * path_mask
        mean = energies.mean(1, keepdim=True).clamp_min(SMALLEST_MEAN_ENERGY)
        energies = energies / mean
        factor = mean.rsqrt().expand(-1, self.paths)  # (B, N)
        if path_mask is not None:
            factor = factor * path_mask
        if drop_mask is None and self.training and self.p_drop > 0:
            drop_mask = draw_drop_mask(len(x), self.paths, self.p_drop, x.device)
        if drop_mask is not None:
            factor = factor * drop_mask.to(factor.dtype)
        factor = factor.clamp(max=torch.finfo(h.dtype).max).to(h.dtype)
        h = h * factor.repeat_interleave(h.shape[1] // self.paths, 1)[:, :, None, None]
        return self.act3(self.bn3(self.conv3(h)) + shortcut), energies
