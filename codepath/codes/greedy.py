"""Greedy codes: the lexicode, and the paper's Algorithm 1 on top of it."""

from __future__ import annotations

import math

import numba
import numpy as np

from codepath.codes.bounds import check_distance
from codepath.codes.scheme import CodingScheme
from codepath.codes.words import Table, _shared, first_excess, neighbours, pack, scan, unpack
from codepath.core.errors import UserError

MOST_DRAWN = 2_000_000
BATCH = 4096


def lexicode(paths: int, active: int, distance: int, limit: int, ascending: bool = True) -> Table:
    """The first `limit` words that a greedy scan in sorted order accepts.

    The scan accepts a word at distance >= d from every word accepted before. Source: J. H.
    Conway and N. J. A. Sloane, "Lexicographic codes", 1986.

    `ascending`: the scan takes words as binary numbers from the smallest, else from the largest.
    """
    words, _ = scan(paths, active, active - distance // 2, limit, ascending)
    return unpack(words, paths)


def random_code(
    classes: int, paths: int, active: int, distance: int, rng: np.random.Generator
) -> Table | None:
    """K or somewhat more words in random order, each at distance >= d from those before it.

    This succeeds where K times the share of words nearer than d is small (Gilbert's bound).
    Returns None where MOST_DRAWN draws give fewer than K words.
    """
    enough = min(classes + max(classes // 10, 256), math.comb(paths, active))
    found = np.zeros((0, -(-paths // 64)), dtype=np.uint64)
    allowed = active - distance // 2
    for _ in range(0, MOST_DRAWN, BATCH):
        table = np.zeros((BATCH, paths), dtype=np.uint8)
        supports = np.argpartition(rng.random((BATCH, paths)), active - 1, axis=1)[:, :active]
        np.put_along_axis(table, supports, 1, axis=1)
        words = pack(table)
        words = words[~first_excess(words, found, allowed)]
        found = np.concatenate([found, words[_accepted(words, allowed)]])
        if len(found) >= enough:
            return unpack(found[:enough], paths)
    return unpack(found, paths) if len(found) >= classes else None


@numba.njit(nogil=True, cache=True)
def _accepted(words, allowed):  # type: ignore[no-untyped-def]
    """(n,): whether a greedy scan in the given order accepts each word."""
    out = np.zeros(len(words), dtype=np.bool_)
    for i in range(len(words)):
        out[i] = True
        for j in range(i):
            if out[j] and _shared(words, i, words, j) > allowed:
                out[i] = False
                break
    return out


POOL = 10
"""The paper's algorithm chooses among at most this many words per class."""
SCANNED_POOL = 20
"""Its scan ends at this many words per class, out of which POOL per class are drawn."""
SELECTIONS = 20
"""Balanced choices that are tried at most (the authors' program tries 500)."""


def paper_scheme(
    classes: int,
    paths: int,
    active: int,
    distance: int,
    *,
    seed: int = 0,
    selections: int = SELECTIONS,
) -> CodingScheme:
    """The paper's Algorithm 1: a sorted greedy code, and a balanced greedy choice out of it.

    The scan takes all words in sorted order and accepts a word at distance >= d from every word
    accepted before, until 20 K are found. Of these, 10 K are drawn at random. A choice then adds
    K words one by one. Each added word leaves the smallest difference between the largest and the
    smallest column sum; among such words it has the fewest chosen words at distance d. At most
    `selections` choices are made. The first with equal columns is taken, else the most even one.

    Raises UserError where the parameters are impossible, or the scan finds fewer than K words
    at this distance.
    """
    check_distance(classes, paths, active, distance)
    rng = np.random.default_rng(seed)
    orders = (True, False) if 2 * active >= paths else (False, True)
    for ascending in orders:
        pool = lexicode(paths, active, distance, SCANNED_POOL * classes, ascending)
        if len(pool) >= classes:
            break
    else:
        raise UserError(
            f"the sorted greedy code of {paths} paths with {active} active has fewer than "
            f"{classes} words at distance {distance}: choose a smaller distance"
        )
    if len(pool) > POOL * classes:
        pool = pool[rng.choice(len(pool), POOL * classes, replace=False)]
    near = neighbours(pack(pool), active - distance // 2)
    best, smallest = np.arange(classes), paths * classes
    for _ in range(selections):
        chosen = _balanced(pool, near, classes, rng.permutation(len(pool)))
        spread = int(np.ptp(pool[chosen].sum(0, dtype=np.int64)))
        if spread < smallest:
            best, smallest = chosen, spread
        if spread == 0:
            break
    return CodingScheme(pool[best])


@numba.njit(nogil=True, cache=True)
def _balanced(pool, near, classes, order):  # type: ignore[no-untyped-def]
    """(K,): words that are added one by one, for the most even columns, then few close words."""
    M, N = pool.shape
    free = np.ones(M, dtype=np.bool_)
    close = np.zeros(M, dtype=np.int64)
    columns = np.zeros(N, dtype=np.int64)
    chosen = np.zeros(classes, dtype=np.int64)
    for k in range(classes):
        best, best_spread = -1, 0
        for i in order:
            if not free[i]:
                continue
            most, least = columns[0] + pool[i, 0], columns[0] + pool[i, 0]
            for n in range(1, N):
                value = columns[n] + pool[i, n]
                most, least = max(most, value), min(least, value)
            spread = most - least
            if (
                best < 0
                or spread < best_spread
                or (spread == best_spread and close[i] < close[best])
            ):
                best, best_spread = i, spread
            if k == 0:
                break
        chosen[k] = best
        free[best] = False
        for n in range(N):
            columns[n] += pool[best, n]
        for i in range(M):
            close[i] += near[i, best]
    return chosen
