"""Reading files of arrays (numpy.savez) from outside."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codepath.core.errors import reason
from codepath.core.signals import InterruptedRun

_MOST_UNPACKED = 16
"""How many times the size of a file its arrays may have, beside _SPARE_BYTES: names of images, as
numpy stores them, are packed to so small a part."""
_SPARE_BYTES = 2**26
_LAST_RECORD = struct.Struct("<4s6xH10s")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file that numpy.savez or savez_compressed wrote, by name.

    No memory is taken for more than the file holds, and nothing in it is executed.

    Raises ValueError where the file is damaged, and for objects in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            most = _MOST_UNPACKED * path.stat().st_size + _SPARE_BYTES
            if sum(entry.file_size for entry in entries) > most:
                raise ValueError("it says more content than it can hold")
            if len(entries) != _said_entries(path):
                raise ValueError("it says another number of arrays than it lists")
            found = {entry.filename: _array(archive, entry) for entry in entries}
    except (FileNotFoundError, InterruptedRun):
        raise
    except Exception as error:  # zipfile and numpy let through what damaged numbers lead to
        raise ValueError(reason(error)) from None
    if len(found) != len(entries):
        raise ValueError("an array is there twice")
    return {name.removesuffix(".npy"): array for name, array in found.items()}


def _said_entries(path: Path) -> int:
    """How many entries an archive's last record says, which zipfile does not compare."""
    with path.open("rb") as file:
        file.seek(-_LAST_RECORD.size, os.SEEK_END)
        mark, entries, _ = _LAST_RECORD.unpack(file.read())
    return int(entries) if mark == b"PK\x05\x06" else -1


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        headers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, in_columns, dtype = headers[version](file)
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size != entry.file_size - file.tell():
            raise ValueError(f"{entry.filename} is not of the size it says")
        if dtype.hasobject:
            raise ValueError(f"{entry.filename} holds objects")
        data = bytearray(file.read())  # its checksum is compared at its end
    return np.ndarray(shape, dtype, data, order="F" if in_columns else "C")
