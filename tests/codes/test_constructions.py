from __future__ import annotations

import itertools

import numpy as np
import pytest

from codepath.codes.choose import choose, column_error
from codepath.codes.decoding import decoding_error
from codepath.codes.families import one_hot, weight_classes
from codepath.codes.fields import cyclotomic_cosets, field, prime_power
from codepath.codes.greedy import lexicode, paper_scheme, random_code
from codepath.codes.groups import transitive_groups
from codepath.codes.orbits import orbit_union
from codepath.codes.scheme import CodingScheme
from codepath.codes.words import pack, unpack
from codepath.core.errors import UserError


def least_distance(table: np.ndarray) -> int:
    return min(int((a != b).sum()) for a, b in itertools.combinations(table, 2))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("q", [2, 3, 4, 5, 8, 9, 16, 25, 27, 32, 49])
def test_field_axioms(q: int, rng: np.random.Generator) -> None:
    gf = field(q)
    a, b, c = rng.integers(0, q, (3, 500))
    assert (gf.mul[a, gf.add[b, c]] == gf.add[gf.mul[a, b], gf.mul[a, c]]).all()
    assert (gf.mul[gf.mul[a, b], c] == gf.mul[a, gf.mul[b, c]]).all()
    assert (gf.frobenius(gf.add[a, b]) == gf.add[gf.frobenius(a), gf.frobenius(b)]).all()
    powers = {gf.power(gf.generator, i) for i in range(q - 1)}
    assert powers == set(range(1, q))


def test_prime_powers_and_cosets() -> None:
    assert [q for q in range(1, 33) if prime_power(q)] == [
        2, 3, 4, 5, 7, 8, 9, 11, 13, 16, 17, 19, 23, 25, 27, 29, 31, 32,
    ]  # fmt: skip
    assert prime_power(64) == (2, 6)
    cosets = cyclotomic_cosets(31, 2)
    assert sorted(x for coset in cosets for x in coset) == list(range(31))
    assert {len(coset) for coset in cosets} == {1, 5}


@pytest.mark.parametrize("paths", [5, 8, 64, 65, 100])
def test_packing_is_undone(paths: int, rng: np.random.Generator) -> None:
    table = rng.integers(0, 2, (9, paths)).astype(np.uint8)
    assert np.array_equal(unpack(pack(table), paths), table)


def test_groups_are_transitive_groups() -> None:
    for paths in (7, 8, 9, 12):
        for group in transitive_groups(paths, 200):
            moves = {tuple(p) for p in group.permutations}
            assert len(moves) == group.order
            assert np.array_equal(group.permutations[0], np.arange(paths))
            assert {p[0] for p in moves} == set(range(paths))
            for a in list(moves)[:10]:
                assert all(tuple(np.array(a)[list(b)]) in moves for b in list(moves)[:10])


def test_lexicode_by_definition() -> None:
    words = [w for w in itertools.product((0, 1), repeat=9) if sum(w) == 4]
    ascending = sorted(words)  # as binary numbers, the first path most significant
    accepted: list[tuple[int, ...]] = []
    for word in ascending:
        if all(sum(x != y for x, y in zip(word, old, strict=True)) >= 4 for old in accepted):
            accepted.append(word)
    found = lexicode(9, 4, 4, 1000)[:, ::-1]
    assert [tuple(word) for word in found] == accepted
    assert np.array_equal(lexicode(9, 4, 4, 5), lexicode(9, 4, 4, 1000)[:5])
    assert least_distance(lexicode(9, 4, 4, 1000, ascending=False)) == 4


def test_golay_code_is_among_the_cyclic_ones() -> None:
    octads = next(iter(weight_classes(759, 24, 8, 8)))
    assert len(octads) == 759
    assert least_distance(octads) == 8
    assert (octads.sum(0) == 253).all()
    assert list(weight_classes(760, 24, 8, 8)) == []


def test_one_hot_codes(rng: np.random.Generator) -> None:
    (reed_solomon,) = one_hot(100, 20, 4, 4, rng)
    assert reed_solomon.shape == (125, 20)
    assert least_distance(reed_solomon) == 4
    (found,) = one_hot(1000, 64, 16, 18, rng)  # GF(4), [16, 5, 9]
    assert found.shape == (1024, 64)
    assert least_distance(found) == 18
    assert (found.reshape(-1, 16, 4).sum(2) == 1).all()
    assert (found.sum(0) == 256).all()
    assert list(one_hot(10, 20, 6, 4, rng)) == []
    assert list(one_hot(1000, 64, 16, 22, rng)) == []


def test_orbit_unions_are_balanced_and_far_apart(rng: np.random.Generator) -> None:
    group = next(g for g in transitive_groups(9, 200) if "GF(9)" in g.name)
    union = orbit_union(group, 12, 9, 3, 4, rng, lambda: False)
    assert union is not None  # the lines of the affine plane of order 3
    assert len(union) == 12
    assert least_distance(union) == 4
    assert (union.sum(0) == 4).all()
    assert orbit_union(group, 13, 9, 3, 4, rng, lambda: False) is None


def test_random_code_keeps_the_distance(rng: np.random.Generator) -> None:
    code = random_code(50, 70, 10, 8, rng)
    assert code is not None
    assert len(code) >= 50
    assert least_distance(code) >= 8
    assert (code.sum(1) == 10).all()


def test_choice_is_balanced_and_of_few_pairs(rng: np.random.Generator) -> None:
    pool = lexicode(20, 8, 8, 400)
    chosen = choose(pool, 100, 8, rng)
    assert {row.tobytes() for row in chosen} <= {row.tobytes() for row in pool}
    assert len(np.unique(chosen, axis=0)) == 100
    assert column_error(chosen) == 0
    assert CodingScheme(chosen).pairs_at_min_distance < 2900
    assert np.array_equal(choose(pool, len(pool), 8, rng), pool)


def test_column_error_is_zero_exactly_for_even_columns() -> None:
    assert column_error(np.array([[1, 0, 0], [0, 1, 0]], dtype=np.uint8)) == 0
    assert column_error(np.array([[1, 0, 0], [1, 0, 0]], dtype=np.uint8)) == 2


def test_algorithm_1_gives_the_papers_kind_of_scheme() -> None:
    scheme = paper_scheme(100, 20, 8, 8)
    assert scheme.min_distance == 8
    assert (scheme.column_sums == 40).all()
    assert scheme.pairs_at_min_distance == 2910  # as many as the authors' table has
    with pytest.raises(UserError, match="choose a smaller distance"):
        paper_scheme(131, 20, 8, 8)
    with pytest.raises(UserError, match=r"impossible .* at most 8"):
        paper_scheme(100, 20, 8, 10)


def test_decoding_error_grows_with_noise_and_falls_with_distance() -> None:
    near = CodingScheme([[1, 1, 0, 0], [1, 0, 1, 0]])
    far = CodingScheme([[1, 1, 0, 0], [0, 0, 1, 1]])
    assert decoding_error(near, 1e-3, 100) == 0
    errors = [decoding_error(near, noise, 4000) for noise in (0.4, 0.8)]
    assert 0 < errors[0] < errors[1] < 0.5
    assert decoding_error(far, 0.8, 4000) < errors[1]
    # Two words at distance d: the error is the normal tail beyond sqrt(d) / 2 deviations.
    assert errors[1] == pytest.approx(0.1884, abs=0.01)
