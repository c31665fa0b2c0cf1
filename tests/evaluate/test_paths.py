"""Measured paths: means, bits and their errors."""

from __future__ import annotations

import numpy as np
import pytest

from codepath.codes import load_scheme
from codepath.evaluate import Predictions, measure_paths
from codepath.evaluate.paths import block_paths

SCHEME = load_scheme("10-10-3")


def test_perfect_energies_have_no_wrong_bits() -> None:
    labels = np.arange(50) % 10
    energies = (SCHEME.table[labels] / SCHEME.ratio).astype(np.float32)
    found = block_paths(energies, labels, SCHEME)
    np.testing.assert_allclose(found.mean, SCHEME.table, atol=1e-6)
    assert found.bit_error_rate == 0
    assert found.counts.tolist() == [5] * 10


def test_wrong_bits_are_counted_by_class_and_path() -> None:
    labels = np.array([2, 2, 2, 7])
    bits = SCHEME.table[labels].astype(np.float32)
    path = int(np.flatnonzero(SCHEME.table[2] == 0)[0])
    bits[1, path] = 1.0  # one of class 2's three images uses a path that is not its own
    found = block_paths(bits / np.float32(SCHEME.ratio), labels, SCHEME)
    assert found.bit_errors[2, path] == pytest.approx(1 / 3)
    assert found.mean[2, path] == pytest.approx(1 / 3)
    assert found.bit_error_rate == pytest.approx(1 / 40)
    assert found.path_error_rates[path] == pytest.approx(1 / 4)
    assert found.counts[0] == 0
    assert not found.mean[0].any()


def test_rows_of_paths() -> None:
    labels = np.arange(20) % 10
    energies = (SCHEME.table[labels] / SCHEME.ratio).astype(np.float32)
    predictions = Predictions(np.eye(10, dtype="f4")[labels], {5: energies}, labels, labels)
    rows = list(measure_paths(predictions, {5: SCHEME}, [str(k) for k in range(10)], "test"))
    cells = {(m.metric, m.class_name, m.path): m.value for m in rows}
    assert len(rows) == len(cells) == 1 + 10 + 2 * 100
    for k in range(10):
        for n in range(10):
            assert cells["codeword", str(k), n] == SCHEME.table[k, n]
    many = list(measure_paths(predictions, {5: SCHEME}, ["x"] * 21, "test"))
    assert {m.metric for m in many} == {"bit_error"}
