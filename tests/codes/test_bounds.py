from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from codepath.codes import (
    CodingScheme,
    certify,
    design_scheme,
    fewest_pairs,
    johnson_bound,
    largest_distance,
    load_scheme,
)
from codepath.codes.bounds import refuted_by


def test_johnson_bound_is_never_below_a_code_that_exists() -> None:
    # Exact values of A(n, d, w) from the published tables of constant-weight codes.
    known = {(7, 4, 3): 7, (8, 4, 4): 14, (9, 4, 3): 12, (10, 4, 5): 36, (12, 4, 6): 132}
    for (paths, distance, active), words in known.items():
        assert johnson_bound(paths, active, distance=distance) >= words
    assert johnson_bound(7, 3, distance=4) == 7
    assert johnson_bound(10, 5, distance=2) == math.comb(10, 5)
    assert largest_distance(10, 10, 5) == 4


def test_delsarte_excludes_what_johnson_does_not() -> None:
    # 14 is impossible for 1000 words of the ImageNet scheme; 12 is reached.
    assert refuted_by(1000, 32, 16, 14) == "Delsarte's linear programme"
    assert johnson_bound(32, 16, distance=14) >= 1000
    assert refuted_by(1000, 32, 16, 12) is None


def test_perfect_codes_meet_the_programme() -> None:
    # The 759 octads of the Golay code and the Steiner system S(3,4,8): no more words exist.
    assert refuted_by(759, 24, 8, 8) is None
    assert refuted_by(760, 24, 8, 8) is not None
    assert refuted_by(14, 8, 4, 4) is None
    assert refuted_by(15, 8, 4, 4) is not None


@pytest.mark.parametrize(
    ("size", "distance", "pairs"),
    [((10, 10, 3), 4, 30), ((10, 10, 5), 4, 10), ((100, 20, 4), 4, 660)],
)
def test_fewest_pairs_are_attained(size: tuple, distance: int, pairs: int) -> None:
    assert fewest_pairs(*size, distance) == pairs


def test_fewest_pairs_never_exceed_a_random_scheme() -> None:
    rng = np.random.default_rng(0)
    for paths, active in ((7, 3), (9, 4), (12, 6)):
        words = [w for w in itertools.product((0, 1), repeat=paths) if sum(w) == active]
        for _ in range(40):
            classes = int(rng.integers(2, 30))
            scheme = CodingScheme(np.array(words)[rng.choice(len(words), classes, replace=False)])
            bound = fewest_pairs(classes, paths, active, scheme.min_distance)
            assert bound is not None
            assert bound <= scheme.pairs_at_min_distance
            assert largest_distance(classes, paths, active) >= scheme.min_distance


def test_certificate_says_optimal_or_the_gap() -> None:
    best = certify(load_scheme("best/10-10-5"))
    assert (best.distance_optimal, best.balance_optimal, best.pairs_optimal) == (True, True, True)
    assert best.lines()[0] == "minimum distance 4 (optimal: 6 is excluded by Johnson's bound)"
    paper = certify(load_scheme("paper/1000-32-16"))
    assert not paper.distance_optimal
    assert "gap 2" in paper.lines()[0]
    assert "500 to 500 would be even" in paper.lines()[1]
    gap = certify(load_scheme("paper/10-10-5")).lines()[2]
    assert gap.startswith("pairs at distance 4: 20 (at least 10 by Delsarte")
    uneven = certify(CodingScheme([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]))
    assert uneven.even_column_sums == (1, 2)
    assert not uneven.balance_optimal
    assert certify(design_scheme(7, 7, 3)).distance_optimal
