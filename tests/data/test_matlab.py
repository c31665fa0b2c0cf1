"""Structures in MATLAB's files, as MATLAB and SciPy write them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import scipy.io.matlab
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


@pytest.mark.parametrize("version", ["6.5.1", "7.1", "7.4"])
def test_fields_are_what_matlab_wrote(version: str) -> None:
    """Files that SciPy's own tests have; 6.5.1 does not compress."""
    folder = Path(scipy.io.matlab.__file__).parent / "tests" / "data"
    text = "Rats live on no evil star."
    single = (folder / f"teststruct_{version}_GLNX86.mat").read_bytes()
    assert read_structures(single, "teststruct", ("stringfield",)) == [(text,)]
    several = (folder / f"teststructarr_{version}_GLNX86.mat").read_bytes()
    assert read_structures(several, "teststructarr", ("one", "two")) == [
        (1.0, 2.0),
        ("number 1", "number 2"),
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
