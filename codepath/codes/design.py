"""Constructions of coding schemes: large minimum distance first, then even column sums."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from codepath.codes.bounds import largest_distance
from codepath.codes.scheme import CodingScheme

Words = NDArray[np.uint8]

_LEXICODE_LIMIT = 300_000
"""All words of the length and weight are held in memory up to this many."""
_CYCLIC_CANDIDATES = 20_000
_BATCH = 256


def design_scheme(classes: int, paths: int, active: int, seed: int = 0) -> CodingScheme:
    """A scheme of K codewords of length N with Nact ones, deterministic for a seed.

    Goes from the largest distance that Johnson's bound allows downwards and takes the first
    at which a construction succeeds; at equal distance the more even column sums win.
    Raises UserError where the parameters are impossible (see `largest_distance`).
    """
    for distance in range(largest_distance(classes, paths, active), 0, -2):
        rng = np.random.default_rng([seed, distance])
        found = [
            table
            for table in (
                _lexicode(classes, paths, active, distance, rng),
                _cyclic(classes, paths, active, distance, rng),
            )
            if table is not None
        ]
        if found:
            return CodingScheme(min(found, key=_column_error))
    raise AssertionError("distance 2 admits every set of different words")


def _column_error(table: Words) -> int:
    """Squared deviation of the column sums from their mean, times N (an integer)."""
    sums = table.sum(0, dtype=np.int64)
    return int(len(sums) * (sums**2).sum() - sums.sum() ** 2)


def _lexicode(
    classes: int, paths: int, active: int, distance: int, rng: np.random.Generator
) -> Words | None:
    """Greedy code over all words in lexicographic order, then a balanced choice of K of them.

    A word is accepted if it is at least `distance` from every accepted one (Conway and Sloane,
    "Lexicographic codes", 1986). The seed permutes the paths, which keeps all distances.
    """
    if math.comb(paths, active) > _LEXICODE_LIMIT:
        return None
    supports = np.array(list(itertools.combinations(range(paths), active)))
    words = np.zeros((len(supports), paths), dtype=np.uint8)
    np.put_along_axis(words, paths - 1 - supports, 1, axis=1)
    words = words[::-1]
    real = words.astype(np.float32)
    alive = np.ones(len(words), dtype=bool)
    accepted = []
    most_shared = active - distance // 2
    while alive.any():
        index = int(np.argmax(alive))
        accepted.append(index)
        alive &= real @ real[index] <= most_shared
    if len(accepted) < classes:
        return None
    pool = words[accepted][:, rng.permutation(paths)]
    return _balanced_choice(pool, classes, rng)


def _balanced_choice(pool: Words, classes: int, rng: np.random.Generator) -> Words:
    """K of the M words of `pool` with column sums as even as swaps make them.

    Steepest descent on the squared column error over swaps of one chosen and one unchosen
    word, with a tabu list against cycling; the best selection seen is returned.
    """
    size = len(pool)
    order = rng.permutation(size)
    inside, outside = list(order[:classes]), list(order[classes:])
    values = pool.astype(np.int64) * pool.shape[1]
    target = classes * int(pool[0].sum())
    error = values[inside].sum(0) - target
    best, best_error = sorted(inside), int((error**2).sum())
    floor = _smallest_column_error(target, pool.shape[1])
    tabu: list[int] = []
    for _ in range(400 if outside else 0):
        if best_error <= floor:
            break
        ins = rng.choice(len(outside), size=min(len(outside), 256), replace=False)
        out = rng.choice(len(inside), size=min(len(inside), 256), replace=False)
        change = values[np.array(outside)[ins]][:, None] - values[np.array(inside)[out]][None]
        cost = ((error + change) ** 2).sum(-1)
        for place, word in enumerate(np.array(outside)[ins]):
            if word in tabu:
                cost[place] += 1 << 40
        i, j = np.unravel_index(int(np.argmin(cost)), cost.shape)
        error = error + change[i, j]
        leaving = inside[out[j]]
        inside[out[j]], outside[ins[i]] = outside[ins[i]], leaving
        tabu = [*tabu, leaving][-7:]
        if int((error**2).sum()) < best_error:
            best, best_error = sorted(inside), int((error**2).sum())
    return pool[best]


def _smallest_column_error(total: int, paths: int) -> int:
    """Least squared error of N integer column sums with this total, scaled like the errors."""
    quotient, rest = divmod(total, paths)
    high, low = (quotient + 1) * paths - total, quotient * paths - total
    return rest * high**2 + (paths - rest) * low**2


def _cyclic(
    classes: int, paths: int, active: int, distance: int, rng: np.random.Generator
) -> Words | None:
    """Unions of cyclic orbits: the N rotations of a word use every path equally often.

    Random representatives are kept where they are far enough from their own rotations and
    from all kept words. What remains of K after whole orbits is filled with words of a
    shorter period where one fits exactly, else with single words that even the columns.
    """
    kept = np.zeros((0, paths), dtype=np.uint8)
    most_shared = active - distance // 2

    def fits(orbit: Words, others: Words) -> bool:
        own = orbit.astype(np.int64) @ orbit[0]
        return bool(
            (own[1:] <= most_shared).all()
            and (others.astype(np.int64) @ orbit[0] <= most_shared).all()
        )

    whole, rest = divmod(classes, paths)
    if rest and rest < paths and paths % rest == 0 and active * rest % paths == 0:
        repeats = paths // rest
        for _ in range(_BATCH):
            base = _random_word(rest, active // repeats, rng)
            orbit = _rotations(np.tile(base, repeats))[:rest]
            if fits(orbit, kept):
                kept, rest = orbit, 0
                break
    for _ in range(_CYCLIC_CANDIDATES):
        if whole == 0:
            break
        orbit = _rotations(_random_word(paths, active, rng))
        if fits(orbit, kept):
            kept = np.concatenate([kept, orbit])
            whole -= 1
    if whole:
        return None
    for _ in range(rest):
        candidates = np.stack([_random_word(paths, active, rng) for _ in range(2000)])
        far = (candidates.astype(np.int64) @ kept.T <= most_shared).all(1)
        if not far.any():
            return None
        candidates = candidates[far]
        load = candidates @ kept.sum(0, dtype=np.int64)
        kept = np.concatenate([kept, candidates[[int(np.argmin(load))]]])
    return kept


def _random_word(paths: int, active: int, rng: np.random.Generator) -> Words:
    word = np.zeros(paths, dtype=np.uint8)
    word[rng.permutation(paths)[:active]] = 1
    return word


def _rotations(word: Words) -> Words:
    """(N, N): row i is `word` rotated by i."""
    index = np.arange(len(word))
    return word[(index[None] - index[:, None]) % len(word)]
