"""Schemes as unions of orbits of a transitive group: balanced by construction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numba
import numpy as np
from numpy.typing import NDArray

from codepath.codes.groups import Group
from codepath.codes.words import Table, Words, _shared, first_excess, pack, unpack

EVERY_WORD = 300_000
"""All words are tried as representatives where there are at most this many, else a sample."""
SAMPLE = 24_000
SHORT_SAMPLE = 4_000
FEW = 1200
"""Cliques are searched exhaustively among at most this many orbits, up to NODES nodes."""
NODES = 200_000
SEARCHES = 24
"""Clique searches without success before the annealing starts from any orbits."""
IMPROVEMENTS = 120
"""Clique searches in all where one succeeds: the union with the fewest pairs at d wins."""
CONFLICT = 5
SWAPS = 40_000_000
"""Word comparisons of one annealing run."""


@numba.njit(nogil=True, cache=True)
def _too_close(images, allowed, active):  # type: ignore[no-untyped-def]
    """(R,): whether an orbit (R, |G|, limbs) has two different words sharing over `allowed`."""
    out = np.zeros(len(images), dtype=np.bool_)
    for r in range(len(images)):
        for g in range(1, images.shape[1]):
            shared = _shared(images[r], 0, images[r], g)
            if allowed < shared < active:
                out[r] = True
                break
    return out


@numba.njit(nogil=True, cache=True)
def _relation(flat, start, size, i, j, allowed):  # type: ignore[no-untyped-def]
    """Numbers of pairs of a word of orbit i and one of orbit j that are closer than d, and at d."""
    closer, at = 0, 0
    for k in range(start[j], start[j] + size[j]):
        shared = _shared(flat, start[i], flat, k)
        closer += shared > allowed
        at += shared == allowed
    return closer * size[i], at * size[i]


@numba.njit(nogil=True, cache=True)
def _inner_pairs(flat, start, size, allowed):  # type: ignore[no-untyped-def]
    """(n,): pairs at d within each orbit."""
    out = np.zeros(len(size), dtype=np.int64)
    for i in range(len(size)):
        for k in range(1, size[i]):
            out[i] += _shared(flat, start[i], flat, start[i] + k) == allowed
        out[i] = out[i] * size[i] // 2
    return out


@numba.njit(nogil=True, cache=True)
def _compatible(flat, start, size, members, allowed):  # type: ignore[no-untyped-def]
    """(n, n): which different orbits of `members` keep distance d from one another."""
    n = len(members)
    out = np.zeros((n, n), dtype=np.bool_)
    for a in range(n):
        for b in range(a):
            i, j = members[a], members[b]
            if size[i] < size[j]:
                i, j = j, i
            good = True
            for k in range(start[j], start[j] + size[j]):
                if _shared(flat, start[i], flat, k) > allowed:
                    good = False
                    break
            out[a, b] = out[b, a] = good
    return out


@numba.njit(nogil=True, cache=True)
def _clique(adjacent, size, need, nodes):  # type: ignore[no-untyped-def]
    """Vertices of a clique whose sizes sum to `need`, depth first; empty where none was found."""
    n = len(size)
    deepest = min(n, need) + 2
    candidates = np.empty((deepest, n), dtype=np.int32)
    count = np.zeros(deepest, dtype=np.int64)
    place = np.zeros(deepest, dtype=np.int64)
    left = np.zeros(deepest, dtype=np.int64)
    chosen = np.zeros(deepest, dtype=np.int64)
    for i in range(n):
        candidates[0, i] = i
    count[0] = n
    left[0] = need
    depth = 0
    while depth >= 0:
        if left[depth] == 0:
            return chosen[:depth].copy()
        if place[depth] >= count[depth]:
            depth -= 1
            continue
        vertex = candidates[depth, place[depth]]
        place[depth] += 1
        nodes -= 1
        if nodes < 0:
            break
        rest = left[depth] - size[vertex]
        if rest < 0:
            continue
        kept, total = 0, 0
        for k in range(place[depth], count[depth]):
            other = candidates[depth, k]
            if adjacent[vertex, other] and size[other] <= rest:
                candidates[depth + 1, kept] = other
                kept += 1
                total += size[other]
        if total < rest:
            continue
        chosen[depth] = vertex
        depth += 1
        count[depth] = kept
        place[depth] = 0
        left[depth] = rest
    return chosen[:0].copy()


@numba.njit(nogil=True, cache=True)
def _close_pairs(flat, start, size, inner, chosen, allowed):  # type: ignore[no-untyped-def]
    """Numbers of pairs closer than d, and at d, in a union of orbits that each keep distance d."""
    closer, at = 0, 0
    for a in range(len(chosen)):
        at += inner[chosen[a]]
        for b in range(a):
            more = _relation(flat, start, size, chosen[a], chosen[b], allowed)
            closer += more[0]
            at += more[1]
    return closer, at


@numba.njit(nogil=True, cache=True)
def _anneal(flat, start, size, inner, chosen, alike, first, last, allowed, moves, seed):  # type: ignore[no-untyped-def]
    """Swap orbits for others of their size; returns the best union and its close pairs.

    The cost is the number of pairs at d plus CONFLICT for each pair closer than d.
    `alike[first[i]:last[i]]` are the orbits of orbit i's size.
    """
    np.random.seed(seed)
    m = len(chosen)
    closer, at = _close_pairs(flat, start, size, inner, chosen, allowed)
    best, best_closer, best_at = chosen.copy(), closer, at
    hot = float(size[chosen[0]])
    cold = hot / 20
    for step in range(moves):
        a = np.random.randint(m)
        old = chosen[a]
        new = alike[np.random.randint(first[old], last[old])]
        taken = False
        for b in range(m):
            taken = taken or chosen[b] == new
        if taken:
            continue
        change_closer, change_at = 0, inner[new] - inner[old]
        for b in range(m):
            if b != a:
                less = _relation(flat, start, size, old, chosen[b], allowed)
                more = _relation(flat, start, size, new, chosen[b], allowed)
                change_closer += more[0] - less[0]
                change_at += more[1] - less[1]
        temperature = hot * (cold / hot) ** (step / moves)
        cost = CONFLICT * change_closer + change_at
        if cost > 0 and cost > -np.log(np.random.random()) * temperature:
            continue
        chosen[a] = new
        closer += change_closer
        at += change_at
        if closer < best_closer or (closer == best_closer and at < best_at):
            for b in range(m):
                best[b] = chosen[b]
            best_closer, best_at = closer, at
    return best, best_closer, best_at


class Orbits:
    """The orbits of a group that keep distance d within themselves.

    Orbit i is `flat[start[i] : start[i] + size[i]]`, packed words.
    """

    def __init__(
        self, group: Group, paths: int, active: int, distance: int, rng: np.random.Generator
    ) -> None:
        self.paths = paths
        self.allowed = active - distance // 2
        found: dict[bytes, Words] = {}
        for table in _representatives(group, paths, active, rng):
            images = _images(table, group)
            for orbit in images[~_too_close(images, self.allowed, active)]:
                words = np.unique(orbit, axis=0) if orbit.shape[1] > 1 else np.unique(orbit)
                found.setdefault(words[0].tobytes(), words.reshape(-1, orbit.shape[1]))
        self.size = np.array([len(words) for words in found.values()], dtype=np.int64)
        self.start = np.cumsum(self.size) - self.size
        self.flat = np.concatenate([np.zeros((0, -(-paths // 64)), np.uint64), *found.values()])
        self.inner = _inner_pairs(self.flat, self.start, self.size, self.allowed)

    def reachable(self, classes: int) -> int:
        """The least number of words >= K that whole orbits may add up to."""
        if len(self.size) == 0:
            return 0
        step = int(np.gcd.reduce(self.size))
        return -(-classes // step) * step

    def clique(self, need: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
        """Compatible orbits of `need` words in all: random ones, then a depth-first search."""
        left = np.arange(len(self.size))
        chosen: list[int] = []
        while True:
            left = left[self.size[left] <= need]
            if self.size[left].sum() < need:
                return None
            if len(left) <= FEW:
                break
            one = int(rng.choice(left))
            chosen.append(one)
            need -= int(self.size[one])
            words = self.flat[self.start[one] : self.start[one] + self.size[one]]
            far = ~first_excess(self.flat[self.start[left]], words, self.allowed)
            left = left[far & (left != one)]
        left = rng.permutation(left)
        left = left[np.argsort(-self.size[left], kind="stable")]
        adjacent = _compatible(self.flat, self.start, self.size, left, self.allowed)
        rest = _clique(adjacent, self.size[left], need, NODES)
        if need and not len(rest):
            return None
        return np.array([*chosen, *left[rest]], dtype=np.int64)

    def any_of(self, need: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
        """Random orbits of `need` words in all, compatible or not."""
        chosen = []
        order = rng.permutation(len(self.size))
        for i in order[np.argsort(-self.size[order], kind="stable")]:
            if self.size[i] <= need:
                chosen.append(i)
                need -= int(self.size[i])
        return None if need else np.array(chosen, dtype=np.int64)

    def anneal(
        self, chosen: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], int, int]:
        """(orbits, pairs closer than d, pairs at d) after swaps of orbits of equal size."""
        alike = np.argsort(self.size, kind="stable")
        sizes = self.size[alike]
        first = np.searchsorted(sizes, self.size, "left")
        last = np.searchsorted(sizes, self.size, "right")
        moves = max(1000, min(200_000, SWAPS // int(self.size[chosen].sum())))
        seed = int(rng.integers(2**31))
        best, closer, at = _anneal(
            self.flat, self.start, self.size, self.inner, chosen.copy(),
            alike, first, last, self.allowed, moves, seed,
        )  # fmt: skip
        return best, int(closer), int(at)

    def pairs(self, chosen: NDArray[np.int64]) -> int:
        """Pairs at distance d in the union of the chosen orbits."""
        union = self.flat, self.start, self.size, self.inner, chosen, self.allowed
        return int(_close_pairs(*union)[1])

    def table(self, chosen: NDArray[np.int64]) -> Table:
        """(n, N): the words of the chosen orbits."""
        parts = [self.flat[self.start[i] : self.start[i] + self.size[i]] for i in chosen]
        return unpack(np.concatenate(parts), self.paths)


def orbit_union(
    group: Group,
    classes: int,
    paths: int,
    active: int,
    distance: int,
    rng: np.random.Generator,
    stop: Callable[[], bool],
) -> Table | None:
    """At least K words at distance >= d as a union of orbits, with few pairs at d; or None.

    Compatible orbits form a clique. Where no clique of the wanted size is found, orbits are
    swapped until no pair is too close (Nurmela, Kaikkonen and Ostergard, "New constant weight
    codes from linear permutation groups", 1997). `stop` ends the search for cliques.
    """
    orbits = Orbits(group, paths, active, distance, rng)
    need = orbits.reachable(classes)
    if orbits.size.sum() < need or need == 0:
        return None
    best, fewest = None, 0
    for attempt in range(IMPROVEMENTS):
        if (best is None and attempt == SEARCHES) or stop():
            break
        chosen = orbits.clique(need, rng)
        if chosen is None:
            continue
        pairs = orbits.pairs(chosen)
        if best is None or pairs < fewest:
            best, fewest = chosen, pairs
    start = orbits.any_of(need, rng) if best is None else best
    if start is None:
        return None
    best, closer, _ = orbits.anneal(start, rng)
    return None if closer else orbits.table(best)


def _representatives(
    group: Group, paths: int, active: int, rng: np.random.Generator
) -> Iterator[Table]:
    """Words in batches: all of them where they are few, else a sample.

    The sample is random words, and words that some element of the group fixes: the orbits of the
    latter are short.
    """
    batch = max(1, 4_000_000 // (group.order * paths))
    if math.comb(paths, active) <= EVERY_WORD:
        every = itertools.combinations(range(paths), active)
        while some := list(itertools.islice(every, batch)):
            yield _from_supports(np.array(some), paths)
        return
    for start in range(0, SAMPLE, batch):
        size = min(batch, SAMPLE - start)
        supports = np.argpartition(rng.random((size, paths)), active, axis=1)[:, :active]
        yield _from_supports(supports, paths)
    fixed = [
        word
        for element in rng.integers(1, group.order, SHORT_SAMPLE)
        if (word := _fixed_word(group.permutations[element], active, rng)) is not None
    ]
    for start in range(0, len(fixed), batch):
        yield np.array(fixed[start : start + batch], dtype=np.uint8)


def _from_supports(supports: NDArray[np.int64], paths: int) -> Table:
    table = np.zeros((len(supports), paths), dtype=np.uint8)
    np.put_along_axis(table, supports, 1, axis=1)
    return table


def _fixed_word(
    permutation: NDArray[np.int64], active: int, rng: np.random.Generator
) -> list[int] | None:
    """A random word of weight `active` that is a union of the permutation's cycles."""
    paths = len(permutation)
    word, left = [0] * paths, active
    seen = [False] * paths
    for start in rng.permutation(paths):
        cycle, point = [], int(start)
        while not seen[point]:
            seen[point] = True
            cycle.append(point)
            point = int(permutation[point])
        if 0 < len(cycle) <= left:
            for point in cycle:
                word[point] = 1
            left -= len(cycle)
    return word if left == 0 else None


def _images(table: Table, group: Group) -> Words:
    """(R, N) -> (R, |G|, limbs): the images of each word."""
    moved = table[:, group.permutations]
    rows, order, paths = moved.shape
    return pack(moved.reshape(rows * order, paths)).reshape(rows, order, -1)
