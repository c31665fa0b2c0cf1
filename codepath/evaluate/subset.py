"""Some images of a split, in memory or in files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codepath.data import ArraySplit, FileSplit
from codepath.data.files import EncodedImages


@dataclass(frozen=True)
class _ChosenFiles:
    """Some of `files`, in the order of `chosen`."""

    files: EncodedImages
    chosen: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chosen)

    def member(self, index: int) -> str:
        return self.files.member(int(self.chosen[index]))

    def name(self, index: int) -> str:
        return self.files.name(int(self.chosen[index]))

    def read(self, index: int) -> bytes:
        return self.files.read(int(self.chosen[index]))


def choose(split: ArraySplit | FileSplit, chosen: NDArray[np.int64]) -> ArraySplit | FileSplit:
    """The images at some places of a split, in that order; files are not copied."""
    if isinstance(split, FileSplit):
        return FileSplit(_ChosenFiles(split.files, chosen), split.labels[chosen], split.crop)
    return ArraySplit(split.images[chosen], split.labels[chosen])


def spread(split: ArraySplit | FileSplit, most: int) -> ArraySplit | FileSplit:
    """At most `most` images of a split, in a fixed random order: splits may be sorted by class."""
    return choose(split, np.random.default_rng(0).permutation(len(split))[:most])
