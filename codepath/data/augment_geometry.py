"""Affine maps of (H, W, 3) uint8 images, as Pillow's transforms to the bit."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def _cubic(v1: float, v2: float, v3: float, v4: float, d: float) -> float:
    """Pillow's cubic of its transforms (a = -1)."""
    p1 = v2
    p2 = -v1 + v3
    p3 = 2 * (v1 - v2) + v3 - v4
    p4 = -v1 + v2 - v3 + v4
    return p1 + d * (p2 + d * (p3 + d * p4))


@numba.njit(nogil=True, cache=True)
def _extended(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H + 4, W + 4, 3): two more pixels on each side, equal to the nearest."""
    H, W, C = image.shape
    out = np.empty((H + 4, W + 4, C), np.uint8)
    for y in range(H + 4):
        line = image[min(max(y - 2, 0), H - 1)]
        out[y, 2 : W + 2] = line
        for x in (0, 1):
            out[y, x] = line[0]
            out[y, W + 2 + x] = line[W - 1]
    return out


@numba.njit(nogil=True, cache=True)
def _cubic_along(pixels: NDArray[np.uint8], place: np.uint64, step: np.uint64, d: float) -> float:
    """`_cubic` of four pixels `step` apart, of which the second is at `place`."""
    return _cubic(
        float(pixels[place - step]),
        float(pixels[place]),
        float(pixels[place + step]),
        float(pixels[place + step + step]),
        d,
    )


@numba.njit(nogil=True, cache=True)
def _linear(first: float, second: float, d: float) -> float:
    return first + (second - first) * d


@numba.njit(nogil=True, cache=True)
def affine(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    matrix: tuple[float, float, float, float, float, float],
    bicubic: bool,
    fill: NDArray[np.uint8],
) -> None:
    """Inverse map of output pixel centres through (a b c; d e f), as Pillow's transform."""
    H, W, _ = image.shape
    a, b, c, d, e, f = matrix
    pixels = _extended(image).reshape(-1)
    # Unsigned places: no test for those that count from the end.
    pixel, line = np.uint64(3), np.uint64(3 * (W + 4))
    for y in range(H):
        for x in range(W):
            X = a * (x + 0.5) + b * (y + 0.5) + c
            Y = d * (x + 0.5) + e * (y + 0.5) + f
            if X < 0 or X >= W or Y < 0 or Y >= H:
                for k in range(3):
                    out[y, x, k] = fill[k]
                continue
            X -= 0.5
            Y -= 0.5
            x0, y0 = math.floor(X), math.floor(Y)
            dx, dy = X - x0, Y - y0
            corner = np.uint64(y0 + 2) * line + np.uint64(x0 + 2) * pixel
            for k in range(3):
                here = corner + np.uint64(k)
                # A fraction of zero leaves the second of two or four pixels, exactly.
                if not bicubic:
                    below = here + line
                    value = _linear(
                        _linear(float(pixels[here]), float(pixels[here + pixel]), dx),
                        _linear(float(pixels[below]), float(pixels[below + pixel]), dx),
                        dy,
                    )
                elif dy == 0:
                    value = _cubic_along(pixels, here, pixel, dx)
                elif dx == 0:
                    value = _cubic_along(pixels, here, line, dy)
                else:
                    value = _cubic(
                        _cubic_along(pixels, here - line, pixel, dx),
                        _cubic_along(pixels, here, pixel, dx),
                        _cubic_along(pixels, here + line, pixel, dx),
                        _cubic_along(pixels, here + line + line, pixel, dx),
                        dy,
                    )
                out[y, x, k] = 0 if value <= 0 else 255 if value >= 255 else int(value)
