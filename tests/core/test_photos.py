"""Photographs from outside: taken, or refused in one line."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codepath.core.errors import UserError
from codepath.core.photos import MOST_BYTES, read_photo

SHAPE = (3, 32, 32)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def noise(width: int = 32, height: int = 32, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, len(mode)), np.uint8)
    return Image.fromarray(pixels.squeeze(), mode)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says its size and has next to no content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_an_image_of_the_network_s_size_is_taken_as_it_is() -> None:
    image = noise()
    photo = read_photo(encoded(image, "PNG"), "a.png", SHAPE)
    np.testing.assert_array_equal(photo.pixels, np.asarray(image))
    assert photo.notes == ()
    grey = read_photo(encoded(image.convert("L"), "PNG"), "a.png", (1, 32, 32))
    np.testing.assert_array_equal(grey.pixels[..., 0], np.asarray(image.convert("L")))


def test_of_a_large_image_the_central_square_is_resized() -> None:
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 32:96] = (200, 100, 50)
    photo = read_photo(encoded(Image.fromarray(pixels), "PNG"), "wide.png", SHAPE)
    assert photo.pixels.shape == (32, 32, 3)
    assert (photo.pixels == (200, 100, 50)).all()
    assert photo.notes == ("the central square resized to 32 x 32",)


def test_the_camera_s_orientation_is_heeded() -> None:
    image = noise()
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = read_photo(encoded(image, "PNG", exif=exif), "a.png", SHAPE)
    np.testing.assert_array_equal(turned.pixels, np.asarray(image)[::-1, ::-1])


def test_transparent_places_become_white() -> None:
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    photo = read_photo(encoded(image, "PNG"), "a.png", SHAPE)
    assert (photo.pixels == 255).all()
    assert photo.notes == ("transparent places made white",)


def test_unusual_images_are_taken_and_said_so() -> None:
    cmyk = read_photo(encoded(noise().convert("CMYK"), "JPEG"), "a.jpg", SHAPE)
    assert cmyk.notes == ("CMYK turned into RGB",)
    deep = np.full((32, 32), 0x8000, np.uint16)
    sixteen = read_photo(encoded(Image.fromarray(deep), "PNG"), "a.png", SHAPE)
    assert (sixteen.pixels == 0x80).all()
    assert sixteen.notes == ("16 bits a channel cut to 8",)
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    animated = read_photo(moving, "a.gif", SHAPE)
    assert (animated.pixels == (255, 0, 0)).all()
    assert animated.notes == ("the first frame of an animation",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"hello, I am text", "formats are JPEG"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing"),
        (encoded(noise(200, 200), "JPEG")[:2000], "damaged image"),
        (encoded(noise(200, 200), "PNG")[:9000], "damaged image"),
        (png_header(10_000, 10_001), "10000 x 10001 pixels, more than 50 million"),
        (png_header(100_000, 100_000), "more than 50 million"),
        (png_header(100, 100), "damaged image"),
        (bytes(MOST_BYTES + 1), "20.0 MB, more than 20 MB"),
        (encoded(Image.fromarray(np.ones((32, 32), np.float32)), "TIFF"), "numbers, not pixels"),
    ],
    ids=["empty", "text", "svg", "cut jpeg", "cut png", "100 MP", "bomb", "short", "big", "float"],
)
def test_what_cannot_be_taken_is_refused_in_one_line(data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_photo(data, "upload", SHAPE)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("upload ")
