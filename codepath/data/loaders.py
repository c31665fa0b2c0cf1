"""Batches of images: the loader protocol, its backend on arrays in memory, and the choice.

Loaders yield uint8 images; `Normalize` turns them into the network's input on its device.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from codepath.config import DataConfig
from codepath.data.augment import Augmentation, CropAugmentation
from codepath.data.datasets import Images, Split
from codepath.data.files import FileSet, FileSplit
from codepath.data.prefetch import prefetched
from codepath.data.randomness import permutation
from codepath.runtime import UserError, available_cores, unknown_name

BACKENDS = ("auto", "ffcv", "torch")
MOST_THREADS = 8
"""More would wait for the GIL, and keep more batches in memory."""
SPARE_BATCHES = 1
"""Batches ahead of the caller beyond those in the threads' hands."""


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
        """Images that one iteration yields."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0: order and augmentation are functions of (seed, epoch)."""

    def __len__(self) -> int:
        """Batches that one iteration yields."""

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class LoaderOptions:
    """What changes the speed of loading and nothing else."""

    backend: str = "auto"
    """ffcv, torch, or auto: FFCV where it is installed and fits the images."""
    betons: Path = Path("data") / "betons"
    """Where FFCV's files are kept."""


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


class EpochOrder:
    """Which samples make which batch: whole batches of a permutation of (seed, epoch), or all
    samples in order."""

    def __init__(self, samples: int, batch_size: int, shuffle: bool, seed: int) -> None:
        self.samples, self.batch_size, self.shuffle, self.seed = samples, batch_size, shuffle, seed
        self.num_samples = samples - samples % batch_size if shuffle else samples
        if self.num_samples == 0:
            raise UserError(
                f"{samples} images make no batch of {batch_size}: choose a smaller batch_size"
            )

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """(num_samples,) indices of an epoch."""
        if not self.shuffle:
            return np.arange(self.samples)
        return permutation(self.samples, self.seed, epoch)[: self.num_samples]

    def batches(self, epoch: int) -> Iterator[np.ndarray]:
        """The indices of each batch, (B,)."""
        order = self.order(epoch)
        for start in range(0, self.num_samples, self.batch_size):
            yield order[start : start + self.batch_size]


class OrderedLoader:
    """What loaders over an `EpochOrder` share."""

    def __init__(self, order: EpochOrder) -> None:
        self._order = order
        self._epoch = 0

    @property
    def num_samples(self) -> int:
        """Images that one iteration yields."""
        return self._order.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._order)


class ArrayLoader(OrderedLoader):
    """The torch backend: a split in memory, augmented by threads a few batches ahead.

    Args:
        split: the images.
        batch_size: B.
        augmentation: of training images; None: images as they are, without threads.
        shuffle: whole batches in the order of (seed, epoch); otherwise every image in order.
        seed: of order and augmentation.
        threads: which augment; default: the usable cores, MOST_THREADS at most. 0: the caller's.
            They change the speed and nothing else.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self._split = split
        self._augmentation = augmentation
        if augmentation is None:
            threads = 0
        self._threads = min(available_cores(), MOST_THREADS) if threads is None else threads
        super().__init__(EpochOrder(len(split), batch_size, shuffle, seed))

    def __iter__(self) -> Iterator[Batch]:
        batches = self._order.batches(self._epoch)
        make = partial(self._make, self._epoch)
        if self._threads == 0:
            return map(make, batches)
        return prefetched(make, batches, self._threads, self._threads + SPARE_BATCHES)

    def _make(self, epoch: int, indices: np.ndarray) -> Batch:
        images, seed = self._split.images, self._order.seed
        if self._augmentation is None:
            chosen = images[indices]
        else:
            chosen = np.empty((len(indices), *images.shape[1:]), np.uint8)
            self._augmentation.apply(images, indices, seed, epoch, indices, chosen)
        return make_batch(chosen, self._split.labels[indices], indices)


def make_batch(images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> Batch:
    """A batch from arrays (B, H, W, C), (B,), (B,), which it shares memory with."""
    return Batch(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        torch.from_numpy(labels),
        torch.from_numpy(indices),
    )


def choose_backend(images: Images, options: LoaderOptions) -> tuple[str, str]:
    """(backend, why): "ffcv" or "torch", and the reason where FFCV was left out."""
    if options.backend not in BACKENDS:
        raise unknown_name("loader", options.backend, BACKENDS)
    if options.backend == "torch":
        return "torch", ""
    reason = ""
    if isinstance(images, FileSet):
        reason = "FFCV's files hold images of one size here"
    elif images.image_shape[0] != 3:
        reason = f"FFCV stores RGB images, {images.dataset} has {images.image_shape[0]} channel"
    elif importlib.util.find_spec("ffcv") is None:
        reason = "FFCV is not installed, `codepath doctor` says why"
    if not reason:
        return "ffcv", ""
    if options.backend == "ffcv":
        raise UserError(f"{reason}: use the torch loader")
    return "torch", reason


def training_loader(
    images: Images,
    config: DataConfig,
    batch_size: int,
    seed: int,
    options: LoaderOptions | None = None,
) -> Loader:
    """The augmented training split in the order of (seed, epoch); whole batches only.

    Both backends yield the same bytes in the same order.
    """
    options = options or LoaderOptions()
    if isinstance(images, FileSet):
        from codepath.data.file_loader import FileLoader

        choose_backend(images, options)
        crops = CropAugmentation.from_config(config, images.mean, images.train.crop)
        return FileLoader(images.train, batch_size, crops, shuffle=True, seed=seed)
    augmentation = Augmentation.from_config(config, images.mean)
    backend, _ = choose_backend(images, options)
    if backend == "torch":
        return ArrayLoader(images.train, batch_size, augmentation, shuffle=True, seed=seed)
    from codepath.data.beton import ensure_beton
    from codepath.data.ffcv_loader import FfcvLoader

    path = ensure_beton(images, "train", options.betons)
    return FfcvLoader(path, len(images.train), batch_size, augmentation, seed)


def evaluation_loader(split: Split | FileSplit, batch_size: int = 500) -> Loader:
    """Every image of a split once, in order, unaugmented."""
    if isinstance(split, FileSplit):
        from codepath.data.file_loader import FileLoader

        return FileLoader(split, batch_size)
    return ArrayLoader(split, batch_size)
