"""The FFCV backend.

Importing FFCV changes torch's number of threads. So only this module imports FFCV, and this module
is imported only where the backend is used.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import numba.typed
import numpy as np
import torch
from numpy.typing import NDArray

from codepath.core.errors import UserError
from codepath.data.augment import Augmentation, CropAugmentation
from codepath.data.beton import Beton
from codepath.data.files import decode
from codepath.data.kernels import gather
from codepath.data.loaders import (
    ARRAY_CHUNK,
    Batch,
    EpochOrder,
    OrderedLoader,
    Shard,
    make_batch,
)
from codepath.data.prefetch import Progress, StuckError, Workers

_THREADS, _TYPED_DICT = torch.get_num_threads(), numba.typed.Dict
# At import FFCV makes a typed dictionary, which numba compiles for three seconds. FFCV's compiled
# code only ever gets entries of that dictionary, so a plain one serves as well.
numba.typed.Dict = dict
try:
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader as _FfcvLoader
    from ffcv.pipeline.allocation_query import AllocationQuery
    from ffcv.pipeline.compiler import Compiler
    from ffcv.pipeline.state import State
    from ffcv.traversal_order.base import TraversalOrder
finally:
    numba.typed.Dict = _TYPED_DICT
    torch.set_num_threads(_THREADS)

_JPEG_CHUNK = 8
"""JPEG images that a thread takes at a time."""
_LAST_WAITS = 10
"""Timeouts that FFCV's thread is waited for where a task hangs."""

_Fill = Callable[[NDArray[np.int64], NDArray[np.uint8]], None]


@contextmanager
def _ffcv_tamed() -> Iterator[None]:
    """Keep FFCV from compiling, and from leaving another number of threads to torch.

    Our kernels need no compiling by FFCV: they are compiled, on disk, and without its fast-math.
    """
    threads = torch.get_num_threads()
    Compiler.set_enabled(False)
    try:
        yield
    finally:
        Compiler.set_enabled(True)
        torch.set_num_threads(threads)


class _Images(SimpleRGBImageDecoder):
    """Fills a batch's buffer, in place of FFCV's decoder and operations."""

    def __init__(self, shape: tuple[int, int, int], fill: _Fill) -> None:
        super().__init__()
        self.shape, self.fill = shape, fill
        self.error: BaseException | None = None
        self.closing = False
        """Whether the batches still to come are not wanted."""

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, AllocationQuery]:
        """FFCV asks for the shape and type of the output, and for a buffer."""
        state = replace(previous_state, shape=self.shape, dtype=np.dtype("<u1"))
        return state, AllocationQuery(self.shape, np.dtype("<u1"))

    def generate_code(self) -> Callable[..., Any]:
        """FFCV asks for the function that fills a batch's buffer."""

        def decode(indices: Any, out: Any, metadata: Any, storage: Any) -> Any:  # noqa: ARG001
            try:
                if self.error is None and not self.closing:
                    self.fill(np.asarray(indices, np.int64), out[: len(indices)])
            except BaseException as error:  # FFCV's thread would die silently and hang the loop
                self.error = error
            return out[: len(indices)]

        return decode


class _Labels(IntDecoder):
    """The labels of a batch."""

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, None]:
        """FFCV asks for the shape and type of the output."""
        return replace(previous_state, shape=(1,), dtype=np.dtype("<i8")), None

    def generate_code(self) -> Callable[..., Any]:
        """FFCV asks for the function that gives a batch's labels."""

        def decode(indices: Any, _: Any, metadata: Any, storage: Any) -> Any:  # noqa: ARG001
            return metadata[indices].astype(np.int64)

        return decode


class _CounterOrder(TraversalOrder):
    """Our order instead of FFCV's; FFCV takes an instance, and calls it with its loader."""

    def __init__(self, order: EpochOrder) -> None:
        self.indices = order.order(0)

    def __call__(self, loader: Any) -> _CounterOrder:  # noqa: ARG002
        return self

    def sample_order(self, epoch: int) -> np.ndarray:  # noqa: ARG002
        """FFCV asks for the indices of an epoch."""
        return self.indices


