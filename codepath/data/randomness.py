"""Random numbers that depend only on what they are used for.

Every draw is a hash of (seed, epoch, sample index, draw), so that an image's augmentation is
the same whatever the batch size, the number of workers, the rank, the backend or a restart.
"""

from __future__ import annotations

from enum import IntEnum

import numba
import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1


class Draw(IntEnum):
    """What a random number decides; every decision about a sample has a number of its own."""

    ORDER = 0
    CROP_Y = 1
    CROP_X = 2
    FLIP = 3
    REMOVED_PATHS = 4
    DROPPED_PATHS = 5
    ASKED = 6
    ASKED_OWN = 7
    ASKED_CLASS = 8
    RANDAUGMENT = 16
    """The first draw of a RandAugment policy, which takes several per layer."""
    RESIZED_CROP = 1 << 20
    """The first draw of a random resized crop."""
    RANDAUGMENT_MAGNITUDE = 1 << 32
    """The first draw of RandAugment's magnitudes, one per layer; the last value in this list."""


@numba.njit(nogil=True, cache=True)
def _mix(z: np.uint64) -> np.uint64:
    """Finaliser of SplitMix64 (Steele, Lea and Flood, 2014), a bijection on 64 bits."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def _hashes(
    words: tuple[np.uint64, np.uint64, np.uint64],
    counters: NDArray[np.uint64],
    out: NDArray[np.uint64],
) -> None:
    """Write the hash of (words, counter) for each of (n,) counters to `out`."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    key = np.uint64(0)
    for word in words:
        key = _mix(_mix(key + golden) + word)
    for i in range(len(counters)):
        out[i] = _mix(key + counters[i] * golden)


def counter_hash(
    seed: int, epoch: int, indices: NDArray[np.int64], draw: int
) -> NDArray[np.uint64]:
    """64 random bits per index; `indices` of any shape, counted from 0."""
    words = (np.uint64(seed & _MASK), np.uint64(epoch & _MASK), np.uint64(draw & _MASK))
    counters = np.ascontiguousarray(indices).astype(np.uint64)
    out = np.empty(counters.shape, np.uint64)
    _hashes(words, counters.reshape(-1), out.reshape(-1))
    return out


def integers(
    below: int, seed: int, epoch: int, indices: NDArray[np.int64], draw: int
) -> NDArray[np.int64]:
    """Uniform integers in [0, below), one per index; their bias is under below / 2^32."""
    bits = counter_hash(seed, epoch, indices, draw) >> np.uint64(32)
    return ((bits * np.uint64(below)) >> np.uint64(32)).astype(np.int64)


def uniform(seed: int, epoch: int, indices: NDArray[np.int64], draw: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) on a grid of 2^-53, one per index."""
    bits = counter_hash(seed, epoch, indices, draw) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of the samples in an epoch."""
    keys = counter_hash(seed, epoch, np.arange(size), Draw.ORDER)
    return np.argsort(keys, kind="stable")
