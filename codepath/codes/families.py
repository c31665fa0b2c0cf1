"""Codewords out of linear codes: balanced and far apart by algebra."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numba
import numpy as np
from numpy.typing import NDArray

from codepath.codes.fields import Field, cyclotomic_cosets, field, prime_power
from codepath.codes.words import Table, pack, span_of_weight, unpack

MOST_SUMS = 28
"""Binary codes are enumerated up to this dimension: 2^28 words take about a second."""
SUMS = 1 << 33
"""No further code of one length is enumerated once this many sums were looked at."""
MOST_COSETS = 14
MOST_WORDS = 1 << 17
"""Codes over larger fields are enumerated up to this many words."""
LARGEST_FIELD = 1024
MOST_POINTS = 4096
POINT_SET_TRIES = 4
POINT_SET_MOVES = 100_000


def weight_classes(classes: int, paths: int, active: int, distance: int) -> Iterator[Table]:
    """Words of weight Nact of binary cyclic codes, extended by a parity bit where N is even.

    Words of equal weight of a linear code with minimum distance d are at distance d or more. Only
    codes that hold the all-ones word (of odd weight) are extended: in other codes the parity bit
    would be constant. BCH and quadratic residue codes are among the codes. Source: F. J.
    MacWilliams and N. J. A. Sloane, "The Theory of Error-Correcting Codes", 1977.
    """
    if active < distance or paths < 7:
        return
    extended = paths % 2 == 0
    length = paths - 1 if extended else paths
    budget = SUMS
    for dimension, word in _cyclic_codes(length):
        if 2**dimension < classes or (extended and word.sum() % 2 == 0):
            continue
        rows = np.stack([np.roll(word, shift) for shift in range(dimension)])
        if extended:
            rows = np.concatenate([rows, rows.sum(1, keepdims=True, dtype=np.uint8) % 2], axis=1)
        words, looked = span_of_weight(pack(rows), active, distance, 4 * classes)
        if len(words) >= classes:
            yield unpack(words, paths)
        budget -= looked
        if budget < 0:
            return


def one_hot(
    classes: int, paths: int, active: int, distance: int, rng: np.random.Generator
) -> Iterator[Table]:
    """Linear codes of length Nact over GF(q), q = N / Nact, with symbols as q one-hot bits.

    Two words that differ in s symbols are at Hamming distance 2s, and a linear code without
    constant coordinates takes every symbol equally often. Where Nact <= q + 1, the codes are
    Reed-Solomon codes, whose words differ in Nact - k + 1 symbols or more. Else `_point_set`
    finds them. Source: V. A. Zinoviev, "Cascade equal-weight codes and maximal packings", 1983.
    """
    q, rest = divmod(paths, active)
    if rest or active < 2 or distance > 2 * active or q > LARGEST_FIELD or not prime_power(q):
        return
    dimension = 1
    while q**dimension < classes:
        dimension += 1
    if q**dimension > MOST_WORDS or dimension > active or active - dimension + 1 < distance // 2:
        return
    gf = field(q)
    if active <= q + 1:
        columns = _conic(gf, active, dimension)
    else:
        found = _point_set(gf, active, dimension, distance // 2, rng)
        if found is None:
            return
        columns = found
    yield _bits(_span(gf, columns), q)


def _bits(code: NDArray[np.int64], q: int) -> Table:
    """(n, w) symbols 0..q-1 -> (n, w q) one-hot bits."""
    return (code[..., None] == np.arange(q)).reshape(len(code), -1).astype(np.uint8)


def _messages(gf: Field, dimension: int) -> NDArray[np.int64]:
    """(q^k, k): all vectors of length k."""
    places = gf.order ** np.arange(dimension)[::-1]
    return np.arange(gf.order**dimension)[:, None] // places % gf.order


def _product(gf: Field, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, m): the product over GF(q) of `a` (n, k) and the transpose of `b` (m, k)."""
    total = np.zeros((len(a), len(b)), dtype=np.int64)
    for x, y in zip(a.T, b.T, strict=True):
        total = gf.add[total, gf.mul[x[:, None], y[None]]]
    return total


