"""The FFCV backend. Importing FFCV sets torch's threads, so it is imported here alone, late."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codepath.data.augment import Augmentation
from codepath.data.loaders import Batch, EpochOrder, OrderedLoader, make_batch
from codepath.runtime import UserError, available_cores

_THREADS = torch.get_num_threads()
from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder  # noqa: E402
from ffcv.loader import Loader as _FfcvLoader  # noqa: E402
from ffcv.pipeline.allocation_query import AllocationQuery  # noqa: E402
from ffcv.pipeline.operation import Operation  # noqa: E402
from ffcv.pipeline.state import State  # noqa: E402
from ffcv.traversal_order.base import TraversalOrder  # noqa: E402

torch.set_num_threads(_THREADS)

_PATIENCE = 60.0
"""Seconds without a batch after which loading counts as stuck."""


class _Augment(Operation):
    """Runs our kernels between FFCV's decoder and its output, outside FFCV's compiler: that one
    would use fast-math and freeze the epoch."""

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        super().__init__()
        self.augmentation, self.seed = augmentation, seed
        self.epoch = 0
        self.error: BaseException | None = None

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, AllocationQuery]:
        """FFCV: leave compiled code; a buffer of the images' shape."""
        state = replace(previous_state, jit_mode=False)
        return state, AllocationQuery(previous_state.shape, np.dtype("<u1"))

    def generate_code(self) -> Callable[..., Any]:
        """FFCV: the function of a batch."""

        def augment(images: Any, out: Any, indices: Any) -> Any:
            try:
                size = len(indices)
                self.augmentation.apply(
                    images,
                    np.arange(size),
                    self.seed,
                    self.epoch,
                    np.asarray(indices, dtype=np.int64),
                    out[:size],
                )
            except BaseException as error:  # FFCV's thread would die silently and hang the loop
                self.error = error
            return out[: len(indices)]

        augment.with_indices = True  # type: ignore[attr-defined]
        return augment


class _CounterOrder(TraversalOrder):
    """Our order instead of FFCV's, which takes an instance and calls it with its loader."""

    def __init__(self, order: EpochOrder) -> None:
        self._order = order

    def __call__(self, loader: Any) -> _CounterOrder:  # noqa: ARG002
        return self

    def sample_order(self, epoch: int) -> np.ndarray:
        """FFCV: the indices of an epoch."""
        return self._order.order(epoch)


class FfcvLoader(OrderedLoader):
    """Training batches of a beton, in the order and with the bytes of the torch backend.

    Args:
        path: the beton, RGB images of one size.
        samples: images that it must hold.
        batch_size: B; whole batches only.
        augmentation: of the images.
        seed: of order and augmentation.
    """

    def __init__(
        self, path: Path, samples: int, batch_size: int, augmentation: Augmentation, seed: int
    ) -> None:
        super().__init__(EpochOrder(samples, batch_size, shuffle=True, seed=seed))
        self._path = path
        self._augment = _Augment(augmentation, seed)

        threads = torch.get_num_threads()
        try:
            self._loader = _FfcvLoader(
                str(path),
                batch_size=batch_size,
                num_workers=available_cores(),
                order=_CounterOrder(self._order),
                drop_last=True,
                pipelines={
                    "image": [SimpleRGBImageDecoder(), self._augment],
                    "label": [IntDecoder()],
                },
            )
        except (ValueError, AssertionError, OSError, IndexError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); remove it: it is made again"
            ) from None
        finally:
            torch.set_num_threads(threads)
        if self._loader.reader.num_samples != samples:
            raise UserError(
                f"{path} holds {self._loader.reader.num_samples} images, {samples} expected; "
                "remove it: it is made again"
            )

    def __iter__(self) -> Iterator[Batch]:
        threads = torch.get_num_threads()
        self._loader.next_epoch = self._augment.epoch = self._epoch
        self._augment.error = None
        iterator = iter(self._loader)
        torch.set_num_threads(threads)
        try:
            for indices in self._order.batches(self._epoch):
                images, labels = self._next(iterator)
                # FFCV hands out views of a ring of buffers: copied, they may be kept.
                yield make_batch(images.copy(), labels[:, 0].astype(np.int64), indices)
        finally:
            iterator.close()
            while iterator.is_alive():  # it may be waiting for room in its queue
                self._drain(iterator)
                iterator.join(timeout=0.05)

    def _next(self, iterator: Any) -> tuple[np.ndarray, np.ndarray]:
        """FFCV's next batch, or the reason why there is none."""
        waited = 0.0
        while True:
            try:
                item = iterator.output_queue.get(timeout=0.5)
                break
            except queue.Empty:
                waited += 0.5
                if not iterator.is_alive() or waited > _PATIENCE:
                    raise UserError(
                        f"FFCV stopped reading {self._path}; remove it: it is made again"
                    ) from None
        if self._augment.error is not None:
            raise self._augment.error
        _, (images, labels) = item
        return images, labels

    @staticmethod
    def _drain(iterator: Any) -> None:
        try:
            while True:
                iterator.output_queue.get_nowait()
        except queue.Empty:
            pass
