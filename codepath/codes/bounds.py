"""What no constant-weight code can exceed."""

from __future__ import annotations

import functools
import math

from codepath.runtime import UserError


@functools.cache
def johnson_bound(paths: int, distance: int, active: int) -> int:
    """Upper bound on the number of words of length N, weight Nact, pairwise distance >= d.

    Johnson's recursion in exact integers, with A(n,d,w) = 1 where d > 2 min(w, n-w):
        A(n,d,w) <= floor(n/w A(n-1,d,w-1)),   A(n,d,w) <= floor(n/(n-w) A(n-1,d,w)).
    Source: S. M. Johnson, "A new upper bound for error-correcting codes", 1962.
    """
    if distance <= 2:
        return math.comb(paths, active)
    if distance > 2 * min(active, paths - active):
        return 1
    keep = paths * johnson_bound(paths - 1, distance, active - 1) // active
    drop = paths * johnson_bound(paths - 1, distance, active) // (paths - active)
    return min(keep, drop)


def largest_distance(classes: int, paths: int, active: int) -> int:
    """The largest even d that Johnson's bound allows for K words.

    Raises UserError where even distinct words (d = 2) do not suffice.
    """
    if not 0 < active < paths:
        raise UserError(f"active is {active} of {paths} paths: choose 1 to {paths - 1}")
    words = math.comb(paths, active)
    if not 2 <= classes <= words:
        raise UserError(
            f"{classes} classes: {paths} paths with {active} active have {words} different "
            f"codewords, so 2 to {words} classes are possible"
        )
    distance = 2
    while johnson_bound(paths, distance + 2, active) >= classes:
        distance += 2
    return distance
