"""timm's 15 RandAugment operators on uint8 arrays, equal to timm's on Pillow in every pixel.

Arithmetic follows Pillow's: float32 for blending, float64 for geometry and contrast, truncation
instead of rounding; no fast-math. Images are (H, W, 3).
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from codepath.core.errors import UserError, unknown_name
from codepath.data.augment_geometry import affine

OPERATORS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
"""timm's operators in its order."""


def level_to_argument(
    operator: str, magnitude: float, negative: bool = False, increasing: bool = False
) -> float:
    """timm's argument of an operator at a magnitude (10 is the usual end of the scale).

    Degrees for Rotate, bits kept for Posterize, thresholds and sums in pixel values, blending
    factors, shear factors, shares of the width or height. Source: timm.data.auto_augment.

    Args:
        operator: a name of OPERATORS.
        magnitude: from 0.
        negative: the outcome of the coin of operators that have a sign.
        increasing: timm's `inc`: Posterize, Solarize and the blending operators get stronger
            with the magnitude; the latter then have a sign too.
    """
    return float(arguments_at(operator, np.array(magnitude), np.array(negative), increasing))


def arguments_at(
    operator: str,
    magnitude: NDArray[np.float64],
    negative: NDArray[np.bool_],
    increasing: bool,
) -> NDArray[np.float64]:
    """`level_to_argument` of arrays. The order of the operations is timm's: it decides
    truncations."""
    level = magnitude / 10
    sign = np.where(negative, -1.0, 1.0)
    if operator == "Rotate":
        return sign * (level * 30)
    if operator == "Posterize":
        bits = np.trunc(level * 4)
        return 4 - bits if increasing else bits
    if operator == "Solarize":
        threshold = np.minimum(256, np.trunc(level * 256))
        return 256 - threshold if increasing else threshold
    if operator == "SolarizeAdd":
        return np.minimum(128, np.trunc(level * 110))
    if operator in ("Color", "Contrast", "Brightness", "Sharpness"):
        if increasing:
            return np.maximum(0.1, 1.0 + sign * (level * 0.9))
        return level * 1.8 + 0.1
    if operator in ("ShearX", "ShearY"):
        return sign * (level * 0.3)
    if operator in ("TranslateXRel", "TranslateYRel"):
        return sign * (level * 0.45)
    return np.zeros_like(level)


@numba.njit(nogil=True, cache=True)
def _grey(r: int, g: int, b: int) -> int:
    return (19595 * r + 38470 * g + 7471 * b + 32768) >> 16


@numba.njit(nogil=True, cache=True)
def _blend(image: int, degenerate: int, factor: np.float32) -> int:
    value = np.float32(degenerate) + factor * np.float32(image - degenerate)
    if value <= np.float32(0):
        return 0
    if value >= np.float32(255):
        return 255
    return int(value)


@numba.njit(nogil=True, cache=True)
def _map(image: NDArray[np.uint8], out: NDArray[np.uint8], table: NDArray[np.uint8]) -> None:
    """out = table[image], for both (H, W, C)."""
    source, target = image.reshape(-1), out.reshape(-1)
    for i in range(len(source)):
        target[i] = table[source[i]]


