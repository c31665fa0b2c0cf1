"""Codewords as bits, and the compiled loops over them (numba; loaded only by designs).

A word of N paths is a row of ceil(N / 64) unsigned 64-bit integers; path n is bit n % 64 of
integer n // 64. Two words of weight w that share s ones are at Hamming distance 2 (w - s), so a
distance of at least d means at most w - d / 2 shared ones.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.uint8]
"""(n, N), zeros and ones."""
Words = NDArray[np.uint64]
"""(n, ceil(N / 64)), packed."""


def pack(table: Table) -> Words:
    """(n, N) zeros and ones -> (n, ceil(N / 64)) packed words."""
    n, paths = table.shape
    limbs = -(-paths // 64)
    padded = np.zeros((n, 64 * limbs), dtype=np.uint8)
    padded[:, :paths] = table
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").reshape(n, limbs)


def unpack(words: Words, paths: int) -> Table:
    """The inverse of `pack`."""
    data = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1)
    return np.unpackbits(data, axis=1, bitorder="little")[:, :paths]


@numba.njit(inline="always")
def _ones(x):  # type: ignore[no-untyped-def]
    """Number of one bits of a 64-bit integer (the compiler knows this idiom as popcount)."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(inline="always")
def _shared(a, i, b, j):  # type: ignore[no-untyped-def]
    total = 0
    for limb in range(a.shape[1]):
        total += _ones(a[i, limb] & b[j, limb])
    return total


@numba.njit(nogil=True, cache=True)
def first_excess(words: Words, others: Words, allowed: int) -> NDArray[np.bool_]:
    """(n,): whether a word shares more than `allowed` ones with any of the others."""
    out = np.zeros(len(words), dtype=np.bool_)
    for i in range(len(words)):
        for j in range(len(others)):
            if _shared(words, i, others, j) > allowed:
                out[i] = True
                break
    return out


@numba.njit(nogil=True, cache=True)
def neighbours(words: Words, at: int) -> NDArray[np.bool_]:
    """(n, n): which different words share exactly `at` ones."""
    n = len(words)
    out = np.zeros((n, n), dtype=np.bool_)
    for i in range(n):
        for j in range(i):
            out[i, j] = out[j, i] = _shared(words, i, words, j) == at
    return out


@numba.njit(nogil=True, cache=True)
def scan(
    paths: int, active: int, allowed: int, limit: int, rightmost: bool
) -> tuple[NDArray[np.uint64], int]:
    """The greedy code of a sorted scan over all words of one weight, until `limit` are accepted.

    Returns the accepted words, and how many words were looked at. `rightmost` chooses the order
    of the words as integers: ascending, else descending.
    """
    limbs = (paths + 63) // 64
    found = np.zeros((limit, limbs), dtype=np.uint64)
    word = np.zeros((1, limbs), dtype=np.uint64)
    support = np.arange(active)
    count = 0
    looked = 0
    while count < limit:
        for limb in range(limbs):
            word[0, limb] = 0
        for place in support:
            bit = place if rightmost else paths - 1 - place
            word[0, bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
        looked += 1
        good = True
        for other in range(count - 1, -1, -1):
            if _shared(word, 0, found, other) > allowed:
                good = False
                break
        if good:
            for limb in range(limbs):
                found[count, limb] = word[0, limb]
            count += 1
        if rightmost:  # colexicographic successor: ascending integers
            i = 0
            while i + 1 < active and support[i] + 1 == support[i + 1]:
                support[i] = i
                i += 1
            support[i] += 1
            if support[active - 1] >= paths:
                break
        else:  # lexicographic successor
            i = active - 1
            while i >= 0 and support[i] == paths - active + i:
                i -= 1
            if i < 0:
                break
            support[i] += 1
            for j in range(i + 1, active):
                support[j] = support[j - 1] + 1
    return found[:count], looked


@numba.njit(nogil=True, cache=True)
def span_of_weight(
    rows: Words, weight: int, least: int, limit: int
) -> tuple[NDArray[np.uint64], int]:
    """Words of one weight in the binary span of `rows` (k, limbs), by a Gray code over 2^k sums.

    Also returns how many sums were looked at. The first nonzero sum lighter than `least` ends the
    search, without any words. At most `limit` words are kept.
    """
    k, limbs = rows.shape
    found = np.zeros((limit, limbs), dtype=np.uint64)
    word = np.zeros(limbs, dtype=np.uint64)
    count = 0
    for step in range(1, 1 << k):
        row = 0
        while (step >> row) & 1 == 0:
            row += 1
        total = 0
        for limb in range(limbs):
            word[limb] ^= rows[row, limb]
            total += _ones(word[limb])
        if total < least:
            return found[:0], step
        if total == weight and count < limit:
            for limb in range(limbs):
                found[count, limb] = word[limb]
            count += 1
    return found[:count], step
