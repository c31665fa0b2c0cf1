from __future__ import annotations

import csv
import inspect
import itertools

import numpy as np
import pytest

from codepath import codes
from codepath.codes import (
    FAMILIES,
    CodingScheme,
    catalog_names,
    certify,
    design_scheme,
    find_scheme,
    load_scheme,
)
from codepath.core.errors import UserError
from codepath.experiments.reference import REFERENCE

# K, N, Nact -> minimum distance and column sums (least, most) of the paper's own schemes.
PAPER_SETS = {
    (10, 10, 5): (4, 5, 5),
    (10, 10, 3): (4, 3, 3),
    (100, 20, 8): (8, 40, 40),
    (100, 20, 4): (4, 20, 20),
    (1000, 32, 16): (10, 499, 501),
    (1000, 32, 8): (6, 249, 251),
    (1000, 32, 24): (6, 749, 751),
    (1000, 32, 4): (4, 125, 125),
}


def brute_force_distances(table: np.ndarray) -> list[int]:
    return [int((a != b).sum()) for a, b in itertools.combinations(table, 2)]


def test_table3_is_the_papers() -> None:
    with (REFERENCE / "coding_schemes_cifar10.csv").open() as file:
        rows = list(csv.DictReader(file))
    for column, name in (("r5_10", "10-10-5"), ("r3_10", "10-10-3")):
        scheme = load_scheme(name)
        assert scheme.class_names == tuple(row["class"] for row in rows)
        words = ["".join(map(str, word)) for word in scheme.table]
        assert words == [row[column] for row in rows]


@pytest.mark.parametrize("size", PAPER_SETS)
def test_paper_family_has_the_papers_distance_and_balance(size: tuple) -> None:
    scheme = find_scheme(*size)
    distance, least, most = PAPER_SETS[size]
    assert scheme.table.shape == size[:2]
    assert (scheme.table.sum(1) == size[2]).all()
    assert scheme.min_distance == distance
    assert least <= scheme.column_sums.min() <= scheme.column_sums.max() <= most


@pytest.mark.parametrize("size", PAPER_SETS)
def test_best_family_is_optimal_in_distance_and_balance(size: tuple) -> None:
    paper, best = find_scheme(*size), find_scheme(*size, family="best")
    certificate = certify(best)
    assert best.table.shape == size[:2]
    assert certificate.distance_optimal
    assert certificate.balance_optimal
    assert best.min_distance > paper.min_distance or (
        best.min_distance == paper.min_distance
        and best.pairs_at_min_distance <= paper.pairs_at_min_distance
    )


def test_catalog_covers_the_paper_sets_and_every_entry_is_named_by_its_size() -> None:
    sizes = {"-".join(map(str, size)) for size in PAPER_SETS}
    assert {f"{family}/{size}" for family in FAMILIES for size in sizes} == set(catalog_names())
    for name in catalog_names():
        scheme = load_scheme(name)
        assert name.split("/")[1] == f"{scheme.classes}-{scheme.paths}-{scheme.active}"
    assert load_scheme("10-10-5") is not load_scheme("best/10-10-5")
    with pytest.raises(UserError, match="unknown scheme family 'worst'"):
        find_scheme(10, 10, 5, family="worst")


def test_properties_against_brute_force() -> None:
    for scheme in (load_scheme("10-10-5"), load_scheme("100-20-8"), design_scheme(37, 12, 4)):
        distances = brute_force_distances(scheme.table)
        assert scheme.min_distance == min(distances)
        assert scheme.pairs_at_min_distance == distances.count(min(distances))
        assert scheme.distance_counts.sum() == len(distances)
        assert scheme.column_sums.tolist() == scheme.table.sum(0).tolist()
    assert load_scheme("10-10-5").pairs_at_min_distance == 20
    assert load_scheme("10-10-3").ratio == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 0, 1], "K x N"),
        ([[1, 0], [2, 0]], "neither 0 nor 1"),
        ([[1, 0, 0], [1, 1, 0]], "row 1 has 2 ones"),
        ([[1, 1], [1, 1]], "at least one active and one inactive"),
        ([[1, 0], [0, 1], [1, 0]], "rows 0 and 2 are the same"),
    ],
)
def test_bad_tables_are_refused(table: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CodingScheme(table)


def test_table_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load_scheme("10-10-5").table[0, 0] = 0


def test_csv_round_trip_and_bad_lines(tmp_path) -> None:
    path = tmp_path / "scheme.csv"
    scheme = load_scheme("10-10-3")
    scheme.save(path)
    again = load_scheme(str(path))
    assert np.array_equal(again.table, scheme.table)
    assert again.class_names == scheme.class_names
    path.write_text("class,codeword\na,10\nb,0x\n")
    with pytest.raises(UserError, match="line 3"):
        CodingScheme.from_csv(path)
    path.write_text("a,10\n")
    with pytest.raises(UserError, match="line 1"):
        CodingScheme.from_csv(path)
    with pytest.raises(UserError, match="cannot read"):
        CodingScheme.from_csv(tmp_path / "absent.csv")
    with pytest.raises(UserError, match="10-10-5"):
        load_scheme("10-10-55")


ORDER = ["classes", "paths", "active", "distance"]


def test_sizes_have_one_order_and_options_have_names() -> None:
    seen = set()
    for name in codes.__all__:
        function = getattr(codes, name)
        if inspect.isclass(function) or not callable(function):
            continue
        parameters = inspect.signature(function).parameters.values()
        by_place = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        sizes = [size for size in by_place if size in ORDER]
        assert sizes == sorted(sizes, key=ORDER.index), name
        if sizes:
            seen.add(name)
            assert by_place == sizes, name
    assert seen == {
        "design_scheme",
        "fewest_pairs",
        "find_scheme",
        "johnson_bound",
        "largest_distance",
        "paper_scheme",
    }
    with pytest.raises(TypeError):  # and no wrong bound for those who write N, d, Nact
        codes.johnson_bound(20, 8, 8)


def test_any_name_of_a_class_comes_back(tmp_path) -> None:
    path = tmp_path / "scheme.csv"
    names = ("a\u2028b\x0bc\x85d", 'say "e", f', "")
    CodingScheme(np.eye(3, dtype=int), names).save(path)
    assert CodingScheme.from_csv(path).class_names == names
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as spreadsheets save it
    assert CodingScheme.from_csv(path).class_names == names


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_name_of_two_lines_is_refused(end: str, tmp_path) -> None:
    """No line of the file would be what it seems."""
    with pytest.raises(UserError, match="more than one line"):
        CodingScheme(np.eye(2, dtype=int), (f"a{end}b", "c"))
    path = tmp_path / "scheme.csv"
    path.write_text(f'class,codeword\n"a{end}b",10\nc,01\n', newline="")
    with pytest.raises(UserError, match=r"scheme\.csv: the class name .* more than one line"):
        CodingScheme.from_csv(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"class,codeword\n{'x' * 150_000},10\nb,01\n", "field larger than field limit"),
        ('class,codeword\n"a,10\nb,01\n', "unexpected end of data"),
    ],
)
def test_what_no_csv_reader_takes(text: str, said: str, tmp_path) -> None:
    (tmp_path / "scheme.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        CodingScheme.from_csv(tmp_path / "scheme.csv")
