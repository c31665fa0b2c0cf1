"""Bounds on constant-weight codes: Johnson's bound, and a linear programme."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codepath.core.errors import UserError


@functools.cache
def johnson_bound(paths: int, active: int, *, distance: int) -> int:
    """Upper bound on the number of words of length N, weight Nact, pairwise distance >= d.

    Johnson's recursion in exact integers, with A(n,d,w) = 1 where d > 2 min(w, n-w):
        A(n,d,w) <= floor(n/w A(n-1,d,w-1)),   A(n,d,w) <= floor(n/(n-w) A(n-1,d,w)).
    Source: S. M. Johnson, "A new upper bound for error-correcting codes", 1962.
    """
    if distance <= 2:
        return math.comb(paths, active)
    if distance > 2 * min(active, paths - active):
        return 1
    keep = paths * johnson_bound(paths - 1, active - 1, distance=distance) // active
    drop = paths * johnson_bound(paths - 1, active, distance=distance) // (paths - active)
    return min(keep, drop)


@dataclass(frozen=True)
class _Polytope:
    """The distance distributions B = (B_1, .., B_m) that a code may have: `matrix` B >= `least`.

    B_i is the mean number of words at distance 2i from a word, m = min(Nact, N - Nact).
    """

    matrix: NDArray[np.float64]
    least: NDArray[np.float64]


@functools.cache
def _johnson_scheme(paths: int, active: int) -> NDArray[np.float64]:
    """(m + 1, m + 1): q[k, i] = E_i(k) / v_i, the normalised dual Hahn polynomials.

    E_i(k) = sum_j (-1)^j C(k,j) C(w-k,i-j) C(N-w-k,i-j), v_i = C(w,i) C(N-w,i), in exact
    integers before the division. Source: P. Delsarte, "An algebraic approach to the
    association schemes of coding theory", 1973.
    """
    light = min(active, paths - active)
    q = np.empty((light + 1, light + 1))
    for k in range(light + 1):
        for i in range(light + 1):
            value = sum(
                (-1) ** j
                * math.comb(k, j)
                * math.comb(light - k, i - j)
                * math.comb(paths - light - k, i - j)
                for j in range(min(i, k) + 1)
            )
            q[k, i] = value / (math.comb(light, i) * math.comb(paths - light, i))
    return q


def _least_repeats(total: int, places: int) -> int:
    """Fewest pairs of things in the same place when `total` things are spread over `places`."""
    each, rest = divmod(total, places)
    return rest * math.comb(each + 1, 2) + (places - rest) * math.comb(each, 2)


def _polytope(classes: int, paths: int, active: int, distance: int) -> _Polytope:
    """Delsarte's inequalities, and counting inequalities, which use that counts are whole numbers.

    Counting: two codewords that share s ones share C(s, t) choices of t paths. All K codewords
    have K C(w, t) choices of t of their ones, which fall on C(N, t) choices of t paths. The sum
    of C(s, t) over all pairs is least when they fall evenly. The same holds for zeros.
    """
    light = min(active, paths - active)
    q = _johnson_scheme(paths, active)[1:, distance // 2 :]
    matrix, least = [*q], [-1.0] * len(q)
    steps = range(distance // 2, light + 1)
    for weight in {light, paths - light}:
        for t in range(1, weight - distance // 2 + 1):
            row = np.array([math.comb(weight - i, t) for i in steps], dtype=float)
            repeats = _least_repeats(classes * math.comb(weight, t), math.comb(paths, t))
            if repeats == 0:
                continue
            scale = max(row.max(), 1.0)
            matrix.append(row / scale)
            least.append(2 * repeats / classes / scale)
    return _Polytope(np.array(matrix), np.array(least))


def _programme(
    classes: int, paths: int, active: int, distance: int, cost: NDArray[np.float64]
) -> float | None:
    """Least cost.B over the distributions of K words at distance >= d; None if there are none."""
    from scipy.optimize import linprog

    polytope = _polytope(classes, paths, active, distance)
    result = linprog(
        cost,
        A_ub=-polytope.matrix,
        b_ub=-polytope.least,
        A_eq=np.ones((1, len(cost))),
        b_eq=[classes - 1],
        method="highs",
    )
    if result.status == 2:
        return None
    if result.status != 0:
        raise AssertionError(f"linear programme: {result.message}")
    return float(result.fun)


@functools.cache
def fewest_pairs(classes: int, paths: int, active: int, distance: int) -> int | None:
    """Lower bound on the pairs at distance exactly d among K words at distance >= d.

    The bound is the least K B_{d/2} / 2 of Delsarte's linear programme with the counting
    inequalities. None where the programme has no solution, so that no such scheme exists.
    """
    light = min(active, paths - active)
    if distance > 2 * light:
        return None
    cost = np.zeros(light - distance // 2 + 1)
    cost[0] = 1
    value = _programme(classes, paths, active, distance, cost)
    if value is None:
        return None
    # The solver may miss a constraint by 1e-7; a proof must not round that error up.
    return max(0, math.ceil(classes * value / 2 - 1e-4 - 1e-7 * classes * classes))


def refuted_by(classes: int, paths: int, active: int, distance: int) -> str | None:
    """Which bound excludes K words at distance >= d: its name, or None where none does."""
    if distance > 2 * min(active, paths - active):
        return "the weight"
    if johnson_bound(paths, active, distance=distance) < classes:
        return "Johnson's bound"
    if fewest_pairs(classes, paths, active, distance) is None:
        return "Delsarte's linear programme"
    return None


def check_size(classes: int, paths: int, active: int) -> None:
    """Raise UserError, with what is possible, where no K different words of weight Nact exist."""
    if paths < 2:
        raise UserError(f"{paths} paths: a coding scheme needs at least 2")
    if not 0 < active < paths:
        raise UserError(f"active is {active} of {paths} paths: choose 1 to {paths - 1}")
    words = math.comb(paths, active)
    if not 2 <= classes <= words:
        raise UserError(
            f"{classes} classes: {paths} paths with {active} active have {words:,} different "
            f"codewords, so 2 to {words:,} classes are possible"
        )


def check_distance(classes: int, paths: int, active: int, distance: int) -> None:
    """Raise UserError, with the largest d, where a bound excludes K words at distance d."""
    check_size(classes, paths, active)
    if distance < 2 or distance % 2:
        raise UserError(f"distance is {distance}: words of equal weight differ in 2, 4, .. paths")
    excluded = refuted_by(classes, paths, active, distance)
    if excluded:
        raise UserError(
            f"distance {distance} is impossible for {classes} classes on {paths} paths with "
            f"{active} active ({excluded}): at most {largest_distance(classes, paths, active)}"
        )


@functools.cache
def largest_distance(classes: int, paths: int, active: int) -> int:
    """The largest even d that no bound excludes for K words.

    Raises UserError where even distinct words (d = 2) do not suffice.
    """
    check_size(classes, paths, active)
    distance = 2
    while refuted_by(classes, paths, active, distance + 2) is None:
        distance += 2
    return distance
