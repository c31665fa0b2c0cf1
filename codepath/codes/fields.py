"""Finite fields as tables, and cyclotomic cosets."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def prime_power(q: int) -> tuple[int, int] | None:
    """(p, m) with q = p^m, p prime; None for any other number."""
    if q < 2:
        return None
    p = next((p for p in range(2, math.isqrt(q) + 1) if q % p == 0), q)
    m = round(math.log(q, p))
    return (p, m) if p**m == q else None


@dataclass(frozen=True, eq=False)
class Field:
    """GF(q), q = p^m: element x is the integer whose base-p digits are its coefficients."""

    order: int
    characteristic: int
    add: NDArray[np.int64]
    """(q, q) sums."""
    mul: NDArray[np.int64]
    """(q, q) products."""
    generator: int
    """A primitive element: its powers are all nonzero elements."""

    def power(self, x: int, exponent: int) -> int:
        """x^exponent, exponent >= 0."""
        result = 1
        for _ in range(exponent):
            result = int(self.mul[result, x])
        return result

    def frobenius(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """x^p, element by element."""
        result = np.ones_like(x)
        for _ in range(self.characteristic):
            result = self.mul[result, x]
        return result


@functools.cache
def field(q: int) -> Field:
    """GF(q) for a prime power q, built on the first polynomial whose root is primitive."""
    p, m = prime_power(q)  # type: ignore[misc]
    digits = np.array([[x // p**i % p for i in range(m)] for x in range(q)])
    weights = p ** np.arange(m)
    add = (digits[:, None] + digits[None]) % p @ weights
    if m == 1:
        mul = np.outer(np.arange(q), np.arange(q)) % p
        root = next(g for g in range(1, q) if _is_primitive(mul, g, q))
        return Field(q, p, add, mul, root)
    for low in itertools.product(range(p), repeat=m):
        # times_x: multiplication by x modulo x^m + low[m-1] x^(m-1) + .. + low[0].
        negative = np.array([-c % p for c in low])
        shifted = np.concatenate([np.zeros((q, 1), dtype=int), digits[:, :-1]], axis=1)
        times_x = (shifted + digits[:, -1:] * negative) % p @ weights
        powers = [1]
        while len(powers) < q and (following := int(times_x[powers[-1]])) != 1 and following:
            powers.append(following)
        if len(powers) != q - 1:
            continue
        log = np.zeros(q, dtype=int)
        log[powers] = np.arange(q - 1)
        mul = np.array(powers)[(log[:, None] + log[None]) % (q - 1)]
        mul[0] = mul[:, 0] = 0
        return Field(q, p, add, mul, p)
    raise AssertionError("every finite field has a primitive element")


def _is_primitive(mul: NDArray[np.int64], g: int, q: int) -> bool:
    x, order = g, 1
    while x != 1:
        x, order = int(mul[x, g]), order + 1
    return order == q - 1


def cyclotomic_cosets(n: int, q: int) -> list[list[int]]:
    """The orbits of multiplication by q on the integers modulo n (n and q coprime)."""
    left, cosets = set(range(n)), []
    while left:
        x, coset = min(left), []
        while x not in coset:
            coset.append(x)
            x = x * q % n
        left -= set(coset)
        cosets.append(sorted(coset))
    return cosets
