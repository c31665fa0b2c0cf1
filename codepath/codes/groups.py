"""Permutation groups that act transitively on the paths.

Every orbit of codewords under such a group uses all paths equally often: the group moves any path
onto any other, so all column sums of the orbit are equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codepath.codes.fields import field, prime_power


@dataclass(frozen=True, eq=False)
class Group:
    """A permutation group on N paths."""

    name: str
    permutations: NDArray[np.int64]
    """(|G|, N), the identity first: word w is moved to w[permutation]."""

    @property
    def order(self) -> int:
        """|G|."""
        return len(self.permutations)


def transitive_groups(paths: int, largest: int) -> list[Group]:
    """Affine groups on N paths with at most `largest` elements, the smallest first.

    The cyclic ones are x -> u x + b modulo N, with u in a cyclic group of units. Where N = p^m is
    a prime power with m > 1, there are also semilinear ones on GF(N): x -> a x^(p^j) + b, with a
    in a multiplicative subgroup and j a multiple of a divisor of m.
    """
    groups = [*_cyclic_groups(paths, largest), *_field_groups(paths, largest)]
    return sorted(groups, key=lambda group: group.order)


def _cyclic_groups(paths: int, largest: int) -> list[Group]:
    points = np.arange(paths)
    shifts = (points[None] + points[:, None]) % paths
    seen: set[tuple[int, ...]] = set()
    groups = []
    for unit in range(1, paths):
        if math.gcd(unit, paths) > 1:
            continue
        powers = [1]
        while (following := powers[-1] * unit % paths) != 1:
            powers.append(following)
        members = tuple(sorted(powers))
        if members in seen or len(powers) * paths > largest:
            continue
        seen.add(members)
        moves = np.concatenate([shifts * u % paths for u in powers])
        groups.append(Group(f"x -> {unit}^i x + b mod {paths}", moves))
    return groups


def _field_groups(paths: int, largest: int) -> list[Group]:
    power = prime_power(paths)
    if power is None or power[1] == 1:
        return []
    gf, (p, m) = field(paths), power
    points = np.arange(paths)
    groups = []
    for order in (h for h in range(1, paths) if (paths - 1) % h == 0):
        scalars, step = [1], gf.power(gf.generator, (paths - 1) // order)
        while len(scalars) < order:
            scalars.append(int(gf.mul[scalars[-1], step]))
        for every in (j for j in range(1, m + 1) if m % j == 0):
            if paths * order * (m // every) > largest:
                continue
            moves, image = [], points
            for _ in range(m // every):
                scaled = [gf.mul[a][image] for a in scalars]
                moves += [gf.add[b][line] for line in scaled for b in range(paths)]
                for _ in range(every):
                    image = gf.frobenius(image)
            name = f"x -> a x^({p}^(j*{every})) + b on GF({paths}), a^{order} = 1"
            groups.append(Group(name, np.array(moves)))
    return groups
