"""The best scheme that the constructions reach, by distance, then even columns, then few pairs."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from codepath.codes.bounds import check_distance, fewest_pairs, largest_distance
from codepath.codes.choose import choose, column_error
from codepath.codes.families import one_hot, weight_classes
from codepath.codes.greedy import lexicode, random_code
from codepath.codes.groups import transitive_groups
from codepath.codes.orbits import orbit_union
from codepath.codes.scheme import CodingScheme
from codepath.codes.words import Table
from codepath.core.errors import UserError

MOST_SCANNED = 20_000_000
"""The lexicode is tried only where at most this many words exist."""
POOLS = 2
"""At most this many codes are taken from one algebraic family."""
UNIONS = 2
"""Groups are tried until this many have given a union of orbits."""
LARGEST_POOL = 4
"""A pool holds at most this many words per class."""
LARGEST_GROUP = 2000
CROWDED = 20.0
"""Orbits are tried only where fewer of K random words are expected nearer than d to another."""

Progress = Callable[[str], None]


def design_scheme(
    classes: int,
    paths: int,
    active: int,
    *,
    seed: int = 0,
    time_limit: float | None = None,
    distance: int | None = None,
    progress: Progress = lambda _: None,
) -> CodingScheme:
    """A scheme of K codewords of length N with Nact ones.

    The search begins at the largest distance that no bound excludes and goes downwards, or it
    takes `distance` alone. At each distance it tries the constructions that fit the parameters:
    one-hot coded linear codes, words of one weight of cyclic codes, the lexicode, orbits of
    transitive groups, random greedy codes. It ends at the first distance where any of them
    succeeds, and returns the scheme with the most even columns, and then the fewest pairs at d.
    Where Nact > N / 2, a scheme with N - Nact ones is designed and complemented: complementing
    all words keeps every distance.

    Args:
        seed: another seed gives another scheme; equal seeds give equal schemes.
        time_limit: seconds after which only the cheapest constructions are begun. The result
            then depends on the machine's speed.
        distance: demanded minimum distance.
        progress: called with a line of text before each construction.

    Raises UserError where the parameters are impossible (its message says what is possible), and
    where a demanded distance is not reached.
    """
    if distance is not None:
        check_distance(classes, paths, active, distance)
    start = largest_distance(classes, paths, active) if distance is None else distance
    light = min(active, paths - active)
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    for d in range(start, 0 if distance is None else start - 1, -2):
        rng = np.random.default_rng([seed, d])
        best, quality = None, (0, 0)
        for table in _tables(classes, paths, light, d, rng, deadline, progress):
            now = (column_error(table), _pairs_at(table, d))
            if best is None or now < quality:
                best, quality = table, now
            if quality == (0, fewest_pairs(classes, paths, active, d)):
                break
        if best is not None:
            best = best[rng.permutation(classes)][:, rng.permutation(paths)]
            return CodingScheme(best if light == active else 1 - best)
    raise UserError(
        f"no construction reaches distance {start} for {classes} classes on {paths} paths with "
        f"{active} active: leave the distance out, or give more time"
    )


def _tables(
    classes: int,
    paths: int,
    active: int,
    distance: int,
    rng: np.random.Generator,
    deadline: float,
    progress: Progress,
) -> Iterator[Table]:
    """(K, N) tables at distance >= d, from every construction that succeeds; Nact <= N / 2."""

    def late() -> bool:
        return time.monotonic() > deadline

    crowd = classes * _share_nearer(paths, active, distance)
    for name, pools in (
        ("one-hot coded linear codes", one_hot(classes, paths, active, distance, rng)),
        ("words of one weight of cyclic codes", weight_classes(classes, paths, active, distance)),
    ):
        progress(f"d = {distance}: {name}")
        for pool in itertools.islice(pools, POOLS):
            yield choose(pool, classes, distance, rng)
            if late():
                break
    if math.comb(paths, active) <= MOST_SCANNED and not late():
        for ascending in (False, True):
            progress(f"d = {distance}: lexicode")
            pool = lexicode(paths, active, distance, LARGEST_POOL * classes, ascending)
            if len(pool) >= classes:
                yield choose(pool, classes, distance, rng)
    unions = 0
    for group in transitive_groups(paths, min(classes, LARGEST_GROUP)) if crowd < CROWDED else []:
        if late() or unions == UNIONS:
            break
        progress(f"d = {distance}: orbits of {group.name}")
        union = orbit_union(group, classes, paths, active, distance, rng, late)
        if union is not None:
            unions += 1
            yield choose(union, classes, distance, rng)
    if unions == 0 and crowd < math.log(2_000_000):
        progress(f"d = {distance}: random greedy code")
        code = random_code(classes, paths, active, distance, rng)
        if code is not None:
            yield choose(code, classes, distance, rng)


def _share_nearer(paths: int, active: int, distance: int) -> float:
    """Probability that two random words of the weight are nearer than d."""
    near = sum(math.comb(active, i) * math.comb(paths - active, i) for i in range(distance // 2))
    return near / math.comb(paths, active)


def _pairs_at(table: Table, distance: int) -> int:
    """Unordered pairs at distance exactly d."""
    shared = int(table[0].sum()) - distance // 2
    words = table.astype(np.float32)
    return sum(
        int((words[i : i + 1024] @ words[: i + 1024].T == shared).sum())
        for i in range(0, len(words), 1024)
    )
