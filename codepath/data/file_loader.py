"""Batches of images that stay in their files, decoded by a few threads ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from codepath.data.augment import CropAugmentation
from codepath.data.files import FileSplit
from codepath.data.loaders import Batch, EpochOrder, OrderedLoader, make_batch
from codepath.data.resize import central_crop
from codepath.runtime import available_cores

_AHEAD = 2
"""Batches under way while one is used."""
_CHUNK = 8
"""Images that a thread takes at a time."""


class FileLoader(OrderedLoader):
    """The torch backend for images in files; the same bytes whatever the number of threads.

    Args:
        split: the images.
        batch_size: B.
        augmentation: of training images; None: central crops, as for evaluation.
        shuffle: whole batches in the order of (seed, epoch); otherwise every image in order.
        seed: of order and augmentation.
        threads: that decode; None: one a core.
    """

    def __init__(
        self,
        split: FileSplit,
        batch_size: int,
        augmentation: CropAugmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self._split = split
        self._augmentation = augmentation
        self._threads = threads or available_cores()
        super().__init__(EpochOrder(len(split), batch_size, shuffle, seed))

    def __iter__(self) -> Iterator[Batch]:
        epoch = self._epoch
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        under_way: deque[_UnderWay] = deque()
        try:
            for indices in self._order.batches(epoch):
                under_way.append(self._start(pool, epoch, indices))
                if len(under_way) > _AHEAD:
                    yield self._finish(*under_way.popleft())
            while under_way:
                yield self._finish(*under_way.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor, epoch: int, indices: NDArray[np.int64]) -> _UnderWay:
        side = self._split.crop
        out = np.empty((len(indices), side, side, 3), np.uint8)
        parts = [slice(start, start + _CHUNK) for start in range(0, len(indices), _CHUNK)]
        return indices, out, [pool.submit(self._fill, epoch, indices[p], out[p]) for p in parts]

    def _fill(self, epoch: int, indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        if self._augmentation is not None:
            self._augmentation.apply(self._split.image, self._order.seed, epoch, indices, out)
            return
        for place, index in enumerate(indices.tolist()):
            out[place] = central_crop(self._split.image(index), self._split.crop)

    def _finish(
        self, indices: NDArray[np.int64], out: NDArray[np.uint8], futures: list[Future[None]]
    ) -> Batch:
        for future in futures:
            future.result()
        return make_batch(out, self._split.labels[indices], indices)


_UnderWay = tuple[NDArray[np.int64], NDArray[np.uint8], list[Future[None]]]
