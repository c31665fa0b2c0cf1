"""Structures in MATLAB's files (level 5), such as ImageNet's development kit has.

SciPy reads these files as well, but where one is damaged it may end the whole process.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

_HEADER = 128
_LITTLE_ENDIAN = b"\x00\x01IM"
_NUMBERS = {
    1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8",
    13: "<u8",
}  # fmt: skip
"""Kind of an element -> the type of its numbers."""
_MATRIX, _COMPRESSED = 14, 15
_STRUCTURE, _TEXT = 2, 4
"""Classes of a matrix; other ones hold numbers."""
_MOST_UNPACKED = 2**25
_Value = str | float
_Element = tuple[int, bytes]


def read_structures(data: bytes, name: str, fields: Sequence[str]) -> list[tuple[_Value, ...]]:
    """Some fields of all structures in a variable; each of them a text or one number.

    Args:
        data: the file's content.
        name: of the variable.
        fields: names of the fields.

    Raises ValueError where the file is damaged, is of another form, or holds no such variable.
    """
    if data[_HEADER - 4 : _HEADER] != _LITTLE_ENDIAN:
        raise ValueError("no MATLAB file of level 5")
    try:
        for kind, content in _elements(data[_HEADER:]):
            if kind == _COMPRESSED:
                unpacked = zlib.decompressobj().decompress(content, _MOST_UNPACKED)
                ((kind, content),) = _elements(unpacked)
            matrix = list(_elements(content))
            if kind == _MATRIX and matrix[2][1].decode() == name:
                return _structures(matrix, fields)
    except (struct.error, zlib.error, LookupError) as error:
        raise ValueError(f"cut or altered: {error}") from None
    raise ValueError(f"no variable {name}")


def _elements(data: bytes) -> Iterator[_Element]:
    """Kind and content of the elements that fill some bytes."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from("<II", data, place)
        start, padded = place + 8, -(-size // 8) * 8
        if kind >> 16:  # a short one: kind, size and content share eight bytes
            kind, size, start, padded = kind & 0xFFFF, kind >> 16, place + 4, 4
        content = data[start : start + size]
        if len(content) != size or size > padded:
            raise ValueError("cut")
        yield kind, content
        place = start + (size if kind == _COMPRESSED else padded)


def _structures(matrix: list[_Element], fields: Sequence[str]) -> list[tuple[_Value, ...]]:
    (flags, (_, sizes), _, (_, length), (_, joined), *values) = matrix
    if flags[1][0] != _STRUCTURE:
        raise ValueError("no structures")
    (width,) = struct.unpack("<i", length)
    names = [joined[k : k + width].split(b"\0")[0].decode() for k in range(0, len(joined), width)]
    count = math.prod(np.frombuffer(sizes, "<i4").tolist())
    if len(values) != count * len(names):
        raise ValueError("another number of structures than it says")
    places = [names.index(field) for field in fields]
    return [
        tuple(_value(values[start + place]) for place in places)
        for start in range(0, len(values), len(names))
    ]


def _value(element: _Element) -> _Value:
    """A matrix that is a text or one number."""
    (flags, _, _, (kind, content)) = _elements(element[1])
    if flags[1][0] == _TEXT and kind not in (1, 2, 16):
        return content.decode("utf-16-le")
    if flags[1][0] == _TEXT:
        return content.decode()
    (number,) = np.frombuffer(content, _NUMBERS[kind]).tolist()
    return float(number)
