"""Files of arrays, as numpy writes them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from codepath.core.arrays import read_arrays

ARRAYS = {
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "names": np.array(["a", "bcd", "é"]),
    "none": np.array([], np.str_),
    "one": np.float32(2.5),
    "wide": np.zeros((2, 0, 3), np.int8),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_they_were(save, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    save(path, **ARRAYS)
    found = read_arrays(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == np.asarray(array).dtype
        assert found[name].shape == np.shape(array)
        assert np.array_equal(found[name], array)
        found[name].flat[:1] = found[name].flat[:1]  # it can be written to


def test_every_flipped_bit_of_an_array_is_found(tmp_path: Path) -> None:
    buffer, path = io.BytesIO(), tmp_path / "x.npz"
    np.savez(buffer, a=np.arange(8), b=np.arange(3))
    whole = buffer.getvalue()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 16
        path.write_bytes(data)
        try:
            found = read_arrays(path)
        except ValueError:
            continue
        assert np.array_equal(found.get("a", []), np.arange(8)) or "a" not in found
        assert len(found) == 2
