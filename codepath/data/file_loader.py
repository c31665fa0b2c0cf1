"""Batches of images that stay in their files, decoded by a few threads ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codepath.core.machine import available_cores
from codepath.data.augment import CropAugmentation
from codepath.data.files import FileSplit
from codepath.data.loaders import Batch, EpochOrder, OrderedLoader, Shard, make_batch
from codepath.data.prefetch import Progress, prefetched
from codepath.data.resize import central_crop

_AHEAD = 2
"""Batches under way while one is used."""
_CHUNK = 8
"""Images that a thread takes at a time."""


class _Part(NamedTuple):
    """The images that a thread takes at a time."""

    indices: NDArray[np.int64]
    out: NDArray[np.uint8]
    """(len(indices), crop, crop, 3), to be filled."""
    batch: tuple[NDArray[np.int64], NDArray[np.uint8]] | None
    """Indices and images of the whole batch, if this is its last part."""


class FileLoader(OrderedLoader):
    """The torch backend for images in files; the same bytes whatever the number of threads.

    Args:
        split: the images.
        batch_size: B.
        augmentation: of training images; None: central crops, as for evaluation.
        shuffle: whole batches in the order of (seed, epoch); otherwise every image in order.
        seed: of order and augmentation.
        threads: number of threads that decode; None: one for each core.
        shard: this process's share.
    """

    def __init__(
        self,
        split: FileSplit,
        batch_size: int,
        augmentation: CropAugmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        threads: int | None = None,
        shard: Shard | None = None,
    ) -> None:
        self._split = split
        self._augmentation = augmentation
        self._threads = threads or available_cores()
        super().__init__(EpochOrder(len(split), batch_size, shuffle, seed, shard))

    def __iter__(self) -> Iterator[Batch]:
        epoch = self._epoch
        ahead = _AHEAD * -(-self._order.batch_size // _CHUNK)
        progress = Progress()

        def image(index: int) -> NDArray[np.uint8]:
            decoded = self._split.image(index)
            progress.beat()
            return decoded

        def fill(part: _Part) -> _Part:
            self._fill(image, epoch, part.indices, part.out)
            return part

        with closing(prefetched(fill, self._parts(), self._threads, ahead, progress)) as filled:
            for part in filled:
                if part.batch is not None:  # parts come in order, so the others are filled too
                    indices, out = part.batch
                    yield make_batch(out, self._split.labels[indices], indices)

    def _parts(self) -> Iterator[_Part]:
        side = self._split.crop
        for indices in self._batches():
            out = np.empty((len(indices), side, side, 3), np.uint8)
            for start in range(0, len(indices), _CHUNK):
                chosen = slice(start, start + _CHUNK)
                last = start + _CHUNK >= len(indices)
                yield _Part(indices[chosen], out[chosen], (indices, out) if last else None)

    def _fill(
        self,
        image: Callable[[int], NDArray[np.uint8]],
        epoch: int,
        indices: NDArray[np.int64],
        out: NDArray[np.uint8],
    ) -> None:
        if self._augmentation is not None:
            self._augmentation.apply(image, self._order.seed, epoch, indices, out)
            return
        for place, index in enumerate(indices.tolist()):
            out[place] = central_crop(image(index), self._split.crop)
