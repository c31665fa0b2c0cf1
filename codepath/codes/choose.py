"""The choice of K codewords out of a larger code: even columns, then few close pairs."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from codepath.codes.words import Table, neighbours, pack

MOST_COMPARED = 4096
"""Pools up to this many words are searched for few pairs at d, larger ones for balance alone."""

TRIED_PER_GROUP = 2_000_000
"""Words tried in the search for one group of disjoint words."""
MOVES = 2_000_000
"""Swaps of one annealing run; fewer where each swap has to update many counts."""


@numba.njit(nogil=True, cache=True)
def _anneal(table, near, count, moves, hot, cold, weight, seed):  # type: ignore[no-untyped-def]
    """(count,): chosen rows of `table` (M, N), by simulated annealing over swaps.

    The cost is the sum of `near` (M, M) over the chosen pairs, plus `weight` times the sum of
    squared column sums. Returns the choice with the least column error, then the fewest pairs;
    `near` may be (0, 0) to leave the pairs out.
    """
    np.random.seed(seed)
    M, N = table.shape
    chosen = np.arange(count)
    others = np.arange(count, M)
    columns = np.zeros(N, dtype=np.int64)
    for i in range(count):
        for n in range(N):
            columns[n] += table[i, n]
    paired = len(near) > 0
    close = np.zeros(M, dtype=np.int64)
    if paired:
        for i in range(M):
            for k in range(count):
                close[i] += near[i, k]
    best = chosen.copy()
    gain, best_gain, error, best_error = 0, 0, 0, 0
    for step in range(moves):
        temperature = hot * (cold / hot) ** (step / moves)
        a, b = np.random.randint(count), np.random.randint(M - count)
        leaving, entering = chosen[a], others[b]
        uneven = 0
        for n in range(N):
            change = np.int64(table[entering, n]) - np.int64(table[leaving, n])
            uneven += change * (2 * columns[n] + change)
        pairs = 0
        if paired:
            pairs = close[entering] - close[leaving] - near[entering, leaving]
        cost = pairs + weight * uneven
        if cost > 0 and cost > -np.log(np.random.random()) * temperature:
            continue
        chosen[a], others[b] = entering, leaving
        for n in range(N):
            columns[n] += np.int64(table[entering, n]) - np.int64(table[leaving, n])
        if paired:
            for i in range(M):
                close[i] += near[i, entering] - near[i, leaving]
        error += uneven
        gain += pairs
        if error < best_error or (error == best_error and gain < best_gain):
            for i in range(count):
                best[i] = chosen[i]
            best_error, best_gain = error, gain
    return best


def column_error(table: Table) -> int:
    """Sum of squared column sums above its least possible value for the table's size."""
    sums = table.sum(0, dtype=np.int64)
    each, rest = divmod(int(sums.sum()), len(sums))
    return int((sums**2).sum()) - rest * (each + 1) ** 2 - (len(sums) - rest) * each**2


def choose(pool: Table, classes: int, distance: int, rng: np.random.Generator) -> Table:
    """K of the M >= K rows of `pool` with even column sums and few pairs at distance d.

    The method is simulated annealing over swaps (Kirkpatrick, Gelatt and Vecchi, "Optimization by
    simulated annealing", 1983). The cost of a choice is its pairs at d plus the squared column
    error. A swap in a balanced choice raises that error by the distance of the two words. Where
    the pool holds the complement of every word, pairs of complements are swapped, since each
    pair is balanced.
    """
    if len(pool) == classes:
        return pool
    blocks = np.arange(len(pool))[:, None]
    if classes % 2 == 0 and (partner := _complements(pool)) is not None:
        blocks = np.stack([np.arange(len(pool)), partner], axis=1)[partner > np.arange(len(pool))]
    blocks = blocks[rng.permutation(len(blocks))]
    count = classes // blocks.shape[1]
    near = np.zeros((0, 0), dtype=np.int32)
    hot, moves = float(distance), MOVES
    if len(pool) <= MOST_COMPARED:
        moves //= max(1, 10 * len(pool) // MOST_COMPARED)
        words = neighbours(pack(pool), int(pool[0].sum()) - distance // 2).astype(np.int32)
        near = words[blocks[:, :, None, None], blocks].sum((1, 3), dtype=np.int32)
        np.fill_diagonal(near, 0)
        hot = max(hot, float(near.sum(1).std()))
    sums = pool[blocks].sum(1, dtype=np.uint8)
    tried = []
    for weight in (1.0, 4.0, 16.0, 64.0):
        seed = int(rng.integers(2**31))
        best = _anneal(sums, near, count, moves, hot, 0.2, weight, seed)
        tried.append(pool[np.sort(blocks[best].ravel())])
        if column_error(tried[-1]) == 0:
            return tried[-1]
    parallel = _parallel_classes(pool[rng.permutation(len(pool))], classes)
    return min(tried, key=column_error) if parallel is None else parallel


def _parallel_classes(pool: Table, classes: int) -> Table | None:
    """K words in groups of N / Nact disjoint words, so that a group uses every path once; or None.

    None means that the pool has too few such groups, or that Nact does not divide N. Where the
    pool is a linear code, the columns with odd sums form one of its words, whatever the choice.
    So swaps of single words rarely end in even columns, whereas these groups always do.
    """
    q, rest = divmod(pool.shape[1], int(pool[0].sum()))
    if rest:
        return None
    groups = _partitions(pack(pool), q, -(-classes // q))
    return pool[groups.ravel()[:classes]] if q * len(groups) >= classes else None


@numba.njit(nogil=True, cache=True)
def _partitions(words, q, needed):  # type: ignore[no-untyped-def]
    """(n, q): at most `needed` groups of q disjoint words, found by first fit."""
    M, limbs = words.shape
    free = np.ones(M, dtype=np.bool_)
    out = np.zeros((needed, q), dtype=np.int64)
    union = np.zeros((q + 1, limbs), dtype=np.uint64)
    place = np.zeros(q + 1, dtype=np.int64)
    found = 0
    for head in range(M):
        if found == needed:
            break
        if not free[head]:
            continue
        out[found, 0] = head
        for limb in range(limbs):
            union[1, limb] = words[head, limb]
        place[1] = head + 1
        depth, steps = 1, 0
        while 0 < depth < q and steps < TRIED_PER_GROUP:
            i = place[depth]
            if i == M:
                depth -= 1
                continue
            place[depth] += 1
            steps += 1
            fits = free[i]
            for limb in range(limbs):
                fits = fits and words[i, limb] & union[depth, limb] == 0
            if fits:
                out[found, depth] = i
                for limb in range(limbs):
                    union[depth + 1, limb] = union[depth, limb] | words[i, limb]
                place[depth + 1] = i + 1
                depth += 1
        if depth == q:
            for i in out[found]:
                free[i] = False
            found += 1
    return out[:found]


def _complements(pool: Table) -> NDArray[np.int64] | None:
    """(M,): the row of each word's complement; None unless the pool holds all of them."""
    place = {word.tobytes(): index for index, word in enumerate(pool)}
    partners = [place.get((1 - word).tobytes(), -1) for word in pool]
    return None if min(partners) < 0 else np.array(partners)
