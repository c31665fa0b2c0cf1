"""timm's RandAugment on uint8 arrays, bit for bit, with draws that depend on the sample alone.

The 15 operators equal timm's on Pillow in every pixel. Arithmetic follows Pillow's: float32 for
blending, float64 for geometry and contrast, truncation instead of rounding; no fast-math.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from codepath.data.randomness import Draw, counter_hash, integers
from codepath.runtime import UserError, unknown_name

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

SIGNED = np.array(
    [name in ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel") for name in OPERATORS]
)
"""Operators whose argument is negated with probability 1/2."""

_DRAWS_PER_LAYER = 4


def level_to_argument(operator: str, magnitude: float) -> float:
    """timm's argument of an operator at a magnitude 0 to 10 (without `inc`), before its sign.

    Degrees for Rotate, bits kept for Posterize, thresholds and sums in pixel values, blending
    factors, shear factors, shares of the width or height. Source: timm.data.auto_augment.
    """
    level = magnitude / 10
    if operator == "Rotate":
        return level * 30
    if operator == "Posterize":
        return int(level * 4)
    if operator == "Solarize":
        return min(256, int(level * 256))
    if operator == "SolarizeAdd":
        return min(128, int(level * 110))
    if operator in ("Color", "Contrast", "Brightness", "Sharpness"):
        return level * 1.8 + 0.1
    if operator in ("ShearX", "ShearY"):
        return level * 0.3
    if operator in ("TranslateXRel", "TranslateYRel"):
        return level * 0.45
    return 0.0


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
def _affine(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    matrix: tuple[float, float, float, float, float, float],
    bicubic: bool,
    fill: NDArray[np.uint8],
) -> None:
    """Inverse map of output pixel centres through (a b c; d e f), as Pillow's transform."""
    H, W, C = image.shape
    a, b, c, d, e, f = matrix
    for y in range(H):
        for x in range(W):
            X = a * (x + 0.5) + b * (y + 0.5) + c
            Y = d * (x + 0.5) + e * (y + 0.5) + f
            if X < 0 or X >= W or Y < 0 or Y >= H:
                for k in range(C):
                    out[y, x, k] = fill[k]
                continue
            X -= 0.5
            Y -= 0.5
            x0, y0 = math.floor(X), math.floor(Y)
            dx, dy = X - x0, Y - y0
            for k in range(C):
                if bicubic:
                    rows = np.empty(4, np.float64)
                    for j in range(4):
                        yy = min(max(y0 - 1 + j, 0), H - 1)
                        rows[j] = _cubic(
                            float(image[yy, min(max(x0 - 1, 0), W - 1), k]),
                            float(image[yy, min(max(x0, 0), W - 1), k]),
                            float(image[yy, min(max(x0 + 1, 0), W - 1), k]),
                            float(image[yy, min(max(x0 + 2, 0), W - 1), k]),
                            dx,
                        )
                    value = _cubic(rows[0], rows[1], rows[2], rows[3], dy)
                    out[y, x, k] = 0 if value <= 0 else 255 if value >= 255 else int(value)
                else:
                    xa, xb = min(max(x0, 0), W - 1), min(max(x0 + 1, 0), W - 1)
                    ya, yb = min(max(y0, 0), H - 1), min(max(y0 + 1, 0), H - 1)
                    top = image[ya, xa, k] + (float(image[ya, xb, k]) - image[ya, xa, k]) * dx
                    low = image[yb, xa, k] + (float(image[yb, xb, k]) - image[yb, xa, k]) * dx
                    out[y, x, k] = int(top + (low - top) * dy)


