"""The coded bottleneck block: Eq. 2 and 3 between a bottleneck's convolutions.

Shapes: B batch, N paths, d width of a path, C output channels, H x W pixels, K classes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from codepath.codes import CodingScheme
from codepath.core.errors import unknown_name
from codepath.models.aligned import AlignedConv2d
from codepath.models.concatenation import ConcatenatedPaths
from codepath.models.energies import (
    EnergiesOf,
    energies_from_grams,
    normalise_energies,
    path_energies,
    per_channel,
)
from codepath.models.normalised_sum import SumPaths, sum_paths
from codepath.models.script import draw_drop_mask, scripted_block

AGGREGATES = ("sum", "concat")


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
        aggregate: "sum" of the paths' outputs, or "concat" for the paper's ablation: path n
            gives C // N of the C output channels, the first C % N paths one more.
    """

    codewords: Tensor
    active: int
    """Nact."""
    words_digest: str
    """Equal for blocks with equal codewords."""
    energies_of: EnergiesOf | None = None
    """What takes the energies of Eq. 2; None: the default way."""
    folded = False
    """Whether the factor of Eq. 3 multiplies conv3's output, where the paths have it in common."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        width: int,
        scheme: CodingScheme | ArrayLike,
        stride: int = 1,
        aggregate: str = "sum",
        p_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if aggregate not in AGGREGATES:
            raise unknown_name("aggregate", aggregate, AGGREGATES)
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
        self.aggregate = aggregate
        self.conv3: nn.Conv2d | ConcatenatedPaths = (
            nn.Conv2d(hidden, out_chs, 1, bias=False)
            if aggregate == "sum"
            else ConcatenatedPaths(hidden, out_chs, self.paths)
        )
        self.bn3 = nn.BatchNorm2d(out_chs)
        self.act3 = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_chs != out_chs:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_chs, out_chs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_chs),
            )
        self.set_scheme(scheme)
        self.register_load_state_dict_post_hook(_note_codewords)
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
        _note_codewords(self)

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script compiles in this block's place."""
        return scripted_block(self, keeps_energies=False)

    def reset_parameters(self) -> None:
        """Kaiming-normal fan-out start, and the last normalisation's gamma at zero.

        conv3 starts as N separate (C, d) convolutions would, fan-out N*C: Eq. 3 makes it
        invariant to scale, so that its start sets its effective learning rate.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        fan_out = self.conv3.out_channels * (self.paths if self.aggregate == "sum" else 1)
        nn.init.normal_(self.conv3.weight, std=(2 / fan_out) ** 0.5)
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) -> (B, C, H', W')."""
        return self.forward_coded(x)[0]

    def forward_coded(
        self,
        x: Tensor,
        path_mask: Tensor | None = None,
        drop_mask: Tensor | None = None,
        gradient_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The block with its energies.

        Args:
            x: (B, in_chs, H, W).
            path_mask: (N,) or (B, N) of any dtype, 1 where a path acts; removed paths leave
                before the normaliser of Eq. 3.
            drop_mask: (N,) or (B, N) of any dtype, factor of each normalised path (DropSubNNs);
                drawn here in training where it is not given.
            gradient_mask: (N,) or (B, N) of any dtype, 1 where gradients flow back into a path's
                output; it changes no value (the paper's footnote 5).

        Returns:
            (B, C, H', W') output and (B, N) energies of the normalised paths, before dropping;
            they sum to N unless all are zero.
        """
        shortcut = x if self.downsample is None else self.downsample(x)
        h = self.forward_hidden(x)
        if drop_mask is None and self.training and self.p_drop > 0:
            drop_mask = draw_drop_mask(x.shape[0], self.paths, self.p_drop, x.device)
        out, energies = self._expand(h, path_mask, drop_mask, gradient_mask)
        out = self.bn3(out)
        out += shortcut
        return self.act3(out), energies

    def forward_hidden(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) -> (B, N*d, H', W'): all that the energies need, up to conv3."""
        h = self.act1(self.bn1(self.conv1(x)))
        return self.act2(self.bn2(self.conv2(h)))

    def _dense_weight(self) -> Tensor:
        """(C, N*d, 1, 1) of conv3, padded as h is where the block is aligned."""
        conv = self.conv3
        return conv.aligned_weight() if isinstance(conv, AlignedConv2d) else conv.weight

    def _expand(
        self,
        h: Tensor,
        path_mask: Tensor | None,
        drop_mask: Tensor | None,
        gradient_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """conv3 under the normaliser: (B, N*d, H, W) -> (B, C, H, W) and (B, N)."""
        B, device = h.shape[0], h.device.type
        high = torch.promote_types(h.dtype, torch.float32)
        path_mask, drop_mask, gradient_mask = (
            None if mask is None else mask.to(high).expand(B, -1)
            for mask in (path_mask, drop_mask, gradient_mask)
        )
        if self.aggregate == "sum" and gradient_mask is None:
            low = torch.is_autocast_enabled(device)
            dtype = torch.get_autocast_dtype(device) if low else h.dtype
            inputs = (h, self._dense_weight(), self.paths, dtype, path_mask, drop_mask)
            traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
            chosen = self.folded or self.energies_of is not None
            with torch.autocast(device, enabled=False):
                if torch.is_grad_enabled() and h.requires_grad and not traced and not chosen:
                    return SumPaths.apply(*inputs)
                return sum_paths(*inputs, self.energies_of or energies_from_grams, self.folded)
        raw = (
            path_energies(h, self._dense_weight(), self.paths)
            if isinstance(self.conv3, nn.Conv2d)
            else self.conv3.energies(h)
        )
        if gradient_mask is not None:
            raw = raw * gradient_mask + (raw * (1 - gradient_mask)).detach()
        energies, factor = normalise_energies(raw, path_mask, drop_mask)
        z = h * per_channel(factor, h)
        if gradient_mask is None:
            return self.conv3(z), energies
        own = per_channel(gradient_mask, z)
        return self.conv3(z * own) + self.conv3(z * (1 - own)).detach(), energies


def _note_codewords(block: CodedBottleneck, _: Any = None) -> None:
    # Kept as plain values: reading them off the buffer would synchronise the device every step.
    table = block.codewords.cpu().numpy()
    block.active = int(table[0].sum())
    block.words_digest = hashlib.sha256(table.tobytes()).hexdigest()
