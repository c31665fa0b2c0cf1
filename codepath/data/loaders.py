"""Batches of images: the loader protocol, and its backend on arrays in memory.

Loaders yield uint8 images; `Normalize` turns them into the network's input on its device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from codepath.core.errors import UserError
from codepath.core.machine import available_cores
from codepath.data.augment import Augmentation
from codepath.data.data_set import ArraySplit
from codepath.data.prefetch import Progress, prefetched
from codepath.data.randomness import permutation

MOST_THREADS = 8
"""More threads would wait for the GIL, and keep more batches in memory."""
SPARE_BATCHES = 1
"""Batches ahead of the caller, beyond one for each thread."""
ARRAY_CHUNK = 256
"""Images in memory that are augmented at a time."""


class Batch(NamedTuple):
    """What a loader yields."""

    images: Tensor
    """(B, C, H, W) uint8, channels last in memory"""
    labels: Tensor
    """(B,) int64"""
    indices: Tensor
    """(B,) int64, the samples' places in their split"""


class Loader(Protocol):
    """An epoch of batches; iterating again gives the same epoch again."""

    @property
    def num_samples(self) -> int:
        """Images of a whole epoch, over all processes."""

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch, from 0, and the batch with which the next iterations begin.

        Order and augmentation are functions of (seed, epoch), so that training goes on in the
        middle of an epoch with the batches that it would have seen.
        """

    def __len__(self) -> int:
        """Batches of a whole epoch."""

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class LoaderOptions:
    """What changes the speed of loading and nothing else."""

    backend: str = "auto"
    """ffcv, torch, or auto: FFCV where it is installed and fits the images."""
    betons: Path = Path("data") / "betons"
    """Where FFCV's files are kept."""
    workers: int = 0
    """Threads that load; 0: one for each usable core, which is also the most."""


def usable_workers(workers: int) -> int:
    """The wanted number of threads (0: one for each usable core), at most the usable cores."""
    if workers < 0:
        raise UserError(f"workers is {workers}, must not be negative")
    cores = available_cores()
    return min(workers or cores, cores)


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


@dataclass(frozen=True)
class Shard:
    """Which share of the images is this process's."""

    rank: int = 0
    world: int = 1


class EpochOrder:
    """Which samples make which batch.

    In training, the batches are whole batches of a permutation that (seed, epoch) decides. Each of
    `world` processes takes an equal part of every batch, so that a step sees the same images
    whatever the number of processes. In evaluation, all samples come in order, each in one process.

    Args:
        samples: n, of the split.
        batch_size: B, over all processes in training, of this process in evaluation.
        shuffle: True for training, False for evaluation.
        seed: of the order.
        shard: this process's share; UserError where its batches would be empty or unequal.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        shuffle: bool,
        seed: int,
        shard: Shard | None = None,
    ) -> None:
        self.samples, self.shuffle, self.seed = samples, shuffle, seed
        self.shard = shard or Shard()
        self.num_samples = samples - samples % batch_size if shuffle else samples
        if self.num_samples == 0:
            raise UserError(
                f"{samples} images make no batch of {batch_size}: choose a smaller one "
                "(train.batch_size)"
            )
        if shuffle and batch_size % self.shard.world:
            raise UserError(
                f"a batch of {batch_size} cannot be shared by {self.shard.world} processes: "
                "choose a number of processes that divides it"
            )
        self.batch_size = batch_size // self.shard.world if shuffle else batch_size
        """Images of a batch in this process."""

    def __len__(self) -> int:
        return -(-len(self.order(0)) // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """This process's indices in an epoch, one after the other."""
        rank, world = self.shard.rank, self.shard.world
        if not self.shuffle:
            return np.arange(rank, self.samples, world)
        whole = permutation(self.samples, self.seed, epoch)[: self.num_samples]
        return whole.reshape(-1, world, self.batch_size)[:, rank].reshape(-1)

    def batches(self, epoch: int, first: int = 0) -> Iterator[np.ndarray]:
        """The indices of each batch, (B,), from batch number `first`."""
        order = self.order(epoch)
        for start in range(first * self.batch_size, len(order), self.batch_size):
            yield order[start : start + self.batch_size]


class OrderedLoader:
    """The base of loaders over an `EpochOrder`."""

    def __init__(self, order: EpochOrder) -> None:
        self._order = order
        self._length = len(order)
        self._epoch = 0
        self._first_batch = 0

    @property
    def num_samples(self) -> int:
        """Images of a whole epoch, over all processes."""
        return self._order.num_samples

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch, and the batch with which the next iterations begin."""
        self._epoch, self._first_batch = epoch, first_batch

    def __len__(self) -> int:
        return self._length

    def _batches(self) -> Iterator[np.ndarray]:
        """Indices of the batches of the next iteration."""
        return self._order.batches(self._epoch, self._first_batch)


class ArrayLoader(OrderedLoader):
    """The torch backend: a split in memory, augmented by threads a few batches ahead.

    Args:
        split: the images.
        batch_size: B.
        augmentation: of training images; None: images as they are, without threads.
        shuffle: whole batches in the order of (seed, epoch); otherwise every image in order.
        seed: of order and augmentation.
        threads: number of threads that augment. None: one for each usable core, MOST_THREADS at
            most. 0: the caller's thread does it. The number changes the speed and nothing else.
        shard: this process's share.
    """

    def __init__(
        self,
        split: ArraySplit,
        batch_size: int,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        threads: int | None = None,
        shard: Shard | None = None,
    ) -> None:
        self._split = split
        self._augmentation = augmentation
        if augmentation is None:
            threads = 0
        self._threads = min(available_cores(), MOST_THREADS) if threads is None else threads
        super().__init__(EpochOrder(len(split), batch_size, shuffle, seed, shard))

    def __iter__(self) -> Iterator[Batch]:
        batches, progress = self._batches(), Progress()
        make = partial(self._make, progress, self._epoch)
        if self._threads == 0:
            return map(make, batches)
        return prefetched(make, batches, self._threads, self._threads + SPARE_BATCHES, progress)

    def _make(self, progress: Progress, epoch: int, indices: np.ndarray) -> Batch:
        images, seed = self._split.images, self._order.seed
        if self._augmentation is None:
            chosen = images[indices]
        else:
            chosen = np.empty((len(indices), *images.shape[1:]), np.uint8)
            for start in range(0, len(indices), ARRAY_CHUNK):
                part = indices[start : start + ARRAY_CHUNK]
                out = chosen[start : start + ARRAY_CHUNK]
                self._augmentation.apply(images, part, seed, epoch, part, out)
                progress.beat()
        return make_batch(chosen, self._split.labels[indices], indices)


def make_batch(images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> Batch:
    """A batch that shares memory with the arrays (B, H, W, C), (B,) and (B,)."""
    return Batch(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        torch.from_numpy(labels),
        torch.from_numpy(indices),
    )
