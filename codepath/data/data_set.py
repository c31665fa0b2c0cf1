"""A data set in memory, `ArrayDataSet`, or in its files, `FileDataSet`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codepath.data.files import FileDataSet, require_text


@dataclass(frozen=True)
class ArraySplit:
    """Images of one split in memory."""

    images: NDArray[np.uint8]
    """(n, H, W, C)"""
    labels: NDArray[np.int64]
    """(n,), classes counted from 0."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ArrayDataSet:
    """A data set with its normalisation."""

    dataset: str
    source: str
    """Where these pixels come from, in words: it stands beside every number."""
    train: ArraySplit
    test: ArraySplit
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, of pixels scaled to [0, 1]."""
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        require_text(self.source, *self.class_names)

    def split(self, name: str) -> ArraySplit:
        """The split called "train" or "test"."""
        return {"train": self.train, "test": self.test}[name]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        H, W, C = self.train.images.shape[1:]
        return C, H, W


DataSet = ArrayDataSet | FileDataSet
"""A data set in memory or in its files."""
