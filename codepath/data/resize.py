"""Resizing and cropping photographs: Pillow's pixels, torchvision's boxes, repeatable draws.

As in Pillow, coefficients are made in float64 and applied with 22 fractional bits. They are applied
along rows and then along columns (or the other way round, see `_columns_first`), with rounding to
uint8 in between. There is no fast-math.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from codepath.core.errors import UserError, unknown_name
from codepath.data.randomness import Draw, integers, uniform

FILTERS = ("bilinear", "bicubic")
_BITS = 22
_TRIES = 10
CROP_DRAWS = 2 * _TRIES + 2
"""Random numbers of one crop: area and shape of each try, then top and left."""


@numba.njit(nogil=True, cache=True)
def _weight(x: float, bicubic: bool) -> float:
    x = abs(x)
    if not bicubic:
        return 1.0 - x if x < 1.0 else 0.0
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * -0.5
    return 0.0


@numba.njit(nogil=True, cache=True)
def _coefficients(
    length: int, start: np.float32, stop: np.float32, size: int, bicubic: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """First pixel (size,) and number of pixels (size,) of each output pixel, and their weights.

    The box [start, stop) and its length are float32, as in Pillow.
    """
    scale = float(np.float32(stop - start)) / size
    spread = max(scale, 1.0)
    support = (2.0 if bicubic else 1.0) * spread
    first, count = np.empty(size, np.int64), np.empty(size, np.int64)
    weights = np.zeros((size, math.ceil(support) * 2 + 1), np.int32)
    row = np.empty(weights.shape[1], np.float64)
    inverse = 1.0 / spread
    for i in range(size):
        centre = float(start) + (i + 0.5) * scale
        low = max(int(centre - support + 0.5), 0)
        number = min(int(centre + support + 0.5), length) - low
        total = 0.0
        for k in range(number):
            row[k] = _weight((k + low - centre + 0.5) * inverse, bicubic)
            total += row[k]
        for k in range(number):
            value = row[k] / total if total != 0.0 else row[k]
            weights[i, k] = int(value * (1 << _BITS) + (-0.5 if value < 0 else 0.5))
        first[i], count[i] = low, number
    return first, count, weights


@numba.njit(nogil=True, cache=True)
def _sums(
    lines: NDArray[np.uint8],
    top: int,
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    weights: NDArray[np.int32],
) -> NDArray[np.uint8]:
    """(size, n): weighted sums of `lines` (L, n), rounded to uint8.

    `first` counts the lines of the whole image, of which line `top` is the first in `lines`. Sums
    fit 32 bits, since weights add up to 2^22 and at most a quarter of them is negative.
    """
    n = lines.shape[1]
    out = np.empty((len(first), n), np.uint8)
    total = np.empty(n, np.int32)
    for y in range(len(first)):
        total[:] = 1 << (_BITS - 1)
        for k in range(count[y]):
            weight, line = weights[y, k], lines[first[y] - top + k]
            for i in range(n):
                total[i] += weight * np.int32(line[i])
        target = out[y]
        for i in range(n):
            target[i] = min(max(total[i] >> np.int32(_BITS), np.int32(0)), np.int32(255))
    return out


@numba.njit(nogil=True, cache=True)
def _rows(
    image: NDArray[np.uint8],
    top: int,
    height: int,
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    weights: NDArray[np.int32],
) -> NDArray[np.uint8]:
    """(height, size, C): `height` rows from `top` on, resized along x.

    They are computed as sums of lines of the transposed image: the processor's vector instructions
    can run those loops.
    """
    _, W, C = image.shape
    turned = np.empty((W, height * C), np.uint8)
    for y in range(height):
        for x in range(W):
            for c in range(C):
                turned[x, y * C + c] = image[top + y, x, c]
    sums = _sums(turned, 0, first, count, weights)
    out = np.empty((height, len(first), C), np.uint8)
    for x in range(len(first)):
        for y in range(height):
            for c in range(C):
                out[y, x, c] = sums[x, y * C + c]
    return out


@numba.njit(nogil=True, cache=True)
def _columns(
    image: NDArray[np.uint8],
    top: int,
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    weights: NDArray[np.int32],
) -> NDArray[np.uint8]:
    """(size, W, C): `image` resized along y; its first row is row `top` as `first` counts them."""
    H, W, C = image.shape
    sums = _sums(image.reshape(H, W * C), top, first, count, weights)
    return sums.reshape(len(first), W, C)


@numba.njit(nogil=True, cache=True)
def _columns_first(H: int, W: int, height: int, width: int) -> bool:
    """Whether the vertical pass comes first, as in Pillow 13; the order changes the rounding."""
    return height < H and H - height > 2 * (W - width)


@numba.njit(nogil=True, cache=True)
def _resize(
    image: NDArray[np.uint8],
    edges: NDArray[np.float32],
    width: int,
    height: int,
    bicubic: bool,
) -> NDArray[np.uint8]:
    left, top, right, bottom = edges
    H, W, _ = image.shape
    down = _coefficients(H, top, bottom, height, bicubic)
    across = _coefficients(W, left, right, width, bicubic)
    vertical = height != H or top != 0 or bottom != height
    horizontal = width != W or left != 0 or right != width
    begin = down[0][0]
    used = down[0][height - 1] + down[1][height - 1] - begin
    if vertical and horizontal and _columns_first(H, W, height, width):
        lines = _columns(image, 0, down[0], down[1], down[2])
        return _rows(lines, 0, height, across[0], across[1], across[2])
    if horizontal:
        lines = _rows(image, begin, used, across[0], across[1], across[2])
    else:
        lines = image[begin : begin + used].copy()
    if vertical:
        return _columns(lines, begin, down[0], down[1], down[2])
    return lines


def resize(
    image: NDArray[np.uint8],
    box: tuple[float, float, float, float] | None,
    size: tuple[int, int],
    filter: str,
) -> NDArray[np.uint8]:
    """Pillow 13's `Image.resize(size, filter, box=box)`, bit for bit.

    Args:
        image: (H, W, C) uint8.
        box: left, top, right, bottom of the part that is resized, in pixels and fractions of
            them; None: the whole image. Pixels outside the box have weight near its edges.
        size: width, height of the result.
        filter: bilinear or bicubic, both widened where the image shrinks.

    Returns:
        (height, width, C) uint8.
    """
    if filter not in FILTERS:
        raise unknown_name("filter", filter, FILTERS)
    if image.ndim != 3 or image.dtype != np.uint8:
        raise UserError(f"expected (H, W, C) uint8, got {image.shape} {image.dtype}")
    H, W, _ = image.shape
    left, top, right, bottom = box or (0, 0, W, H)
    if not (0 <= left < right <= W and 0 <= top < bottom <= H) or min(size) < 1:
        raise UserError(f"cannot resize the box {box} of {W} x {H} pixels to {size}")
    edges = np.array([left, top, right, bottom], np.float32)
    resized: NDArray[np.uint8] = _resize(
        np.ascontiguousarray(image), edges, size[0], size[1], filter == "bicubic"
    )
    return resized


def crop_draws(
    seed: int, epoch: int, indices: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(B, CROP_DRAWS) uniform numbers, and (B,) whether the filter is bicubic."""
    numbers = [uniform(seed, epoch, indices, Draw.RESIZED_CROP + i) for i in range(CROP_DRAWS)]
    bicubic = integers(2, seed, epoch, indices, Draw.RESIZED_CROP + CROP_DRAWS) == 1
    return np.stack(numbers, 1), bicubic


