from __future__ import annotations

import itertools

import numpy as np
import pytest

from codepath.codes import CodingScheme, design_scheme, fewest_pairs, largest_distance
from codepath.core.errors import UserError

# K, N, Nact -> minimum distance, column sums, most pairs at the distance.
TARGETS = {
    (10, 10, 3): (4, 3, 30),
    (10, 10, 5): (4, 5, 10),
    (100, 20, 4): (4, 20, 660),
    (100, 20, 8): (8, 40, 2950),
    (1000, 32, 8): (8, 250, 50500),
    (1000, 32, 16): (12, 500, 121600),
}
SMALL = [size for size in TARGETS if size[0] < 1000]

# K, N, Nact -> least minimum distance.
BEYOND = {
    (365, 32, 16): 12,
    (200, 32, 8): 8,
    (1000, 24, 12): 8,  # dodecads of the extended Golay code
    (1000, 64, 16): 16,
}


def close_pairs(table: np.ndarray) -> tuple[int, int]:
    """(d, pairs at d) from all rows compared one with another, independent of the package."""
    counts: dict[int, int] = {}
    for k in range(len(table) - 1):
        for distance in (table[k] != table[k + 1 :]).sum(1):
            counts[int(distance)] = counts.get(int(distance), 0) + 1
    return min(counts), counts[min(counts)]


def check(table: np.ndarray, size: tuple[int, int, int]) -> tuple[int, int]:
    assert table.shape == size[:2]
    assert set(np.unique(table)) == {0, 1}
    assert (table.sum(1) == size[2]).all()
    return close_pairs(table)


@pytest.mark.parametrize("size", TARGETS)
def test_targets_are_reached(size: tuple) -> None:
    distance, column, pairs = TARGETS[size]
    table = design_scheme(*size).table
    found = check(table, size)
    assert found[0] == distance
    assert found[1] <= pairs
    assert (table.sum(0) == column).all()


@pytest.mark.parametrize("size", SMALL)
def test_ten_seeds_reach_the_targets_with_different_schemes(size: tuple) -> None:
    distance, column, pairs = TARGETS[size]
    tables = [design_scheme(*size, seed=seed).table for seed in range(1, 11)]
    for table in tables:
        found = check(table, size)
        assert found[0] == distance
        assert found[1] <= pairs
        assert (table.sum(0) == column).all()
    assert len({table.tobytes() for table in tables}) == 10


@pytest.mark.parametrize("size", BEYOND)
def test_other_sizes_reach_the_known_distances(size: tuple) -> None:
    table = design_scheme(*size).table
    assert check(table, size)[0] >= BEYOND[size]
    assert np.ptp(table.sum(0)) <= 1


@pytest.mark.slow
def test_twenty_thousand_classes() -> None:
    table = design_scheme(21841, 64, 16).table
    assert table.shape == (21841, 64)
    assert (table.sum(1) == 16).all()
    words = table.astype(np.float32)
    shared = max(
        int(np.triu(words[i : i + 2048] @ words[i:].T, k=1).max()) for i in range(0, 21841, 2048)
    )
    assert 2 * (16 - shared) >= 16
    assert np.ptp(table.sum(0)) <= 1


def test_same_seed_same_scheme() -> None:
    first, second = (design_scheme(100, 20, 8, seed=3).table for _ in range(2))
    assert np.array_equal(first, second)


def test_more_ones_than_zeros_are_the_complement() -> None:
    many, few = design_scheme(30, 12, 8), design_scheme(30, 12, 4)
    assert np.array_equal(many.table, 1 - few.table)


@pytest.mark.parametrize(
    "size",
    [
        (2, 2, 1),
        (2, 3, 1),
        (9, 10, 1),
        (10, 10, 9),
        (5, 7, 3),
        (37, 10, 5),
        (252, 10, 5),
        (6, 4, 2),
    ],
)
def test_tiny_and_full_sizes(size: tuple) -> None:
    table = design_scheme(*size).table
    distance, pairs = check(table, size)
    scheme = CodingScheme(table)
    assert (scheme.min_distance, scheme.pairs_at_min_distance) == (distance, pairs)
    assert distance <= largest_distance(*size)
    assert pairs >= (fewest_pairs(*size, distance) or 0)
    assert np.ptp(table.sum(0)) <= 1


def test_more_than_64_paths() -> None:
    size = (40, 100, 10)
    table = design_scheme(*size).table
    assert check(table, size)[0] >= 14
    assert np.ptp(table.sum(0)) <= 2


def test_time_limit_ends_early_with_a_valid_scheme() -> None:
    scheme = design_scheme(1000, 32, 8, time_limit=0.0)
    assert check(scheme.table, (1000, 32, 8))[0] >= 4


def test_demanded_distance() -> None:
    assert design_scheme(20, 16, 4, distance=4).min_distance >= 4
    with pytest.raises(UserError, match=r"distance 14 is impossible .* at most 12"):
        design_scheme(1000, 32, 16, distance=14)
    with pytest.raises(UserError, match="distance is 3"):
        design_scheme(10, 10, 5, distance=3)
    with pytest.raises(UserError, match="no construction reaches distance 10"):
        design_scheme(200, 32, 8, distance=10)


def test_progress_names_what_is_tried() -> None:
    lines: list[str] = []
    design_scheme(100, 20, 4, progress=lines.append)
    assert any("lexicode" in line for line in lines)
    assert all(line.startswith("d = ") for line in lines)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((10, 10, 0), "active is 0 of 10"),
        ((10, 10, 10), "active is 10 of 10"),
        ((7, 4, 2), "6 different codewords"),
        ((1, 10, 5), "2 to 252 classes"),
        ((2, 1, 1), "needs at least 2"),
    ],
)
def test_impossible_requests_say_what_is_possible(size: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        design_scheme(*size)
    assert "\n" not in str(error.value)


def test_every_pair_of_the_smallest_cases_is_optimal() -> None:
    # All schemes of 4 words of length 5 and weight 2, against the bounds and the design.
    words = [w for w in itertools.product((0, 1), repeat=5) if sum(w) == 2]
    best = min(
        (-close_pairs(np.array(choice))[0], close_pairs(np.array(choice))[1])
        for choice in itertools.combinations(words, 4)
    )
    scheme = design_scheme(4, 5, 2)
    assert scheme.min_distance == -best[0]
    assert largest_distance(4, 5, 2) >= -best[0]
    assert (fewest_pairs(4, 5, 2, -best[0]) or 0) <= best[1]