@numba.njit(nogil=True, cache=True)
def _lookup(image: NDArray[np.uint8], out: NDArray[np.uint8], equalize: bool) -> None:
    """AutoContrast or Equalize: a table per channel, made from its histogram."""
    H, W, C = image.shape
    lut = np.empty(256, np.uint8)
    for c in range(C):
        counts = np.zeros(256, np.int64)
        for y in range(H):
            for x in range(W):
                counts[image[y, x, c]] += 1
        low, high, occupied = 255, 0, 0
        for v in range(256):
            lut[v] = v
            if counts[v]:
                occupied += 1
                low, high = min(low, v), max(high, v)
        if equalize:
            step = (H * W - counts[high]) // 255
            if occupied > 1 and step:
                n = step // 2
                for v in range(256):
                    lut[v] = min(n // step, 255)
                    n += counts[v]
        elif high > low:
            scale = 255.0 / (high - low)
            offset = -low * scale
            for v in range(256):
                value = int(v * scale + offset)
                lut[v] = min(max(value, 0), 255)
        for y in range(H):
            for x in range(W):
                out[y, x, c] = lut[image[y, x, c]]


@numba.njit(nogil=True, cache=True)
def _sharpen(image: NDArray[np.uint8], out: NDArray[np.uint8], factor: np.float32) -> None:
    """Blend with the smoothed image: 3 x 3 ones with a 5 in the middle, over 13; borders stay."""
    H, W, C = image.shape
    n = W * C
    flat, target = image.reshape(H, n), out.reshape(H, n)
    sums = np.empty(n, np.int32)
    for y in range(H):
        line, into = flat[y], target[y]
        if y == 0 or y == H - 1:
            into[:] = line
            continue
        above, below = flat[y - 1], flat[y + 1]
        for i in range(n):
            sums[i] = np.int32(above[i]) + np.int32(line[i]) + np.int32(below[i])
        for i in range(C):
            into[i] = line[i]
            into[n - 1 - i] = line[n - 1 - i]
        for i in range(C, n - C):
            v = int(line[i])
            total = int(sums[i - C]) + int(sums[i]) + int(sums[i + C]) + 4 * v
            smooth = (2 * total + 13) // 26  # total / 13, rounded; never a tie
            into[i] = _blend(v, smooth, factor)


@numba.njit(nogil=True, cache=True)
def _point(
    image: NDArray[np.uint8], out: NDArray[np.uint8], operator: int, argument: float
) -> None:
    """Invert, Posterize, Solarize or SolarizeAdd: each pixel value by itself."""
    mask = 0xFF & ~((1 << max(8 - int(argument), 0)) - 1)
    table = np.empty(256, np.uint8)
    for v in range(256):
        if operator == 2:
            table[v] = 255 - v
        elif operator == 4:
            table[v] = v & mask
        elif operator == 5:
            table[v] = v if v < argument else 255 - v
        else:
            table[v] = min(255, v + int(argument)) if v < 128 else v
    _map(image, out, table)


@numba.njit(nogil=True, cache=True)
def _rotate(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    degrees: float,
    bicubic: bool,
    fill: NDArray[np.uint8],
) -> None:
    """Rotate about the centre, as Pillow's `Image.rotate`."""
    H, W, _ = image.shape
    angle = degrees % 360.0
    if angle == 0:
        out[:] = image
        return
    t = -math.radians(angle)
    cosine, sine = round(math.cos(t), 15), round(math.sin(t), 15)
    cx, cy = W / 2.0, H / 2.0
    c = cosine * -cx + sine * -cy + 0.0
    f = -sine * -cx + cosine * -cy + 0.0
    affine(image, out, (cosine, sine, c + cx, -sine, cosine, f + cy), bicubic, fill)


@numba.njit(nogil=True, cache=True)
def _colour(image: NDArray[np.uint8], out: NDArray[np.uint8], factor: np.float32) -> None:
    """Blend every pixel with its grey value."""
    H, W, C = image.shape
    for y in range(H):
        for x in range(W):
            grey = _grey(int(image[y, x, 0]), int(image[y, x, 1]), int(image[y, x, 2]))
            for c in range(C):
                out[y, x, c] = _blend(int(image[y, x, c]), grey, factor)


@numba.njit(nogil=True, cache=True)
def _contrast(
    image: NDArray[np.uint8], out: NDArray[np.uint8], factor: np.float32, to_mean: bool
) -> None:
    """Blend with the image's mean grey (Contrast), or with black (Brightness)."""
    H, W, _ = image.shape
    mean = 0
    if to_mean:
        total = 0
        for y in range(H):
            for x in range(W):
                total += _grey(int(image[y, x, 0]), int(image[y, x, 1]), int(image[y, x, 2]))
        mean = int(total / (H * W) + 0.5)
    blended = np.empty(256, np.uint8)
    for v in range(256):
        blended[v] = _blend(v, mean, factor)
    _map(image, out, blended)


@numba.njit(nogil=True, cache=True)
def _apply(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    operator: int,
    argument: float,
    bicubic: bool,
    fill: NDArray[np.uint8],
) -> None:
    """Write operator number `operator` of OPERATORS, applied to `image` (H, W, 3), to `out`."""
    H, W, _ = image.shape
    if operator in (0, 1):
        _lookup(image, out, operator == 1)
    elif operator in (2, 4, 5, 6):
        _point(image, out, operator, argument)
    elif operator == 3:
        _rotate(image, out, argument, bicubic, fill)
    elif operator == 7:
        _colour(image, out, np.float32(argument))
    elif operator in (8, 9):
        _contrast(image, out, np.float32(argument), operator == 8)
    elif operator == 10:
        _sharpen(image, out, np.float32(argument))
    elif operator == 11:
        affine(image, out, (1.0, argument, 0.0, 0.0, 1.0, 0.0), bicubic, fill)
    elif operator == 12:
        affine(image, out, (1.0, 0.0, 0.0, argument, 1.0, 0.0), bicubic, fill)
    elif operator == 13:
        affine(image, out, (1.0, 0.0, argument * W, 0.0, 1.0, 0.0), bicubic, fill)
    else:
        affine(image, out, (1.0, 0.0, 0.0, 0.0, 1.0, argument * H), bicubic, fill)


@numba.njit(nogil=True, cache=True)
def apply_layers(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    operators: NDArray[np.int64],
    applied: NDArray[np.bool_],
    arguments: NDArray[np.float64],
    bicubic: NDArray[np.bool_],
    fill: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    """Write images[rows] after their layers of operators to `out`; all else is (B, layers)."""
    spare = np.empty(images.shape[1:], np.uint8)
    for b in range(len(rows)):
        out[b] = images[rows[b]]
        for layer in range(operators.shape[1]):
            if applied[b, layer]:
                spare[:] = out[b]
                _apply(
                    spare, out[b], operators[b, layer], arguments[b, layer], bicubic[b, layer], fill
                )


def apply_op(
    image: NDArray[np.uint8],
    op: str,
    arg: float,
    resample: str = "bilinear",
    fill: tuple[int, int, int] = (128, 128, 128),
) -> NDArray[np.uint8]:
    """One operator on one image.

    Args:
        image: (H, W, 3) uint8.
        op: a name of OPERATORS.
        arg: its argument as `level_to_argument` gives it, signed.
        resample: "bilinear" or "bicubic", for the geometric operators.
        fill: colour of what comes from outside the image.

    Returns:
        (H, W, 3) uint8.
    """
    if op not in OPERATORS:
        raise unknown_name("operator", op, OPERATORS)
    if resample not in ("bilinear", "bicubic"):
        raise unknown_name("resampling", resample, ("bilinear", "bicubic"))
    image = np.ascontiguousarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    out = np.empty_like(image)
    _apply(
        image, out, OPERATORS.index(op), float(arg), resample == "bicubic", np.array(fill, np.uint8)
    )
    return out
