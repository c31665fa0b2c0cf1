"""Some images of a split, in memory or in files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codepath.data import FileSplit, Split
from codepath.data.files import Files


@dataclass(frozen=True)
class _ChosenFiles:
    """Some of `files`, in the order of `chosen`."""

    files: Files
    chosen: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chosen)

    def member(self, index: int) -> str:
        return self.files.member(int(self.chosen[index]))

    def name(self, index: int) -> str:
        return self.files.name(int(self.chosen[index]))

    def read(self, index: int) -> bytes:
        return self.files.read(int(self.chosen[index]))


def choose(split: Split | FileSplit, chosen: NDArray[np.int64]) -> Split | FileSplit:
    """The images at some places of a split, in that order; files are not copied."""
    if isinstance(split, FileSplit):
        return FileSplit(_ChosenFiles(split.files, chosen), split.labels[chosen], split.crop)
    return Split(split.images[chosen], split.labels[chosen])


def spread(split: Split | FileSplit, most: int) -> Split | FileSplit:
    """At most so many images of a split, in a fixed random order: splits may be in class order."""
    return choose(split, np.random.default_rng(0).permutation(len(split))[:most])