@numba.njit(nogil=True, cache=True)
def _cubic(v1: float, v2: float, v3: float, v4: float, d: float) -> float:
    """Pillow's cubic of its transforms (a = -1)."""
    p1 = v2
    p2 = -v1 + v3
    p3 = 2 * (v1 - v2) + v3 - v4
    p4 = -v1 + v2 - v3 + v4
    return p1 + d * (p2 + d * (p3 + d * p4))


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
    H, W, C = image.shape
    if operator == 0:
        _lookup(image, out, False)
    elif operator == 1:
        _lookup(image, out, True)
    elif operator in (2, 4, 5, 6):
        mask = 0xFF & ~((1 << max(8 - int(argument), 0)) - 1)
        for y in range(H):
            for x in range(W):
                for c in range(C):
                    v = int(image[y, x, c])
                    if operator == 2:
                        v = 255 - v
                    elif operator == 4:
                        v = v & mask
                    elif operator == 5:
                        v = v if v < argument else 255 - v
                    elif v < 128:
                        v = min(255, v + int(argument))
                    out[y, x, c] = v
    elif operator == 3:
        angle = argument % 360.0
        if angle == 0:
            out[:] = image
            return
        t = -math.radians(angle)
        cosine, sine = round(math.cos(t), 15), round(math.sin(t), 15)
        cx, cy = W / 2.0, H / 2.0
        c = cosine * -cx + sine * -cy + 0.0
        f = -sine * -cx + cosine * -cy + 0.0
        _affine(image, out, (cosine, sine, c + cx, -sine, cosine, f + cy), bicubic, fill)
    elif operator in (7, 8, 9):
        factor = np.float32(argument)
        mean = 0
        if operator == 8:
            total = 0
            for y in range(H):
                for x in range(W):
                    total += _grey(int(image[y, x, 0]), int(image[y, x, 1]), int(image[y, x, 2]))
            mean = int(total / (H * W) + 0.5)
        for y in range(H):
            for x in range(W):
                degenerate = mean
                if operator == 7:
                    degenerate = _grey(
                        int(image[y, x, 0]), int(image[y, x, 1]), int(image[y, x, 2])
                    )
                for c in range(C):
                    out[y, x, c] = _blend(int(image[y, x, c]), degenerate, factor)
    elif operator == 10:
        factor = np.float32(argument)
        for y in range(H):
            for x in range(W):
                border = y == 0 or x == 0 or y == H - 1 or x == W - 1
                for c in range(C):
                    v = int(image[y, x, c])
                    smooth = v
                    if not border:
                        total = 4 * v
                        for j in range(-1, 2):
                            for i in range(-1, 2):
                                total += int(image[y + j, x + i, c])
                        smooth = (2 * total + 13) // 26  # total / 13, rounded; never a tie
                    out[y, x, c] = _blend(v, smooth, factor)
    elif operator == 11:
        _affine(image, out, (1.0, argument, 0.0, 0.0, 1.0, 0.0), bicubic, fill)
    elif operator == 12:
        _affine(image, out, (1.0, 0.0, 0.0, argument, 1.0, 0.0), bicubic, fill)
    elif operator == 13:
        _affine(image, out, (1.0, 0.0, argument * W, 0.0, 1.0, 0.0), bicubic, fill)
    else:
        _affine(image, out, (1.0, 0.0, 0.0, 0.0, 1.0, argument * H), bicubic, fill)


@numba.njit(nogil=True, cache=True)
def _apply_all(
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


@dataclass(frozen=True)
class RandAugment:
    """A policy: `layers` operators at one magnitude, each applied with `probability`.

    Posterize to 0 bits (magnitudes below 2.5) gives a black image, as timm did on earlier
    Pillow; today's Pillow refuses it.
    """

    magnitude: int
    layers: int
    probability: float
    fill: tuple[int, int, int]

    @classmethod
    def parse(cls, policy: str, mean: tuple[float, ...]) -> RandAugment:
        """A policy from timm's name, such as rand-m4-n3 or rand-m9-n2-p0.7.

        Args:
            policy: "rand" and m (magnitude 0 to 10), n (layers), p (probability), by hyphens.
            mean: the data set's, per channel in [0, 1]: the fill colour is round(255 mean).
        """
        kind, *fields = policy.split("-")
        values = {"m": "10", "n": "2", "p": "0.5"}
        known = f"'{policy}': write rand-m<magnitude>-n<layers>[-p<probability>]"
        if kind != "rand":
            raise UserError(f"unknown RandAugment policy {known}")
        for field in fields:
            if field[:1] not in values or not field[1:].replace(".", "", 1).isdigit():
                raise UserError(f"unknown part '{field}' of the RandAugment policy {known}")
            values[field[0]] = field[1:]
        try:
            magnitude, layers = int(values["m"]), int(values["n"])
        except ValueError:
            raise UserError(f"magnitude and layers are whole numbers in {known}") from None
        probability = float(values["p"])
        if not (0 <= magnitude <= 10 and layers >= 1 and probability <= 1):
            raise UserError(f"magnitude 0 to 10, layers from 1, probability to 1 in {known}")
        red, green, blue = (min(255, round(255 * value)) for value in mean)
        return cls(magnitude, layers, probability, (red, green, blue))

    def apply(
        self,
        images: NDArray[np.uint8],
        rows: NDArray[np.int64],
        seed: int,
        epoch: int,
        indices: NDArray[np.int64],
        out: NDArray[np.uint8],
    ) -> None:
        """Write the augmented images[rows] to `out` (see Augmentation.apply)."""
        operators, applied, negative, bicubic = self.draw(seed, epoch, indices)
        table = np.array([level_to_argument(name, self.magnitude) for name in OPERATORS])
        arguments = table[operators] * np.where(negative & SIGNED[operators], -1.0, 1.0)
        fill = np.array(self.fill, np.uint8)
        _apply_all(images, rows, operators, applied, arguments, bicubic, fill, out)

    def draw(
        self, seed: int, epoch: int, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """(B, layers) each: operator, whether applied, whether negated, whether bicubic."""
        columns = []
        for layer in range(self.layers):
            first = Draw.RANDAUGMENT + _DRAWS_PER_LAYER * layer
            bits = counter_hash(seed, epoch, indices, first + 1) >> np.uint64(11)
            columns.append(
                (
                    integers(len(OPERATORS), seed, epoch, indices, first),
                    bits * 2.0**-53 < self.probability,
                    integers(2, seed, epoch, indices, first + 2) == 1,
                    integers(2, seed, epoch, indices, first + 3) == 1,
                )
            )
        operators, applied, negative, bicubic = (
            np.stack(values, 1) for values in zip(*columns, strict=True)
        )
        return operators, applied, negative, bicubic
