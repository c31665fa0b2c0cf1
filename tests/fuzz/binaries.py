"""Bytes that almost are files: real small files, mutated."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

SIZES = (
    0, 1, 2, 3, 7, 8, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1,
    2**63, 2**64 - 1,
)  # fmt: skip
"""Numbers that a header may claim."""
DIGITS = (b"0", b"-1", b"1e9", b"99999999999", b"1099511627776", b"9" * 30, b"nan", b"")
"""The same in text."""


@st.composite
def mutated(draw: st.DrawFn, files: Sequence[bytes], most: int = 4) -> bytes:
    """One of the files after one to `most` mutations; places near its two ends are likelier."""
    data = bytearray(draw(st.sampled_from(list(files))))
    for _ in range(draw(st.integers(1, most))):
        change = draw(st.sampled_from(_CHANGES))
        place = draw(_places(len(data)))
        change(draw, data, place, files)
    return bytes(data)


def noise(files: Sequence[bytes], most: int = 4) -> st.SearchStrategy[bytes]:
    """Mutated files, and now and then bytes that have nothing to do with them."""
    return st.one_of(mutated(files, most), mutated(files, most), st.binary(max_size=300))


def _places(size: int) -> st.SearchStrategy[int]:
    last = max(size - 1, 0)
    ends = st.one_of(st.integers(0, min(last, 127)), st.integers(max(last - 127, 0), last))
    return st.one_of(ends, st.integers(0, last))


def _flip(draw: st.DrawFn, data: bytearray, place: int, _: Sequence[bytes]) -> None:
    if data:
        data[place] ^= 1 << draw(st.integers(0, 7))


def _put(draw: st.DrawFn, data: bytearray, place: int, _: Sequence[bytes]) -> None:
    some = draw(st.binary(min_size=1, max_size=16))
    data[place : place + len(some)] = some


def _insert(draw: st.DrawFn, data: bytearray, place: int, _: Sequence[bytes]) -> None:
    data[place:place] = draw(st.binary(min_size=1, max_size=16))


def _cut_out(draw: st.DrawFn, data: bytearray, place: int, _: Sequence[bytes]) -> None:
    del data[place : place + draw(st.integers(1, max(len(data) // 4, 1)))]


def _cut_off(_: st.DrawFn, data: bytearray, place: int, __: Sequence[bytes]) -> None:
    del data[place:]


def _repeat(draw: st.DrawFn, data: bytearray, place: int, _: Sequence[bytes]) -> None:
    data[place:place] = data[place : place + draw(st.integers(1, 600))]


def _swap(draw: st.DrawFn, data: bytearray, place: int, _: Sequence[bytes]) -> None:
    """Two stretches change places, such as two lengths in a header."""
    other, size = draw(_places(len(data))), draw(st.sampled_from((1, 2, 4, 8)))
    left, right = sorted((place, other))
    if left + size <= right and right + size <= len(data):
        data[left : left + size], data[right : right + size] = (
            data[right : right + size],
            data[left : left + size],
        )


def _splice(draw: st.DrawFn, data: bytearray, place: int, files: Sequence[bytes]) -> None:
    other = draw(st.sampled_from(list(files)))
    data[place:] = other[draw(_places(len(other))) :]


def _claim(draw: st.DrawFn, data: bytearray, place: int, _: Sequence[bytes]) -> None:
    """A number of a header becomes absurd."""
    width, number = draw(st.sampled_from((1, 2, 4, 8))), draw(st.sampled_from(SIZES))
    order = draw(st.sampled_from(("little", "big")))
    data[place : place + width] = (number % 256**width).to_bytes(width, order)


def _renumber(draw: st.DrawFn, data: bytearray, place: int, _: Sequence[bytes]) -> None:
    """The next number that is written in digits becomes absurd."""
    start = next((k for k in range(place, len(data)) if 48 <= data[k] < 58), None)
    if start is None:
        return
    end = start
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    data[start:end] = draw(st.sampled_from(DIGITS))


_CHANGES = (
    _flip, _flip, _put, _insert, _cut_out, _cut_off, _repeat, _swap, _splice, _claim, _renumber,
)  # fmt: skip
