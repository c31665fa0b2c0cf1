"""Eq. 2-3 written down literally, with the (B,N,C,H,W) tensor: what the closed form replaces."""

from __future__ import annotations

import torch
from torch import Tensor

from codepath.models import CodedBottleneck


class LiteralCodedBottleneck(CodedBottleneck):
    """The coded block with the same parameters and interface, every path's output materialised."""

    def forward_coded(
        self,
        x: Tensor,
        path_mask: Tensor | None = None,
        drop_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See CodedBottleneck.forward_coded."""
        shortcut = x if self.downsample is None else self.downsample(x)
        h = self.act1(self.bn1(self.conv1(x)))
        h = self.act2(self.bn2(self.conv2(h)))
        B, hidden, H, W = h.shape
        N, C = self.paths, self.conv3.out_channels
        weight = self.conv3.weight.view(C, N, hidden // N)
        t = torch.einsum("cnd,bndhw->bnchw", weight, h.reshape(B, N, hidden // N, H, W))
        if path_mask is not None:
            t = t * path_mask.to(t.dtype).expand(B, N)[:, :, None, None, None]
        energies = t.square().mean((2, 3, 4))  # Eq. 2, (B, N)
        t = t / energies.mean(1).sqrt()[:, None, None, None, None]  # Eq. 3
        energies = t.square().mean((2, 3, 4))
        if drop_mask is not None:
            t = t * drop_mask.to(t.dtype).expand(B, N)[:, :, None, None, None]
        return self.act3(self.bn3(t.sum(1)) + shortcut), energies
