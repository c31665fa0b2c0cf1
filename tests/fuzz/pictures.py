"""Small image files of many formats, and PNGs that are altered but have right checksums.

What is altered behind a checksum does not reach the decoder otherwise.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.binaries import SIZES, mutated

PNG_START = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def picture(mode: str, size: tuple[int, int] = (19, 13)) -> Image.Image:
    """A smooth image of a mode."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 4), np.uint8), "RGBA")
    return small.resize(size, Image.Resampling.BICUBIC).convert(mode)


@functools.cache
def images() -> tuple[bytes, ...]:
    """At least one file of each format that photographs come in."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x010F] = "maker"
    deep = Image.fromarray(np.arange(13 * 19, dtype=np.uint16).reshape(13, 19) * 250)
    frames = [picture("P"), picture("P").rotate(90)]
    return (
        encoded(picture("RGB"), "PNG"),
        encoded(picture("RGBA"), "PNG", exif=exif),
        encoded(picture("P"), "PNG", transparency=0),
        encoded(picture("1"), "PNG"),
        encoded(deep, "PNG"),
        encoded(picture("RGB"), "JPEG", exif=exif),
        encoded(picture("CMYK"), "JPEG"),
        encoded(picture("L"), "JPEG", progressive=True),
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        encoded(picture("RGB"), "BMP"),
        encoded(picture("P"), "BMP"),
        encoded(picture("RGB"), "TIFF"),
        encoded(picture("RGB"), "TIFF", compression="tiff_lzw"),
        encoded(picture("RGBA"), "TIFF", compression="tiff_adobe_deflate"),
        encoded(deep, "TIFF"),
        encoded(picture("RGB"), "WEBP", exif=exif),
        encoded(picture("RGBA"), "WEBP", lossless=True),
        encoded(frames[0].convert("RGB"), "WEBP", save_all=True, append_images=frames[1:]),
        encoded(picture("RGB"), "PPM"),
        encoded(picture("L"), "PPM"),
    )


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of a PNG's chunks, as far as they go."""
    found, place = [], len(PNG_START)
    while place + 8 <= len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        found.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + size]))
        place += size + 12
    return found


def png_of(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks, with the right lengths and checksums."""
    body = b"".join(
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )  # fmt: skip
    return PNG_START + body


@st.composite
def resealed_pngs(draw: st.DrawFn) -> bytes:
    """PNGs with an altered, repeated or missing chunk, and with right checksums."""
    parts = chunks(draw(st.sampled_from([one for one in images() if one.startswith(PNG_START)])))
    place = draw(st.integers(0, len(parts) - 1))
    kind, content = parts[place]
    action = draw(st.sampled_from(("size", "content", "unpacked", "again", "drop", "kind")))
    if action == "size" and kind == b"IHDR":
        sides = [draw(st.sampled_from(SIZES)) % 2**32 for _ in range(2)]
        parts[place] = (kind, struct.pack(">II", *sides) + content[8:])
    elif action == "unpacked" and kind == b"IDAT":
        parts[place] = (kind, zlib.compress(draw(mutated([zlib.decompress(content)]))))
    elif action == "again":
        parts.insert(place, parts[place])
    elif action == "drop":
        del parts[place]
    elif action == "kind":
        other = draw(
            st.sampled_from((b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"zTXt", b"acTL", b"fdAT"))
        )
        parts.insert(draw(st.integers(0, len(parts))), (other, draw(st.binary(max_size=40))))
    else:
        parts[place] = (kind, draw(mutated([content])))
    return png_of(parts)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG file whose header says another size."""
    data = bytearray(images()[5])
    frame = next(k for k in range(len(data)) if data[k : k + 2] == b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def almost_images() -> st.SearchStrategy[bytes]:
    """Files that almost are images, and a few that are."""
    sides = st.sampled_from((0, 1, 8, 300, 7_000, 20_000, 65_535))
    return st.one_of(
        mutated(images()),
        mutated(images()),
        resealed_pngs(),
        st.builds(jpeg_of_size, sides, sides),
        st.sampled_from(images()),
        st.binary(max_size=100),
    )
