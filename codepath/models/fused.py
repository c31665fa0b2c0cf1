"""The form of a binary classifier that is stored, exported, compressed and run.

Shapes: B batch, N paths of the parent's blocks, n of them kept, d width of a path, C channels.

Batch normalisation is folded into the convolutions. Its shape is plain data, so that a file can
bring the weights alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codepath.models.energies import (
    SMALLEST_MEAN_ENERGY,
    energies_from_grams,
)

_LARGEST = 2**14
"""Of a size in a network."""


def kept_paths_normaliser(energies: Tensor, coded_paths: int, dtype: torch.dtype) -> Tensor:
    """(B, n) energies of the kept paths -> (B, 1, 1, 1), 1 / sqrt(sum E / N)."""
    mean = (energies.sum(1) / coded_paths).clamp_min(SMALLEST_MEAN_ENERGY)
    return mean.rsqrt().to(dtype)[:, None, None, None]


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """Sizes of a `FusedBlock`."""

    in_chs: int
    hidden: int
    """n * d"""
    out_chs: int
    groups: int
    """n"""
    stride: int
    coded_paths: int
    """N of Eq. 3; 0: no normaliser."""
    projection: int | None
    """None: the skip is the identity; 0: a 1x1 convolution; r > 0: two of rank r."""

    def __post_init__(self) -> None:
        sizes = (self.in_chs, self.hidden, self.out_chs, self.groups, self.stride)
        if not all(1 <= size <= _LARGEST for size in sizes) or self.hidden % self.groups:
            raise ValueError("a block's sizes are impossible")
        if not (self.coded_paths == 0 or self.groups <= self.coded_paths <= _LARGEST):
            raise ValueError(f"a block keeps {self.groups} of {self.coded_paths} paths")
        if self.projection is None and (self.stride != 1 or self.in_chs != self.out_chs):
            raise ValueError("a block's skip cannot be the identity")
        if self.projection is not None and not 0 <= self.projection <= _LARGEST:
            raise ValueError("a block's projection is of an impossible rank")


@dataclass(frozen=True, kw_only=True)
class ClassifierShape:
    """Sizes of a `FusedClassifier`: what its weights are loaded into."""

    in_chans: int
    stem_width: int
    stem_kernel: int
    stem_stride: int
    stem_pool: bool
    depths: tuple[int, ...]
    """Blocks of each stage."""
    blocks: tuple[BlockShape, ...]

    def __post_init__(self) -> None:
        stem = (self.in_chans, self.stem_width, self.stem_kernel, self.stem_stride)
        if not self.blocks or not all(1 <= size <= _LARGEST for size in stem):
            raise ValueError("a classifier's sizes are impossible")
        if min(self.depths, default=0) < 0 or sum(self.depths) != len(self.blocks):
            raise ValueError("a classifier's stages have another number of blocks")
        ends = (self.stem_width, *(block.out_chs for block in self.blocks))
        if any(block.in_chs != end for block, end in zip(self.blocks, ends, strict=False)):
            raise ValueError("a classifier's blocks do not follow one another")


class FusedBlock(nn.Module):
    """A sliced bottleneck for inference: convolutions with biases.

    Eq. 3 measures the weights before bn3, so its Gram matrices W_n^T W_n / C are kept.
    """

    grams: Tensor | None
    """(n, d, d)"""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.shape = shape
        hidden, groups = shape.hidden, shape.groups
        self.conv1 = nn.Conv2d(shape.in_chs, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, shape.stride, 1, groups=groups)
        self.conv3 = nn.Conv2d(hidden, shape.out_chs, 1)
        self.register_buffer(
            "grams",
            torch.zeros(groups, hidden // groups, hidden // groups) if shape.coded_paths else None,
        )
        self.downsample: nn.Module = nn.Identity()
        if shape.projection == 0:
            self.downsample = nn.Conv2d(shape.in_chs, shape.out_chs, 1, shape.stride)
        elif shape.projection:
            self.downsample = nn.Sequential(
                nn.Conv2d(shape.in_chs, shape.projection, 1, shape.stride, bias=False),
                nn.Conv2d(shape.projection, shape.out_chs, 1),
            )

    def forward_hidden(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) -> (B, n*d, H', W'), the input of conv3 under the normaliser."""
        h = self.conv2(self.conv1(x).relu_()).relu_()
        if self.grams is None:
            return h
        return h * kept_paths_normaliser(
            energies_from_grams(h, self.grams), self.shape.coded_paths, h.dtype
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) -> (B, C, H', W')."""
        out = self.conv3(self.forward_hidden(x))
        out += self.downsample(x)
        return out.relu_()


class FusedClassifier(nn.Module):
    """A binary classifier for inference: what is stored, exported and compressed."""

    def __init__(self, shape: ClassifierShape) -> None:
        super().__init__()
        self.shape = shape
        self.conv1 = nn.Conv2d(
            shape.in_chans,
            shape.stem_width,
            shape.stem_kernel,
            shape.stem_stride,
            shape.stem_kernel // 2,
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1) if shape.stem_pool else nn.Identity()
        self.blocks = nn.Sequential(*(FusedBlock(block) for block in shape.blocks))
        self.fc = nn.Linear(shape.blocks[-1].out_chs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B,) logit."""
        x = self.blocks(self.maxpool(self.conv1(x).relu_()))
        return self.fc(x.mean((2, 3)))[:, 0]
