"""The paths that images take, as measured, beside the codewords of their classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codepath.codes import CodingScheme
from codepath.evaluate.predict import Predictions
from codepath.store import Measurement

MOST_CLASSES = 20
"""Mean energies become rows (N for a class and block) only up to this many classes."""


class BlockPaths(NamedTuple):
    """One block's paths over n images."""

    mean: NDArray[np.float64]
    """(K, N) mean of r E over each class's images: near 1 on its own paths, near 0 on others."""
    table: NDArray[np.uint8]
    """(K, N) the codewords."""
    bit_errors: NDArray[np.float64]
    """(K, N) share of the class's images on which [r E >= 1/2] is not the codeword's bit."""
    counts: NDArray[np.int64]
    """(K,) images of each class."""

    @property
    def bit_error_rate(self) -> float:
        """Share of wrong bits, over all images and paths."""
        return float((self.bit_errors.mean(1) * self.counts).sum() / self.counts.sum())

    @property
    def path_error_rates(self) -> NDArray[np.float64]:
        """(N,) share of images on which a path's bit is wrong."""
        return np.asarray(self.counts @ self.bit_errors / self.counts.sum())


def block_paths(
    energies: NDArray[np.float32], labels: NDArray[np.int64], scheme: CodingScheme
) -> BlockPaths:
    """Means and bit errors of one block.

    Args:
        energies: (n, N) energies of Eq. 3.
        labels: (n,) classes.
        scheme: the block's coding scheme.
    """
    counts = np.bincount(labels, minlength=scheme.classes)
    order = np.argsort(labels, kind="stable")
    present = np.flatnonzero(counts)
    starts = np.r_[0, np.cumsum(counts[present])[:-1]]
    scaled = scheme.ratio * energies[order].astype(np.float64)
    wrong = (scaled >= 0.5) != scheme.table[labels[order]].astype(bool)
    mean, errors = (np.zeros(scheme.table.shape) for _ in range(2))
    for target, values in ((mean, scaled), (errors, wrong)):
        sums = np.add.reduceat(values.astype(np.float64), starts, axis=0)
        target[present] = sums / counts[present, None]
    return BlockPaths(mean, scheme.table, errors, counts)


def measure_paths(
    predictions: Predictions,
    schemes: Mapping[int, CodingScheme],
    class_names: Sequence[str],
    split: str,
) -> Iterator[Measurement]:
    """`bit_error` of every block and of each of its paths.

    For networks with few classes also `energy` (mean of r E) and `codeword` of every class, block
    and path.
    """
    for block, scheme in schemes.items():
        found = block_paths(predictions.energies[block], predictions.labels, scheme)
        n = len(predictions.labels)
        yield Measurement(
            kind="paths", metric="bit_error", value=found.bit_error_rate, n=n, split=split,
            block=block,
        )  # fmt: skip
        for path, rate in enumerate(found.path_error_rates):
            yield Measurement(
                kind="paths", metric="bit_error", value=float(rate), n=n, split=split,
                block=block, path=path,
            )  # fmt: skip
        if len(class_names) > MOST_CLASSES:
            continue
        for k, name in enumerate(class_names):
            for path in range(scheme.paths):
                for metric, values in (("energy", found.mean), ("codeword", found.table)):
                    yield Measurement(
                        kind="paths", metric=metric, value=float(values[k, path]),
                        n=int(found.counts[k]), split=split, block=block, path=path,
                        class_name=name,
                    )  # fmt: skip
