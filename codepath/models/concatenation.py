"""conv3 of the ablation in which the paths' outputs stand side by side instead of being summed.

Shapes: B batch, N paths, d width of a path, C output channels, H x W pixels.
"""

# No `from __future__ import annotations`: TorchScript reads annotations as objects.

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codepath.core.errors import UserError
from codepath.models.energies import energies_from_grams, energies_type, path_grams


class ConcatenatedPaths(nn.Module):
    """1x1 convolutions of the paths' channels, path by path, side by side in the output.

    `weight` is (C, d, 1, 1): row c maps the d channels of the path that owns output channel c.
    """

    def __init__(self, hidden: int, out_channels: int, paths: int) -> None:
        super().__init__()
        if out_channels < paths:
            raise UserError(f"{out_channels} channels cannot be shared by {paths} paths")
        self.paths = paths
        self.out_channels = out_channels
        each, rest = divmod(out_channels, paths)
        self.sizes: list[int] = [each + int(n < rest) for n in range(paths)]
        """Output channels of every path."""
        self.weight = nn.Parameter(torch.empty(out_channels, hidden // paths, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        """(B, N*d, H, W) -> (B, C, H, W)."""
        if self.sizes[0] == self.sizes[-1]:
            return F.conv2d(z, self.weight, groups=self.paths)
        parts, weights = z.chunk(self.paths, 1), self.weight.split(self.sizes)
        return torch.cat([F.conv2d(parts[n], weights[n]) for n in range(self.paths)], 1)

    def energies(self, h: Tensor) -> Tensor:
        """Eq. 2 over a path's own output channels: (B, N*d, H, W) -> (B, N)."""
        weights = self.weight.split(self.sizes)
        grams = [path_grams(weights[n], 1, energies_type(h))[0] for n in range(self.paths)]
        return energies_from_grams(h, torch.stack(grams))
