"""Tar archives that are altered but whose headers have right checksums."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

BLOCK = 512
FIELDS = {"name": (0, 100), "size": (124, 136), "type": (156, 157), "link": (157, 257),
          "magic": (257, 265), "sparse": (386, 495), "prefix": (345, 500)}  # fmt: skip
"""Stretches of a header."""
NAMES = (
    b"../../evil", b"/tmp/evil.png", b"train/a/\xff.png", b"train/a\nb/0.png", b"\x1b[31m", b"",
    b"train/a/../../../x.png", b"train/a/0.png", b"train/" + b"a" * 90,
)  # fmt: skip
LENGTHS = (b"00000000000\0", b"77777777777\0", b"00000001000\0", b"-0000001000\0", b"9" * 12,
           b"\x80" + bytes(5) + b"\x01" + bytes(5), b"\xff" * 10 + b"\xfe\x00", b"\xff" * 12,
           b"\x80" + b"\xff" * 11)  # fmt: skip
"""Sizes as a header writes them: octal, and of base 256 (2**40, -512, -1, and all bits)."""
KINDS = b"0127345LKSxgNDVX\0"
PAX = (b"11 size=-1\n", b"13 size=-512\n", b"30 size=1099511627776\n", b"18 path=../../evil\n",
       b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n31 GNU.sparse.name=train/a/s.png\n"
       b"35 GNU.sparse.realsize=1099511627776\n", b"19 GNU.sparse.size=9\n", b"9" * 60_000,
       b"99999 path=x\n", b"0 =\n")  # fmt: skip
"""Extended headers."""
PACKED: tuple[Callable[[bytes], bytes], ...] = (
    bytes, bytes, bytes, gzip.compress, bz2.compress, lzma.compress,
)  # fmt: skip


def tar_of(files: Sequence[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def sealed(header: bytes) -> bytes:
    """A header with its right checksum."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def headers_of(data: bytes) -> list[int]:
    """Where the headers of a valid archive begin."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [member.offset for member in tar.getmembers()]


@st.composite
def resealed_tars(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """Archives with altered headers, each with its right checksum."""
    data = bytearray(draw(st.sampled_from(list(files))))
    places = headers_of(bytes(data))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(places))
        header = bytearray(data[place : place + BLOCK])
        field = draw(st.sampled_from(list(FIELDS)))
        start, end = FIELDS[field]
        if field == "name":
            new = draw(st.sampled_from(NAMES))
        elif field == "size":
            new = draw(st.sampled_from(LENGTHS))
        elif field == "type":
            new = draw(st.sampled_from([KINDS[k : k + 1] for k in range(len(KINDS))]))
        else:
            new = draw(st.binary(max_size=end - start))
        header[start:end] = new[: end - start].ljust(end - start, b"\0")
        data[place : place + BLOCK] = sealed(bytes(header))
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.sampled_from(places))
        data[place:place] = extended(draw(st.sampled_from(PAX))) * draw(
            st.sampled_from((1, 1, 2, 600))
        )
    if draw(st.integers(0, 3)) == 0:  # a member, a header or the end is lost
        del data[draw(st.sampled_from(places)) :]
    return draw(st.sampled_from(PACKED))(bytes(data))


def extended(text: bytes) -> bytes:
    """A header that describes the next member."""
    member = tarfile.TarInfo("pax")
    member.type, member.size = tarfile.XHDTYPE, len(text)
    return member.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % BLOCK)


def zeros(size: int) -> bytes:
    """A small compressed archive that unpacks to one file of many zeros."""
    member = tarfile.TarInfo("train/a/0.png")
    member.size = size
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb") as packed:
        packed.write(member.tobuf())
        for _ in range(size // 2**20):
            packed.write(bytes(2**20))
        packed.write(bytes(2 * BLOCK))
    return buffer.getvalue()
