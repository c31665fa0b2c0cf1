"""Batches of images: the loader protocol and its backend on arrays in memory.

Loaders yield uint8 images; `Normalize` turns them into the network's input on its device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from codepath.config import DataConfig
from codepath.data.datasets import ImageSet, Split
from codepath.data.randomness import Draw, integers, permutation
from codepath.runtime import UserError


class Batch(NamedTuple):
    """What a loader yields."""

    images: Tensor
    """(B, C, H, W) uint8"""
    labels: Tensor
    """(B,) int64"""
    indices: Tensor
    """(B,) int64, the samples' places in their split"""


class Loader(Protocol):
    """An epoch of batches; iterating again gives the same epoch again."""

    @property
    def num_samples(self) -> int:
        """Images that one iteration yields."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0: order and augmentation are functions of (seed, epoch)."""

    def __len__(self) -> int:
        """Batches that one iteration yields."""

    def __iter__(self) -> Iterator[Batch]: ...


class Normalize(nn.Module):
    """(B, C, H, W) uint8 -> (x / 255 - mean) / std, float32, channels last."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        mean_, std_ = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (mean, std))
        self.register_buffer("scale", (1 / (255 * std_)).float(), persistent=False)
        self.register_buffer("shift", (-mean_ / std_).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The normalised images."""
        images = images.to(memory_format=torch.channels_last, dtype=torch.float32)
        return images * self.scale + self.shift


class ArrayLoader:
    """The torch backend: a split in memory, with pad-crop and flip.

    Args:
        split: the images.
        batch_size: B; the last batch may be smaller.
        shuffle: whether the order is drawn from (seed, epoch).
        seed: of order and augmentation.
        pad: black pixels on each side before a random crop to the original size; 0 for none.
        flip: whether images are mirrored with probability 1/2.
        drop_last: leave out an incomplete last batch.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        pad: int = 0,
        flip: bool = False,
        drop_last: bool = False,
    ) -> None:
        self._labels = split.labels
        self._size = split.images.shape[1:3]
        self._images = np.pad(split.images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        self._batch_size = batch_size
        self._shuffle, self._seed, self._pad, self._flip = shuffle, seed, pad, flip
        self._epoch = 0
        samples = len(split)
        self._num_samples = samples - samples % batch_size if drop_last else samples
        if self._num_samples == 0:
            raise UserError(
                f"{samples} images make no batch of {batch_size}: choose a smaller batch_size"
            )

    @property
    def num_samples(self) -> int:
        """Images that one iteration yields."""
        return self._num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._num_samples // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        size = len(self._labels)
        order = permutation(size, self._seed, self._epoch) if self._shuffle else np.arange(size)
        epoch = self._epoch
        for start in range(0, self._num_samples, self._batch_size):
            indices = order[start : min(start + self._batch_size, self._num_samples)]
            yield Batch(
                torch.from_numpy(self._augmented(indices, epoch)),
                torch.from_numpy(self._labels[indices]),
                torch.from_numpy(indices),
            )

    def _augmented(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """(B, C, H, W) crops, mirrored where flipped."""
        windows = np.lib.stride_tricks.sliding_window_view(self._images, self._size, axis=(1, 2))
        draws = (self._seed, epoch, indices)
        places = 2 * self._pad + 1
        top = integers(places, *draws, Draw.CROP_Y)
        left = integers(places, *draws, Draw.CROP_X)
        crops = windows[indices, top, left]  # (B, C, H, W)
        if self._flip:
            mirrored = integers(2, *draws, Draw.FLIP) == 1
            crops[mirrored] = crops[mirrored, :, :, ::-1]
        return crops


def training_loader(images: ImageSet, config: DataConfig, batch_size: int, seed: int) -> Loader:
    """The augmented training split in the order of (seed, epoch); whole batches only."""
    return ArrayLoader(
        images.train,
        batch_size,
        shuffle=True,
        seed=seed,
        pad=config.pad,
        flip=config.flip,
        drop_last=True,
    )


def evaluation_loader(split: Split, batch_size: int = 500) -> Loader:
    """Every image of a split once, in order, unaugmented."""
    return ArrayLoader(split, batch_size)
