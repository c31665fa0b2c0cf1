"""The targets of the batch that a loader gave last, where a network is given the images alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from timm.data.loader import PrefetchLoader
from torch import Tensor
from torch.utils.data import dataloader


class Targets:
    """What the loaders of this process gave last."""

    def __init__(self) -> None:
        self.last: Tensor | None = None
        """(B,) class indices or (B, K) weights of the classes."""

    @contextlib.contextmanager
    def remembered(self) -> Iterator[None]:
        """While it lasts, `last` follows torch's loaders and timm's, which give a batch later."""
        iterators: Any = dataloader._BaseDataLoaderIter
        prefetched: Any = PrefetchLoader
        next_batch, batches = iterators.__next__, prefetched.__iter__

        @functools.wraps(next_batch)
        def noted_next(loader: Any) -> Any:
            batch = next_batch(loader)
            self._note(batch)
            return batch

        @functools.wraps(batches)
        def noted_batches(loader: Any) -> Iterator[Any]:
            for batch in batches(loader):
                self._note(batch)
                yield batch

        iterators.__next__ = noted_next
        prefetched.__iter__ = noted_batches
        try:
            yield
        finally:
            iterators.__next__ = next_batch
            prefetched.__iter__ = batches

    def _note(self, batch: Any) -> None:
        pair = isinstance(batch, list | tuple) and len(batch) > 1
        if pair and isinstance(batch[1], Tensor) and batch[1].ndim in (1, 2):
            self.last = batch[1]


def guess_classes(targets: Tensor | None, rows: int, classes: int) -> Tensor:
    """(rows,) a class of each image: by its targets, drawn by their weights where these are soft.

    Where the targets are missing, or of other images by their number, all classes are as likely.
    """
    if targets is None or len(targets) != rows:
        return torch.randint(classes, (rows,))
    if targets.ndim == 1:
        return targets.long().cpu()
    return torch.multinomial(targets.float().cpu().clamp_min(0), 1)[:, 0]
