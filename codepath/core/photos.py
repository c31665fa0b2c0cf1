"""Photographs from anywhere: decoded within limits, cut and resized to a network's images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from codepath.core.errors import UserError
from codepath.core.images import (
    FORMATS,
    BadImageError,
    TooManyPixelsError,
    UnknownImageError,
    opened_image,
)

MOST_BYTES = 20 * 10**6
MOST_PIXELS = 50 * 10**6
LARGEST_SIDE = 4096
"""Of the images that a network takes, in pixels."""
LEAST_DEVIATION = 1e-9
"""Below that of any images whose pixels, 0 to 255 over 255, are not all alike."""
_MODES = {1: "L", 3: "RGB"}
_DEEP = ("I", "F")


class Photo(NamedTuple):
    """An image as a network takes it."""

    pixels: NDArray[np.uint8]
    """(H, W, C)"""
    notes: tuple[str, ...]
    """What was changed, a few words each; empty where the file's pixels are taken as they are."""


def check_input(
    image_shape: tuple[int, int, int], mean: Sequence[float], std: Sequence[float]
) -> None:
    """ValueError where no images of (C, H, W) have these means and standard deviations.

    Those are the channels', of pixels from 0 to 1.
    """
    channels, *sides = image_shape
    if not channels == len(mean) == len(std) or channels < 1:
        raise ValueError(f"{channels} channels, means and deviations of another number")
    if min(mean) < 0 or max(mean) > 1 or min(std) < LEAST_DEVIATION or max(std) > 1:
        raise ValueError("a mean or a deviation out of range")
    if min(sides) < 1 or max(sides) > LARGEST_SIDE:
        raise ValueError("an image's side out of range")


def read_photo(data: bytes, name: str, image_shape: tuple[int, int, int]) -> Photo:
    """An encoded image, fitted to (C, H, W) = `image_shape`.

    Only the first frame of an animation is read; transparent places become white; the orientation
    that a camera noted is heeded. Of another size than the network's the central square is resized
    (Pillow's bicubic filter).

    Args:
        data: the file's content.
        name: for messages.
        image_shape: with C = 1 (grey) or 3 (RGB).

    Raises UserError for what is no image of FORMATS, is damaged, or is larger than MOST_BYTES or
    MOST_PIXELS; the header alone decides the latter.
    """
    _, H, W = image_shape
    if len(data) > MOST_BYTES:
        raise UserError(
            f"{name} has {len(data) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f} MB: "
            "save it smaller"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with opened_image(data, MOST_PIXELS) as image:
                image.draft(None, (4 * W, 4 * H))
                return fit_photo(image, name, image_shape)
    except TooManyPixelsError as error:
        raise UserError(
            f"{name} has {error}, more than {MOST_PIXELS // 10**6} million: make it smaller"
        ) from None
    except UnknownImageError:
        raise UserError(f"{name} is no image that can be read: {_kind(data)}") from None
    except BadImageError as error:
        raise UserError(f"{name} is a damaged image ({error}): save it again") from None


def _kind(data: bytes) -> str:
    if not data:
        return "the file is empty"
    if b"<svg" in data[:1000].lower():
        return "it is an SVG drawing; save it as PNG"
    return f"formats are {', '.join(FORMATS)}"


def fit_photo(image: Image.Image, name: str, image_shape: tuple[int, int, int]) -> Photo:
    """A Pillow image, fitted to (C, H, W) = `image_shape` as `read_photo` does."""
    C, H, W = image_shape
    if C not in _MODES:
        raise UserError(f"the network takes {C} channels: photographs have 1 or 3")
    mode, size = _MODES[C], (W, H)
    notes = []
    if getattr(image, "is_animated", False):
        notes.append("the first frame of an animation")
        image.seek(0)
    if image.mode == "CMYK":
        notes.append("CMYK turned into RGB")
    if image.mode.startswith(_DEEP):
        notes.append("16 bits a channel cut to 8")
    image = ImageOps.exif_transpose(image)
    image = _without_depth(image, name)
    if image.has_transparency_data:
        notes.append("transparent places made white")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(mode)
    if image.size != size:
        width, height = image.size
        notes.append(f"the central square resized to {size[0]} x {size[1]}")
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        image = square.resize(size, Image.Resampling.BICUBIC)
    pixels = np.array(image)
    return Photo(pixels[..., None] if pixels.ndim == 2 else pixels, tuple(notes))


def _without_depth(image: Image.Image, name: str) -> Image.Image:
    """Grey images of 16 bits as 8 bits; other images as they are."""
    if not image.mode.startswith(_DEEP):
        return image
    values = np.asarray(image)
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > 0xFFFF:
        raise UserError(f"{name} holds numbers, not pixels of 8 or 16 bits: save it as 8 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))