class FfcvLoader(OrderedLoader):
    """Training batches of a beton in the order of the torch backend.

    The bytes are the torch backend's too. FFCV's own JPEG decoder is not used, since it takes a
    faster, less exact transform.

    Args:
        beton: the images. A beton of pixels is read whole first, to compare checksums. JPEG
            images are compared when they are decoded.
        batch_size: B over all processes; whole batches only.
        augmentation: an `Augmentation` for images of one size stored as pixels, else a
            `CropAugmentation`.
        seed: of order and augmentation.
        threads: number of threads that decode and augment.
        shard: this process's share.
    """

    def __init__(
        self,
        beton: Beton,
        batch_size: int,
        augmentation: Augmentation | CropAugmentation,
        seed: int,
        threads: int,
        shard: Shard | None = None,
    ) -> None:
        super().__init__(EpochOrder(len(beton), batch_size, shuffle=True, seed=seed, shard=shard))
        self._beton, self._threads, self._seed = beton, threads, seed
        if isinstance(augmentation, CropAugmentation):
            self._crops = augmentation
            self._chunk = _JPEG_CHUNK
            shape, fill = (augmentation.crop, augmentation.crop, 3), self._fill_crops
        else:
            for damage in beton.damages():
                raise UserError(f"{beton.path} is damaged ({damage}); remove it, {beton.remade}")
            assert beton.shape is not None  # written from an array
            self._augmentation = augmentation
            self._bytes = np.memmap(beton.path, mode="r")
            self._starts = beton.starts
            self._chunk = min(-(-self._order.batch_size // threads), ARRAY_CHUNK)
            shape, fill = beton.shape, self._fill_pixels
        self._images = _Images(shape, self._in_threads(fill))
        self._workers: Workers
        self._progress = Progress()
        self._epoch_here: int
        self._traversal = _CounterOrder(self._order)
        with _ffcv_tamed():
            self._loader = _FfcvLoader(
                str(beton.path),
                batch_size=self._order.batch_size,
                num_workers=threads,
                order=self._traversal,
                drop_last=True,
                pipelines={"image": [self._images], "label": [_Labels()]},
            )

    def _in_threads(self, fill: _Fill) -> _Fill:
        def share(indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
            starts = range(0, len(indices), self._chunk)
            parts = [slice(start, start + self._chunk) for start in starts]
            tasks = [self._workers.submit(fill, indices[part], out[part]) for part in parts]
            for task in tasks:
                self._workers.result(task)

        return share

    def _fill_pixels(self, indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        images = np.empty_like(out)
        gather(self._bytes, self._starts[indices], images)
        rows = np.arange(len(indices))
        self._augmentation.apply(images, rows, self._seed, self._epoch_here, indices, out)

    def _fill_crops(self, indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        self._crops.apply(self._decode, self._seed, self._epoch_here, indices, out)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3): a stored image."""
        if self._beton.is_jpeg(index):
            image = decode(self._beton.stored(index), self._beton.name(index))
        else:
            width, height = self._beton.size(index)
            pixels = np.frombuffer(self._beton.stored(index), np.uint8)
            image = pixels.reshape(height, width, 3)
        self._progress.beat()
        return image

    def __iter__(self) -> Iterator[Batch]:
        batches = list(self._batches())
        if not batches:
            return
        self._images.error, self._images.closing = None, False
        self._epoch_here = self._epoch
        self._traversal.indices = np.concatenate(batches)
        self._workers = Workers(self._threads, self._progress)
        try:
            with _ffcv_tamed():
                iterator = iter(self._loader)
            try:
                for indices in batches:
                    images, labels = self._next(iterator)
                    # FFCV hands out views of a ring of buffers. Callers may keep copies of them.
                    yield make_batch(images.copy(), labels, indices)
            finally:
                self._end(iterator)
        finally:
            self._workers.close()

    def _next(self, iterator: Any) -> tuple[np.ndarray, np.ndarray]:
        """FFCV's next batch, or the reason why there is none."""
        for timeout in self._progress.waits():
            alive = iterator.is_alive()
            try:
                item = iterator.output_queue.get(timeout=timeout)
                break
            except queue.Empty:
                if not alive:
                    raise UserError(
                        f"FFCV stopped reading {self._beton.path}: repeat the command, or take "
                        "the other loader (--loader torch)"
                    ) from None
        else:
            self._workers.abandon()
            raise StuckError
        if self._images.error is not None:
            raise self._images.error
        _, (images, labels) = item
        return images, labels

    def _end(self, iterator: Any) -> None:
        """Have FFCV's thread end after its present batch, and wait for it unless it hangs."""
        self._images.closing = True
        iterator.iter_ixes = iter(())
        iterator.close()
        waits = self._progress.waits()
        for timeout in islice(waits, _LAST_WAITS) if self._workers.abandoned else waits:
            if not iterator.is_alive():
                break
            with suppress(queue.Empty):  # the thread may be waiting for room in its queue
                iterator.output_queue.get_nowait()
            iterator.join(timeout)
