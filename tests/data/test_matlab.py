"""Structures in MATLAB's files, as SciPy writes them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.io import savemat

from codepath.data.matlab import read_structures

KINDS = [("number", object), ("name", object), ("list", object), ("inner", object)]
ENTRIES = [
    (np.uint16(7), "n01440764", np.arange(5), {"a": 1}),
    (2.5, "naïve, 日本", np.zeros((0, 0)), "x"),
    (np.float32(-3), "", np.array([["ab"]], object), 4),
]


def file_of(is_compressed: bool, **others: object) -> bytes:
    buffer = io.BytesIO()
    variables = others | {"synsets": np.array(ENTRIES, dtype=KINDS).reshape(-1, 1)}
    savemat(buffer, variables, do_compression=is_compressed)
    return buffer.getvalue()


@pytest.mark.parametrize("is_compressed", [False, True])
def test_fields_are_what_scipy_wrote(is_compressed: bool) -> None:
    data = file_of(is_compressed, before=np.eye(3), text="synsets")
    assert read_structures(data, "synsets", ("name", "number")) == [
        ("n01440764", 7.0),
        ("naïve, 日本", 2.5),
        ("", -3.0),
    ]


@pytest.mark.parametrize(
    ("data", "fields", "said"),
    [
        (b"", ("name",), "no MATLAB file"),
        (file_of(False)[:300], ("name",), "cut"),
        (file_of(True)[:300], ("name",), "cut"),
        (file_of(True), ("size",), "'size' is not in list"),
        (file_of(True), ("list",), "values to unpack"),
        (file_of(True)[:128], ("name",), "no variable synsets"),
    ],
)
def test_what_is_not_there_is_named(data: bytes, fields: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_structures(data, "synsets", fields)