@numba.njit(nogil=True, cache=True)
def _crop_box(
    width: int,
    height: int,
    draws: NDArray[np.float64],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for i in range(_TRIES):
        area = width * height * (scale[0] + (scale[1] - scale[0]) * draws[2 * i])
        shape = math.exp(low + (high - low) * draws[2 * i + 1])
        w = int(np.rint(math.sqrt(area * shape)))
        h = int(np.rint(math.sqrt(area / shape)))
        if 0 < w <= width and 0 < h <= height:
            left = int((width - w + 1) * draws[2 * _TRIES + 1])
            top = int((height - h + 1) * draws[2 * _TRIES])
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < ratio[0]:
        h = min(int(np.rint(width / ratio[0])), height)
    elif width / height > ratio[1]:
        w = min(int(np.rint(height * ratio[1])), width)
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


@numba.njit(nogil=True, cache=True)
def _crop_boxes(
    sizes: NDArray[np.int64],
    draws: NDArray[np.float64],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> NDArray[np.int64]:
    boxes = np.empty((len(sizes), 4), np.int64)
    for b in range(len(sizes)):
        box = _crop_box(sizes[b, 0], sizes[b, 1], draws[b], scale, ratio)
        for i in range(4):
            boxes[b, i] = box[i]
    return boxes


def random_resized_crop_boxes(
    sizes: NDArray[np.int64],
    draws: NDArray[np.float64],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> NDArray[np.int64]:
    """torchvision's RandomResizedCrop: ten tries at a box inside the image, else a central one.

    Args:
        sizes: (B, 2) width and height of each image.
        draws: (B, CROP_DRAWS) of `crop_draws`.
        scale: least and largest share of the image's area, drawn uniformly.
        ratio: least and largest width by height, drawn uniformly in the logarithm.

    Returns:
        (B, 4) left, top, right, bottom in pixels.
    """
    boxes: NDArray[np.int64] = _crop_boxes(np.asarray(sizes, np.int64), draws, scale, ratio)
    return boxes


def resized_crop(
    image: NDArray[np.uint8], box: NDArray[np.int64], side: int, filter: str
) -> NDArray[np.uint8]:
    """(side, side, C): the box cut out, then resized; no pixel outside the box has weight.

    Args:
        image: (H, W, C).
        box: (4,) left, top, right, bottom.
        side: width and height of the result.
        filter: bilinear or bicubic.
    """
    left, top, right, bottom = (int(edge) for edge in box)
    return resize(image[top:bottom, left:right], None, (side, side), filter)


def evaluation_side(crop: int) -> int:
    """The short side out of which the central crop is taken: 182 for 160."""
    return math.floor(crop / 0.875)


def central_crop(image: NDArray[np.uint8], crop: int) -> NDArray[np.uint8]:
    """(crop, crop, C): the short side resized (bicubic), then the centre, as in timm.

    Args:
        image: (H, W, C).
        crop: width and height of the result.
    """
    H, W, _ = image.shape
    short = evaluation_side(crop)
    long = int(short * max(H, W) / min(H, W))
    width, height = (short, long) if W <= H else (long, short)
    resized = resize(image, None, (width, height), "bicubic")
    top, left = round((height - crop) / 2), round((width - crop) / 2)
    return np.ascontiguousarray(resized[top : top + crop, left : left + crop])