def _span(gf: Field, columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """(q^k, n): the code whose generator matrix has these columns (n, k)."""
    return _product(gf, _messages(gf, columns.shape[1]), columns)


def _conic(gf: Field, length: int, dimension: int) -> NDArray[np.int64]:
    """(n, k): columns (1, x, .., x^(k-1)) and (0, .., 0, 1) of a Reed-Solomon code, n <= q + 1."""
    columns = np.zeros((length, dimension), dtype=np.int64)
    for x in range(min(length, gf.order)):
        columns[x] = [gf.power(x, i) for i in range(dimension)]
    if length > gf.order:
        columns[gf.order, -1] = 1
    return columns


def _point_set(
    gf: Field, length: int, dimension: int, distance: int, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """(n, k): n points of PG(k - 1, q) with at most n - d in any hyperplane, by annealing.

    As columns of a generator matrix the points give a linear [n, k] code whose words differ in d
    symbols or more, since a word is zero at the points of its hyperplane. Returns None where no
    such points are found.
    """
    vectors = _messages(gf, dimension)[1:]
    leading = vectors[np.arange(len(vectors)), (vectors != 0).argmax(1)]
    points = vectors[leading == 1]
    if len(points) > MOST_POINTS:
        return None
    on = _product(gf, points, points) == 0
    for _ in range(POINT_SET_TRIES):
        seed = int(rng.integers(2**31))
        chosen, excess = _spread_points(on, length, length - distance, POINT_SET_MOVES, seed)
        if excess == 0:
            return points[chosen]
    return None


@numba.njit(nogil=True, cache=True)
def _spread_points(on, length, most, moves, seed):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    P = len(on)
    chosen = np.random.randint(0, P, length)
    held = np.zeros(P, dtype=np.int64)
    for point in chosen:
        for h in range(P):
            held[h] += on[point, h]
    excess = 0
    for h in range(P):
        excess += max(0, held[h] - most)
    for step in range(moves):
        if excess == 0:
            break
        place = np.random.randint(length)
        old, new = chosen[place], np.random.randint(P)
        change = 0
        for h in range(P):
            if on[old, h] != on[new, h]:
                before = held[h]
                after = before - 1 if on[old, h] else before + 1
                change += max(0, after - most) - max(0, before - most)
        temperature = 1.5 * (1 - step / moves) + 0.05
        if change > 0 and change > -np.log(np.random.random()) * temperature:
            continue
        chosen[place] = new
        excess += change
        for h in range(P):
            held[h] += np.int64(on[new, h]) - np.int64(on[old, h])
    return chosen, excess


@functools.cache
def _cyclic_codes(n: int) -> list[tuple[int, NDArray[np.uint8]]]:
    """(dimension k, generating word) of the binary cyclic codes of odd length n, k <= MOST_SUMS.

    Every code is generated by its idempotent, a polynomial whose exponents are a union of
    cyclotomic cosets modulo n. Its dimension is k = n - deg gcd(idempotent, x^n - 1), and the
    word's first k shifts are a basis (MacWilliams and Sloane, "The Theory of Error-Correcting
    Codes", ch. 8).
    """
    cosets = cyclotomic_cosets(n, 2)
    masks = range(1, 1 << len(cosets))
    if len(cosets) > MOST_COSETS:
        rng = np.random.default_rng(n)
        masks = range(1 << MOST_COSETS)  # this many random unions
        draws = rng.integers(0, 2, (len(masks), len(cosets)))
    codes = []
    for mask in masks:
        inside = (
            [mask >> i & 1 for i in range(len(cosets))]
            if len(cosets) <= MOST_COSETS
            else draws[mask]
        )
        polynomial = sum(1 << j for i, coset in enumerate(cosets) if inside[i] for j in coset)
        common, rest = (1 << n) ^ 1, polynomial
        while rest:
            while common.bit_length() >= rest.bit_length():
                common ^= rest << (common.bit_length() - rest.bit_length())
            common, rest = rest, common
        dimension = n - (common.bit_length() - 1)
        if 0 < dimension <= MOST_SUMS:
            word = np.array([polynomial >> j & 1 for j in range(n)], dtype=np.uint8)
            codes.append((dimension, word))
    return sorted(codes, key=lambda code: code[0])
